"""Reads what other programs are configured with: llama-swap's YAML, llama.cpp's presets. Pure.

Nothing of such a file is ever run. Of a command line the model's file is taken, and what Arbiter
has a word of its own for; the rest is named, so that nobody believes it to be in force.
"""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from arbiter.errors import InvalidField

_PATH = frozenset({"m", "model", "llama-arg-model"})
_TEMPLATE = frozenset({"chat-template-file", "llama-arg-chat-template-file"})
_FETCHED = frozenset(
    {"hf", "hfr", "hf-repo", "mu", "model-url", "dr", "docker-repo"}
    | {"llama-arg-hf-repo", "llama-arg-model-url", "llama-arg-docker-repo"}
)
_CONTEXT = frozenset({"c", "ctx-size", "llama-arg-ctx-size"})
_SECRET = re.compile(r"token|key|secret|password")
_NOT_FETCHED = "it names a repository, and nothing is downloaded here: name the file instead"
_CONTAINERS = frozenset({"docker", "podman", "nerdctl"})
_WHOLE = ("models", "macros")
_ALIASES = frozenset({"alias", "a", "llama-arg-alias"})
_OURS = _ALIASES | {"host", "port", "api-key", "api-key-file"}
"""What the house does by itself: where a worker listens, and who may speak to it."""

