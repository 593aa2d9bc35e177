"""What a version is made of: one file, examined before anything loads it.

A version is known by its content, by the chat template that is in force, and by the options that
change its output; so the same weights under another template are another version, and the same
file in two places is one. A file is opened here and nowhere else before it is registered: what
is not a regular file, or runs code when it is loaded, or fails the checks of `gguf`, never gets
to an engine. Everything here blocks; whoever calls it does so in a thread.

Nothing here renders a template, writes a file or knows an engine.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Final, Literal

from arbiter.errors import InvalidField, ModelFileError
from arbiter.refs import VersionId, digest, parse_name
from arbiter.registry.gguf import (
    MAGIC,
    OLD_MAGICS,
    GgufHeader,
    Scalar,
    capabilities,
    read_header,
    template_capabilities,
)

TEMPLATE_OPTION: Final = "chat_template"
"""The option that puts another chat template in the place of the file's own."""

Format = Literal["gguf", "script"]
KnownBy = Literal["content", "server", "claims"]

_SCRIPT_BYTES = 4 * 1024 * 1024
_HEAD_BYTES = 512
_LFS = b"version https://git-lfs"
_PICKLES = frozenset({".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".joblib"})
_KNOWN = "Arbiter knows GGUF files and JSON scripts for the scripted engine."
_CONVERT = "Convert the model to GGUF, for example with llama.cpp's convert_hf_to_gguf.py."
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._:-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the file system says of a file: enough to notice cheaply that it was touched."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A version's file and what was read from it. None: the file does not say.

    path: with symbolic links resolved; for a model that another program serves, its address, a
    ``#`` and its name there, and then there is no identity. known_by: what content_digest is of:
    the file's bytes, what its server calls the digest, or only what the server claims of it.
    template_digest: of the chat template in force, the file's own or that of `options`.
    parameters: elements of all tensors. kv_bytes_per_token: an estimate, of the cache for one
    token of context. options: as they were given to `examine`; all of them change the output.
    name_hint: a name that may be registered. provenance: what the file says of its origin.
    """

    version: VersionId
    format: str
    path: str
    size_bytes: int | None
    identity: Identity | None
    known_by: KnownBy = "content"
    content_digest: str
    template_digest: str | None = None
    architecture: str | None = None
    parameters: int | None = None
    quantization: str | None = None
    context_length: int | None = None
    capabilities: frozenset[str] = frozenset()
    kv_bytes_per_token: int | None = None
    licence: str | None = None
    name_hint: str
    provenance: Mapping[str, Scalar] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)


def examine(path: Path, *, options: Mapping[str, str] | None = None) -> Artifact:
    """Read a model file, check it and tell what version it is. Blocks for as long as hashing takes.

    Every option given counts as one that changes the output; what only changes how an instance
    is loaded (threads, slots, context) does not belong here.

    Raises `ModelFileError` with a sentence that says what is wrong with the file, `InvalidField`
    when an option is not a text.
    """
    given = _checked_options(options or {})
    found = _resolve(path)
    try:
        with _open(found) as stream:
            return _examine_open(stream, found, given)
    except ModelFileError as error:
        raise ModelFileError(f"{found.name!r:.120}: {error.message}", hint=error.hint) from error
    except OSError as error:
        raise ModelFileError(
            f"{found.name!r:.120} cannot be read: {error.strerror or error}."
        ) from error


def identity_of(path: Path) -> Identity:
    """What the file system says of a file. Raises `OSError`."""
    return _identity(path.stat())


def is_unchanged(artifact: Artifact) -> bool:
    """Whether the file is, to the file system, the one that was examined. One `stat`, no reading.

    False does not mean that the content changed (a copy, a changed permission): ask `verify`.
    True for a model that has no file: its server is asked at every load.
    """
    if artifact.identity is None:
        return True
    try:
        return _identity(os.stat(artifact.path)) == artifact.identity  # noqa: PTH116  # no Path needed
    except (OSError, ValueError):
        return False


def verify(artifact: Artifact) -> str | None:
    """Read the whole file again; None when it is the registered version, else what is not right."""
    try:
        now = examine(Path(artifact.path), options=artifact.options)
    except (ModelFileError, InvalidField) as error:
        return error.sentence
    if now.content_digest != artifact.content_digest:
        return (
            f"{now.path} has other content than when it was registered: "
            f"{now.content_digest} instead of {artifact.content_digest}."
        )
    if now.version != artifact.version:
        return f"The record of {now.path} is not that of {artifact.version} but of {now.version}."
    return None


def _checked_options(options: Mapping[str, str]) -> dict[str, str]:
    for key, value in options.items():
        try:
            f"{key}{value}".encode()
        except UnicodeEncodeError as error:
            raise InvalidField(f"The option {key!r:.80} is not text.", param="options") from error
    return dict(sorted(options.items()))


def _resolve(path: Path) -> Path:
    try:
        found = path.expanduser().resolve(strict=True)
        str(found).encode()
    except FileNotFoundError as error:
        raise ModelFileError(f"There is no file {str(path)!r:.200}.") from error
    except UnicodeEncodeError as error:
        raise ModelFileError(
            f"The path {str(path)!r:.200} is not UTF-8.", hint="Rename the file."
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelFileError(f"The path {str(path)!r:.200} leads nowhere: {error}.") from error
    return found


def _open(path: Path) -> BufferedReader:
    """The file, opened for reading; never a pipe or a device, which would block or never end."""
    _check_kind(path.stat().st_mode)
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        # Once more on what was really opened: the name may lead elsewhere by now.
        _check_kind(os.fstat(handle).st_mode)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _check_kind(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise ModelFileError("it is a directory.", hint="Name the model's GGUF file in it.")
    if not stat.S_ISREG(mode):
        raise ModelFileError("it is a pipe, a socket or a device, not a file.")


def _identity(found: os.stat_result) -> Identity:
    return Identity(
        device=found.st_dev,
        inode=found.st_ino,
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns,
    )


def _examine_open(stream: BufferedReader, path: Path, options: Mapping[str, str]) -> Artifact:
    before = _identity(os.fstat(stream.fileno()))
    head = stream.read(_HEAD_BYTES)
    file_format = _format(head, path.suffix.lower())
    stream.seek(0)
    if file_format == "gguf":
        facts = _gguf_facts(read_header(stream, file_size=before.size), options)
    else:
        facts = _script_facts(stream.read(_SCRIPT_BYTES + 1), options)
    stream.seek(0)
    content = "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
    if _identity(os.fstat(stream.fileno())) != before:
        raise ModelFileError("it was changed while it was read.", hint="Try again.")
    template = None if facts.template is None else text_digest(facts.template)
    return Artifact(
        version=version_of(content, template, options),
        format=file_format,
        path=str(path),
        size_bytes=before.size,
        identity=before,
        content_digest=content,
        template_digest=template,
        architecture=facts.architecture,
        parameters=facts.parameters,
        quantization=facts.quantization,
        context_length=facts.context_length,
        capabilities=facts.capabilities,
        kv_bytes_per_token=facts.kv_bytes_per_token,
        licence=facts.licence,
        name_hint=name_hint(facts.name, path.stem),
        provenance=facts.provenance,
        options=options,
    )


def version_of(content: str, template: str | None, options: Mapping[str, str]) -> VersionId:
    """The identity of a version: content, template in force, options that change the output.

    The template stands apart from the other options: overriding a file's template with the very
    same text changes nothing.
    """
    others = {key: value for key, value in options.items() if key != TEMPLATE_OPTION}
    return VersionId(
        digest("arbiter.version.v1", {"content": content, "template": template, "options": others})
    )


def text_digest(text: str) -> str:
    """The digest of a text."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _format(head: bytes, suffix: str) -> Format:
    """The format by content; the suffix only helps to say what a refused file is."""
    if not head:
        raise ModelFileError("it is empty.")
    if head[:4] in {MAGIC, *OLD_MAGICS}:
        return "gguf"
    if head.startswith(_LFS):
        raise ModelFileError(
            "it is a Git LFS pointer, not the model itself.", hint="Fetch it with: git lfs pull"
        )
    # A safetensors file begins with the length of a JSON object and the object.
    if suffix == ".safetensors" or head[8:10] == b'{"':
        raise ModelFileError("it is a safetensors file.", hint=_CONVERT)
    # Protocol 2 and later of the pickle format begin so; PyTorch wraps one in a ZIP archive.
    if suffix in _PICKLES or (head[0] == 0x80 and len(head) > 1 and head[1] <= 5):
        raise ModelFileError(
            "it is a Python pickle, which runs code when it is loaded; it is refused.",
            hint=_CONVERT,
        )
    if head.lstrip(b" \t\r\n").startswith(b"{"):
        return "script"
    if suffix == ".gguf":
        return "gguf"  # it is none, and the reader says at which byte
    raise ModelFileError("its format is not known.", hint=_KNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What either format tells."""

    template: str | None
    name: str | None
    architecture: str | None = None
    parameters: int | None = None
    quantization: str | None = None
    context_length: int | None = None
    capabilities: frozenset[str] = frozenset()
    kv_bytes_per_token: int | None = None
    licence: str | None = None
    provenance: Mapping[str, Scalar] = field(default_factory=dict)


def _gguf_facts(header: GgufHeader, options: Mapping[str, str]) -> _Facts:
    if header.kind != "model":
        raise ModelFileError(
            f"it holds no whole model but is of the type {header.kind!r:.40}.",
            hint="Name the model's own file.",
        )
    if header.parts > 1:
        raise ModelFileError(
            f"it is part {header.part} of {header.parts} of a split model.",
            hint="Join them with: llama-gguf-split --merge",
        )
    if not header.tensor_count:
        raise ModelFileError("it holds no weights, only a vocabulary.")
    can = capabilities(header)
    template = header.chat_template
    if TEMPLATE_OPTION in options:
        template = options[TEMPLATE_OPTION]
        can = template_capabilities(template) if "completion" in can else can
    return _Facts(
        template=template,
        name=header.name,
        architecture=header.architecture,
        parameters=header.parameter_count,
        quantization=header.quantization,
        context_length=header.context_length,
        capabilities=can,
        kv_bytes_per_token=header.kv_bytes_per_token_estimate,
        licence=header.licence,
        provenance=header.provenance,
    )


def _script_facts(content: bytes, options: Mapping[str, str]) -> _Facts:
    if len(content) > _SCRIPT_BYTES:
        raise ModelFileError(f"a script has at most {_SCRIPT_BYTES} bytes.")
    try:
        script = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"it is not valid JSON: {error!s:.120}.", hint=_KNOWN) from error
    if not isinstance(script, dict) or "arbiter_script" not in script:
        raise ModelFileError('it is JSON without the key "arbiter_script".', hint=_KNOWN)
    name, context = script.get("name"), script.get("context")
    can = script.get("capabilities", ["chat", "completion"])
    if name is not None and not isinstance(name, str):
        raise ModelFileError('the script\'s "name" must be a text.')
    if context is not None and not (type(context) is int and 0 < context < 1 << 31):
        raise ModelFileError('the script\'s "context" must be a number of tokens above 0.')
    if not isinstance(can, list) or not all(isinstance(one, str) and one for one in can):
        raise ModelFileError('the script\'s "capabilities" must be a list of words.')
    return _Facts(
        template=options.get(TEMPLATE_OPTION),
        name=name,
        architecture="script",
        context_length=context,
        capabilities=frozenset(can),
    )


def name_hint(*wishes: str | None) -> str:
    """The first of these that can be made into a name that may be registered.

    >>> name_hint("Gemma 3n E2B (it)", "file")
    'gemma-3n-e2b-it'
    """
    for wish in wishes:
        name = _NOT_IN_NAMES.sub("-", (wish or "").lower())[:100].strip("-._:")
        name = re.sub(r"\.{2,}", ".", name)
        with suppress(InvalidField):
            return parse_name(name)
    return "model"
