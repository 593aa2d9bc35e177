"""A name: it points at one version, and at another one later. What is meant by one. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from arbiter.errors import InvalidField, UnknownModel
from arbiter.refs import ModelName, VersionId, is_short_digest
from arbiter.registry.version import Standing, Version

ROLES = ("primary", "fast", "quality", "alternative")
"""The aliases that every house offers; a person may add any other."""


class Kind(StrEnum):
    """How a name came to be: given to a model when it was added, or set by a person."""

    MODEL = "model"
    ALIAS = "alias"


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """A mutable name for a version."""

    name: ModelName
    version: VersionId
    kind: Kind


def arms(
    names: Mapping[ModelName, Name],
    versions: Mapping[VersionId, Version],
    first: Collection[ModelName] = (),
) -> dict[VersionId, ModelName]:
    """Every active version that has a name, with the one name that `auto` picks it by.

    A version is one arm however many names it has. The name is one of `first` if it can be, else a
    role, else another alias, else a model's name.
    """
    best: dict[VersionId, tuple[tuple[bool, int, bool, str], ModelName]] = {}
    for name in names.values():
        if versions[name.version].standing is not Standing.ACTIVE:
            continue
        rank = (
            name.name not in first,
            ROLES.index(name.name) if name.name in ROLES else len(ROLES),
            name.kind is Kind.MODEL,
            name.name,
        )
        if name.version not in best or rank < best[name.version][0]:
            best[name.version] = (rank, name.name)
    return {version: name for version, (_, name) in sorted(best.items())}


def meant(name: ModelName, names: Collection[ModelName]) -> ModelName:
    """The name of these that somebody means: the one that they wrote, or its ``:latest``.

    Ollama's clients leave that tag out, or add it where there is none. Raises `UnknownModel` that
    lists the names.

    >>> meant(ModelName("owl"), {ModelName("owl:latest")})
    'owl:latest'
    """
    if name in names:
        return name
    latest = ModelName(f"{name}:latest")
    if latest in names:
        return latest
    plain = ModelName(name.removesuffix(":latest"))
    if plain in names:
        return plain
    known = ", ".join(sorted(names)[:20]) or "none yet: arbiter models add FILE"
    raise UnknownModel(
        f"No model or alias is called {name!r}.", hint=f"Known: {known}.", param="model"
    )


def with_digest(prefix: str, versions: Collection[Version]) -> Version:
    """The one version whose digest begins so. Raises `UnknownModel`, `InvalidField`."""
    digits = prefix.removeprefix("sha256:")
    if not is_short_digest(digits):
        raise InvalidField(
            f"{prefix!r:.80} is not the beginning of a digest.",
            hint="Give at least six hexadecimal digits after the @.",
            param="model",
        )
    found = [v for v in versions if v.version[7:].startswith(digits)]
    if not found:
        raise UnknownModel(f"No version begins with {digits!r}.", param="model")
    if len(found) > 1:
        raise InvalidField(f"{digits!r} fits {len(found)} versions; give more digits.")
    return found[0]