_MACRO = re.compile(r"\$\{([A-Za-z0-9_.-]+)\}")
_MOST_ROUNDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A model that a file configures.

    path: None when there is no file to take; why then says what there is instead. template: a file
    with its chat template. aliases: further names. left: what was not taken. context: the tokens
    that it is given room for; None: all that the model was made for, as llama.cpp does unasked.
    """

    name: str
    path: str | None
    why: str | None = None
    template: str | None = None
    aliases: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    context: int | None = None


def read(text: str, *, suffix: str) -> tuple[Found, ...]:
    """The models of a llama-swap configuration (``.yaml``) or of llama.cpp's presets (``.ini``).

    Raises `InvalidField`.
    """
    if suffix.lower() in {".yaml", ".yml"}:
        return llama_swap(text)
    if suffix.lower() == ".ini":
        return presets(text)
    raise InvalidField(
        f"A file that ends in {suffix or 'nothing'} is not known here.",
        hint="Give a llama-swap configuration (.yaml), or presets of llama.cpp (.ini).",
    )


def llama_swap(text: str) -> tuple[Found, ...]:
    """The models of a llama-swap configuration.

    >>> found, = llama_swap("models: {tiny: {cmd: 'llama-server --port ${PORT} -m /m/t.gguf'}}")
    >>> found.name, found.path
    ('tiny', '/m/t.gguf')
    """
    try:
        whole = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidField(f"This is not YAML: {' '.join(str(error).split())}") from error
    models = whole.get("models") if isinstance(whole, Mapping) else None
    if not isinstance(models, Mapping) or not models:
        raise InvalidField("There is no model in it.", hint="llama-swap has them under `models:`.")
    macros = _macros(whole.get("macros"))
    return tuple(_swapped(str(name), model, macros) for name, model in models.items())


def beside_models(text: str, *, suffix: str) -> tuple[str, ...]:
    r"""What a llama-swap configuration says beside its models, by name: none of it is taken.

    >>> beside_models("models: {a: {cmd: x}}\nhooks: {}\ngroups: {}", suffix=".yaml")
    ('hooks:', 'groups:')
    """
    if suffix.lower() not in {".yaml", ".yml"}:
        return ()
    whole = yaml.safe_load(text)
    return tuple(f"{key}:" for key in whole if key not in _WHOLE)


def _macros(found: object) -> dict[str, str]:
    if isinstance(found, Mapping):
        return {str(name): str(value) for name, value in found.items()}
    return {}


def _swapped(name: str, model: object, macros: Mapping[str, str]) -> Found:
    if not isinstance(model, Mapping) or not isinstance(model.get("cmd"), str):
        return Found(name=name, path=None, why="it has no cmd")
    known = {**macros, **_macros(model.get("macros")), "MODEL_ID": name}
    command = _without_comments(_filled(model["cmd"], known))
    try:
        words = shlex.split(command)
    except ValueError as error:
        return Found(name=name, path=None, why=f"its cmd cannot be read: {error}")
    aliases, proxy = model.get("aliases"), model.get("proxy")
    left = [f"{key}:" for key in model if key not in {"cmd", "aliases", "name", "macros"}]
    found = _of_flags(
        name,
        _flags(words),
        aliases=tuple(map(str, aliases)) if isinstance(aliases, list) else (),
        left=left,
    )
    if words and words[0].rpartition("/")[2] in _CONTAINERS:
        why = "it runs in a container, whose files are not this machine's"
        return replace(found, path=None, why=f"{why}: {_connect(proxy)}")
    if found.path is None and isinstance(proxy, str):
        return replace(found, why=f"{found.why}; {_connect(proxy)}")
    return found


def _connect(proxy: object) -> str:
    """How a server that somebody else starts comes into the house."""
    where = proxy if isinstance(proxy, str) and "${" not in proxy else "its address"
    return f"once it runs, name {where} under discovery.servers"


def _without_comments(command: str) -> str:
    """A command line without the lines that say nothing, and with its lines joined."""
    lines = (line.strip().removesuffix("\\") for line in command.splitlines())
    return " ".join(line for line in lines if not line.startswith("#"))


def _filled(text: str, macros: Mapping[str, str]) -> str:
    """With macros in it filled in, also those within macros; unknown ones stay."""
    for _ in range(_MOST_ROUNDS):
        filled = _MACRO.sub(lambda found: macros.get(found[1], found[0]), text)
        if filled == text:
            break
        text = filled
    return text


def _flags(words: Iterable[str]) -> list[tuple[str, str]]:
    """What follows each flag of a command line.

    >>> _flags(["llama-server", "-c", "4096", "--jinja", "--temp=-1", "-m", "x.gguf"])
    [('c', '4096'), ('jinja', ''), ('temp', '-1'), ('m', 'x.gguf')]
    """
    found: list[tuple[str, str]] = []
    for word in words:
        if word.startswith("-") and not re.fullmatch(r"-\d+(\.\d+)?", word):
            name, _, value = word.lstrip("-").partition("=")
            found.append((name, value))
        elif found and not found[-1][1]:
            found[-1] = (found[-1][0], word)
    return found


def presets(text: str) -> tuple[Found, ...]:
    r"""The models of llama.cpp's presets; what stands under ``[*]`` holds for each.

    >>> found, = presets("version = 1\n[*]\nngl = 9\n[tiny]\nmodel = /m/t.gguf\n")
    >>> found.path, found.left
    ('/m/t.gguf', ('ngl 9',))
    """
    parser = configparser.ConfigParser(
        interpolation=None, default_section="*", delimiters=("=",), strict=False
    )
    try:
        # what stands before the first section is about the file
        parser.read_string(f"[\0file]\n{text}")
    except configparser.Error as error:
        raise InvalidField(f"These are no presets: {' '.join(str(error).split())}") from error
    parser.remove_section("\0file")
    if not parser.sections():
        raise InvalidField("There is no model in it.", hint="Each [section] is one.")
    return tuple(
        _preset(name, [(_flag(key), value) for key, value in parser[name].items()])
        for name in parser.sections()
    )


def _flag(key: str) -> str:
    """A preset's key as a flag: it may be one, short or long, or the variable in its place.

    >>> _flag("--ctx-size"), _flag("llama_arg_model")
    ('ctx-size', 'llama-arg-model')
    """
    return key.lstrip("-").replace("_", "-")


def _preset(name: str, flags: list[tuple[str, str]]) -> Found:
    """A preset; the aliases that it gives its model are names here too."""
    named = (value for flag, value in flags if flag in _ALIASES)
    aliases = tuple(one.strip() for value in named for one in value.split(",") if one.strip())
    found = _of_flags(name, flags, aliases=aliases)
    # a section that is named like a repository is about what llama.cpp fetches from there
    return replace(found, why=_NOT_FETCHED) if found.path is None and "/" in name else found


def _of_flags(
    name: str,
    flags: Iterable[tuple[str, str]],
    *,
    aliases: tuple[str, ...] = (),
    left: Iterable[str] = (),
) -> Found:
    path: str | None = None
    template: str | None = None
    not_taken = list(left)
    context: int | None = None
    has_repository = False
    for flag, value in flags:
        if flag in _PATH:
            path = value
        elif flag in _TEMPLATE:
            template = value
        elif flag not in _OURS:
            if flag in _CONTEXT:
                # 0 has llama.cpp take what stands in the model's file
                context = int(value) or None if value.isdecimal() and len(value) < 10 else None
            has_repository = has_repository or flag in _FETCHED
            # a token that stands in a file is not repeated on a screen
            not_taken.append(flag if _SECRET.search(flag) else f"{flag} {value}".strip())
    why = None
    if path is None:
        why = _NOT_FETCHED if has_repository else "it names no model file"
    return Found(
        name=name,
        path=path,
        why=why,
        template=template,
        aliases=aliases,
        left=tuple(not_taken),
        context=context,
    )


def less_room(found: Iterable[Found], most: int) -> str | None:
    """Which models had more room for a conversation where they come from; None: none had.

    most: the tokens that a model is loaded with here at most.

    >>> less_room([Found(name="tiny", path="t.gguf", context=8192)], 4096)
    'tiny has 8192 there. Here at most 4096 tokens: more by the setting pool.context.'
    >>> less_room([Found(name="tiny", path="t.gguf")], 4096)[:40]
    'tiny has all that it was made for there.'
    >>> less_room([Found(name="tiny", path="t.gguf", context=2048)], 4096)
    """
    there = [one for one in found if one.path is not None]
    more = [f"{one.name} has {one.context}" for one in there if one.context and one.context > most]
    more += [f"{one.name} has all that it was made for" for one in there if one.context is None]
    if not more:
        return None
    told = ", ".join(more)
    return f"{told} there. Here at most {most} tokens: more by the setting pool.context."


def located(found: Found, beside: Path) -> Path:
    """The file of a model, which has one; what is not absolute is meant from here."""
    return (beside / Path(found.path or "").expanduser()).resolve()
