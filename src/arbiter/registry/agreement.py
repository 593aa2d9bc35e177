"""Whether what is registered is what the ledger tells: its entries, folded, beside the tables.

The chain alone shows that its entries are as they were written. Whoever empties it, cuts its end
off or moves a name past it leaves a chain that is right in itself and tells of something else than
what answers; so the two are compared. Which of them is right, nobody can tell from here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from arbiter.ledger import Beside, Entry, Kind
from arbiter.refs import VersionId, short
from arbiter.storage.database import Row

_MOVES: Final = frozenset({Kind.NAME_ADDED, Kind.NAME_MOVED, Kind.NAME_REMOVED, Kind.ALIAS_SET})


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """Versions and names as they stand. versions: each with its path and its content's digest."""

    versions: Mapping[str, tuple[str, str]]
    names: Mapping[str, str]


def told(entries: Iterable[Entry]) -> Registered:
    """What the entries of a good chain, the oldest first, say is registered after the last."""
    versions: dict[str, tuple[str, str]] = {}
    names: dict[str, str] = {}
    for entry in entries:
        if entry.kind == Kind.VERSION_REGISTERED:
            body = _body(entry.body)
            versions[str(body.get("version"))] = _facts(body.get("path"), body.get("content"))
        elif entry.kind in _MOVES:
            body = _body(entry.body)
            name, to = str(body.get("name")), body.get("to")
            if to is None:
                names.pop(name, None)
            else:
                names[name] = str(to)
    return Registered(versions=versions, names=names)


def disagreement(said: Registered, stands: Registered) -> str | None:
    """The first version, or else the first name, of which the chain says something else.

    >>> some = Registered(versions={}, names={"primary": "sha256:" + "ab" * 32})
    >>> disagreement(Registered(versions={}, names={}), some)
    'The name primary stands for abababababab, but no entry says so.'
    """
    for version, facts in stands.versions.items():
        if version not in said.versions:
            return f"The version {_short(version)} is registered, but no entry says so."
        if facts != said.versions[version]:
            path, content = facts
            path_said, content_said = said.versions[version]
            return (
                f"The version {_short(version)} is registered as {path} with the content "
                f"{_short(content)}; its entry says {path_said} and {_short(content_said)}."
            )
    for version in said.versions:
        if version not in stands.versions:
            return f"An entry registers the version {_short(version)}, but it is not registered."
    for name in sorted(stands.names.keys() | said.names.keys()):
        now, then = stands.names.get(name), said.names.get(name)
        if now == then:
            continue
        if now is None:
            return f"The entries say that {name} stands for {_short(then)}, but it is no name."
        end = "no entry says so" if then is None else f"the entries say {_short(then)}"
        return f"The name {name} stands for {_short(now)}, but {end}."
    return None


def _compare(entries: Sequence[Entry], tables: Sequence[Sequence[Row]]) -> str | None:
    versions, names = tables
    artifacts = {str(row[0]): _body(str(row[1])) for row in versions}
    stands = Registered(
        versions={v: _facts(a.get("path"), a.get("content_digest")) for v, a in artifacts.items()},
        names={str(name): str(version) for name, version, _ in names},
    )
    return disagreement(told(entries), stands)


BESIDE_LEDGER: Final = Beside(queries=("list_versions", "list_names"), fault=_compare)
"""What the ledger of a house reads beside its chain, and who compares the two."""


def _body(text: str) -> Mapping[str, object]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _facts(path: object, content: object) -> tuple[str, str]:
    return str(path), str(content)


def _short(version: str | None) -> str:
    return short(None if version is None else VersionId(version))
