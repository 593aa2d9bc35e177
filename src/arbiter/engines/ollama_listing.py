"""What Ollama tells of its models: its lists, and what it shows of each.

Everything is as the server reports it. What it does not say, or says in a form that cannot be
understood, stays unknown. A size that was rounded for people ("999.89M") is told as it stands,
and never turned into a number.

This module knows no HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from arbiter.cost import Footprint, Method
from arbiter.engines.base import Fact, Offer
from arbiter.engines.openai_refusal import printable

RUNNING: Final = b"Ollama is running"
"""What an Ollama says at its root."""
HOUSE: Final = b'"name":"arbiter"'
"""What another house says there beside it."""

_DIGEST: Final = re.compile(r"(sha256:)?([0-9a-f]{64})\Z")
_CAPABILITIES: Final = {
    "completion": frozenset({"completion", "chat"}),
    "tools": frozenset({"tools"}),
    "insert": frozenset({"insert"}),
    "embedding": frozenset({"embedding"}),
    "vision": frozenset({"vision"}),
    "thinking": frozenset({"thinking"}),
    "audio": frozenset({"audio"}),
    "image": frozenset({"image"}),
}
_MOST: Final = 2**53
_LONGEST: Final = 200

T = TypeVar("T")


class _Version(msgspec.Struct):
    version: str


class _Details(msgspec.Struct):
    parent_model: str = ""
    format: str = ""
    family: str = ""
    parameter_size: str = ""
    quantization_level: str = ""


class Tag(msgspec.Struct):
    """A model in ``/api/tags``."""

    model: str = ""
    name: str = ""
    digest: str = ""
    size: int | None = None
    remote_host: str = ""

    @property
    def title(self) -> str:
        """The name by which Ollama knows it."""
        return self.model or self.name

    @property
    def shown(self) -> str:
        """The name as it may be shown: anybody who runs a server may call a model anything."""
        return printable(self.title, longest=_LONGEST)


class Process(msgspec.Struct):
    """A model in ``/api/ps``: one that is loaded."""

    model: str = ""
    name: str = ""
    digest: str = ""
    size: int | None = None
    size_vram: int | None = None

    @property
    def title(self) -> str:
        """The name under which it was loaded."""
        return self.model or self.name


class _Tags(msgspec.Struct):
    models: list[Tag] | None


class _Processes(msgspec.Struct):
    models: list[Process] | None


class _Shown(msgspec.Struct):
    capabilities: list[str] | None = None
    template: str | None = None
    license: str | list[str] | None = None
    details: _Details = msgspec.field(default_factory=_Details)
    model_info: dict[str, msgspec.Raw] | None = None
    remote_host: str = ""


_version = msgspec.json.Decoder(_Version)
_tags = msgspec.json.Decoder(_Tags)
_processes = msgspec.json.Decoder(_Processes)
_shown = msgspec.json.Decoder(_Shown)
_number = msgspec.json.Decoder(int)
_string = msgspec.json.Decoder(str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What one content is: the same for as long as its digest is. remote_host: who runs it."""

    capabilities: frozenset[str] | None
    template: str | None
    licence: str | None
    architecture: str | None
    parameters: int | None
    quantization: str | None
    context_length: int | None
    details: Mapping[str, Fact]
    remote_host: str


def parse_version(body: bytes) -> str:
    """The server's version. Raises `ValueError` when this tells none."""
    return printable(_understood(_version, body).version, longest=_LONGEST)


def parse_tags(body: bytes) -> tuple[Tag, ...]:
    """The models that are there, by name. Raises `ValueError` when this is no such list."""
    found = _understood(_tags, body).models or []
    return tuple(sorted((tag for tag in found if tag.title), key=lambda tag: tag.title))


def parse_processes(body: bytes) -> tuple[Process, ...]:
    """The models that are loaded. Raises `ValueError` when this is no such list."""
    return tuple(_understood(_processes, body).models or [])


def parse_shown(body: bytes) -> Shown:
    """What a model is. Raises `ValueError` when this tells nothing of a model."""
    told = _understood(_shown, body)
    info = told.model_info or {}
    architecture = _text(info.get("general.architecture"))
    details: dict[str, Fact] = {
        key: printable(value, longest=_LONGEST)
        for key, value in (
            ("family", told.details.family),
            ("file_format", told.details.format),
            ("parameter_size", told.details.parameter_size),
            ("parent_model", told.details.parent_model),
        )
        if value
    }
    vector = _count(info.get(f"{architecture}.embedding_length"))
    if vector is not None:
        details["embedding_length"] = vector
    return Shown(
        capabilities=_capabilities(told.capabilities),
        template=told.template or None,
        licence=_first_line(told.license),
        architecture=architecture,
        parameters=_count(info.get("general.parameter_count")),
        quantization=printable(told.details.quantization_level, longest=_LONGEST) or None,
        context_length=_count(info.get(f"{architecture}.context_length")),
        details=details,
        remote_host=told.remote_host,
    )


def offer(tag: Tag, shown: Shown, processes: tuple[Process, ...] | None) -> Offer:
    """A model as Ollama describes it. processes: what is loaded, None when nobody knows."""
    return Offer(
        model=tag.title,
        digest=tagged(tag.digest),
        architecture=shown.architecture,
        parameters=shown.parameters,
        quantization=shown.quantization,
        context_length=shown.context_length,
        capabilities=shown.capabilities,
        size_bytes=tag.size if tag.size is not None and 0 < tag.size < _MOST else None,
        template=shown.template,
        licence=shown.licence,
        loaded=None if processes is None else loaded(tag.title, tag.digest, processes) is not None,
        details=shown.details,
    )


def tagged(digest: str) -> str | None:
    """A digest as the house writes it; None when it is none.

    >>> tagged("0" * 64) == tagged("sha256:" + "0" * 64) == "sha256:" + "0" * 64
    True
    """
    found = _DIGEST.match(digest)
    return None if found is None else f"sha256:{found[2]}"


def loaded(model: str, digest: str | None, processes: tuple[Process, ...]) -> Process | None:
    """The loaded model of this content, else of this name; None when there is neither.

    A content with two names is listed under the one by which it was loaded; and a name whose
    weights stayed the same is listed with the content that it had when it was loaded.
    """
    wanted = None if digest is None else tagged(digest)
    same = (p for p in processes if wanted is not None and tagged(p.digest) == wanted)
    return next(same, next((p for p in processes if p.title == model), None))


def footprint(process: Process) -> Footprint | None:
    """The memory that Ollama says a loaded model takes, on every device together."""
    if process.size is None or not 0 < process.size < _MOST:
        return None
    return Footprint(
        anonymous_bytes=None,
        weights_bytes=None,
        reported_bytes=process.size,
        method=Method.ENGINE,
    )


def _understood(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error


def _capabilities(told: list[str] | None) -> frozenset[str] | None:
    """Ours for Ollama's. An old server tells none, and an empty list tells nothing either."""
    if not told:
        return None
    return frozenset[str]().union(*(_CAPABILITIES.get(one, frozenset()) for one in told))


def _first_line(told: str | list[str] | None) -> str | None:
    text = "\n".join(told) if isinstance(told, list) else told or ""
    lines = (printable(line, longest=_LONGEST) for line in text.splitlines())
    return next((line for line in lines if line), None)


def _count(raw: msgspec.Raw | None) -> int | None:
    try:
        value = _number.decode(raw) if raw is not None else 0
    except msgspec.DecodeError:
        return None
    return value if 0 < value < _MOST else None


def _text(raw: msgspec.Raw | None) -> str | None:
    try:
        return (printable(_string.decode(raw)) or None) if raw is not None else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
