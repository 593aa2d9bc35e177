"""What facts about a machine mean: findings, each with the command that mends it. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from arbiter.doctor.facts import ConfigThere, Facts, Port
from arbiter.doctor.finding import Finding, State
from arbiter.doctor.meters import meter_findings

__all__ = ["Finding", "State", "examine", "is_below", "numbers", "read_known_bad"]

FREE_BYTES = 1_000_000_000
"""Room on the disk below which it is worth a word."""

OLD_DAYS = 180
"""A table of bad versions that is older than this says so."""

SQLITE_FIXED = ((3, 51, 3), (3, 50, 7), (3, 44, 6))
"""Free of the bug of resetting a write-ahead log: from the first on, and in these branches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """Versions of something that are known to be bad: all below this one, or exactly these.

    since: what is below that says nothing of how old it is.
    """

    name: str
    why: str
    source: str
    below: str = ""
    since: str = ""
    exactly: tuple[str, ...] = ()

    def has(self, version: str) -> bool:
        """Whether a version is one of them.

        >>> Bad(name="x", why="", source="", exactly=("1.82.7",)).has("1.82.7")
        True
        """
        if self.since and is_below(version, self.since):
            return False
        return version in self.exactly or (bool(self.below) and is_below(version, self.below))

    @property
    def mend(self) -> str:
        """The command that replaces such a version of a package."""
        if self.below:
            return f'pip install --upgrade "{self.name}>={self.below}"'
        others = ",".join(f"!={one}" for one in self.exactly)
        return f'pip install --upgrade "{self.name}{others}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBad:
    """The table of them, and its date."""

    dated: date
    packages: tuple[Bad, ...]
    servers: tuple[Bad, ...]


def read_known_bad(text: str) -> KnownBad:
    """The table as it ships."""
    found = tomllib.loads(text)
    return KnownBad(
        dated=found["dated"],
        packages=tuple(_bad(one, name=one["name"]) for one in found["package"]),
        servers=tuple(_bad(one, name=one["kind"]) for one in found["server"]),
    )


def _bad(row: Mapping[str, Any], *, name: str) -> Bad:
    return Bad(
        name=name,
        why=row["why"],
        source=row["source"],
        below=row.get("below", ""),
        since=row.get("from", ""),
        exactly=tuple(row.get("exactly", ())),
    )


def numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with, to be compared.

    >>> numbers("0.17.1-rc2") < numbers("0.17.2"), numbers("v2.13.0+cpu"), numbers("unknown")
    (True, (2, 13, 0), ())
    """
    found = re.match(r"[vb]?(\d+(?:\.\d+)*)", version)
    return () if found is None else tuple(int(part) for part in found[1].split("."))


def is_below(version: str, bound: str) -> bool:
    """Whether a version is older. What tells no number is not.

    >>> is_below("1.20.1", "1.21"), is_below("1.21", "1.21.0"), is_below("unknown", "1")
    (True, False, False)
    """
    one, other = numbers(version), numbers(bound)
    longest = max(len(one), len(other))
    pad = (0,) * longest
    return bool(one) and (one + pad)[:longest] < (other + pad)[:longest]


def examine(facts: Facts, known: KnownBad, *, today: date) -> tuple[Finding, ...]:
    """Every finding, in the order in which a person would mend them."""
    return (
        *_data(facts),
        *_config(facts.config),
        _port(facts.port),
        _sqlite(facts.sqlite),
        *_engines(facts),
        *_extras(facts),
        *_models(facts),
        *_versions(facts, known),
        *_age(known, today),
        *_strays(facts.strays),
        *_clock(facts),
        *(() if facts.meters is None else meter_findings(facts.meters)),
    )


def _ok(about: str, sentence: str) -> Finding:
    return Finding(about=about, state=State.OK, sentence=sentence)


def _data(facts: Facts) -> Iterator[Finding]:
    folder = facts.data_dir
    if folder.is_missing:
        yield _ok("data", f"{folder.path} is not there yet; `arbiter up` makes it.")
    elif not folder.is_writable:
        yield Finding(
            about="data",
            state=State.FAIL,
            sentence=f"{folder.path} cannot be written.",
            mend=f"chown -R $USER {folder.path}",
        )
    elif folder.mode & 0o077:
        yield Finding(
            about="data",
            state=State.WARN,
            sentence=f"Others may look into {folder.path} (mode {folder.mode:o}).",
            mend=f"chmod 700 {folder.path}",
        )
    else:
        yield _ok("data", f"{folder.path} is there, and nobody else's.")
    if folder.damage is not None:
        yield Finding(
            about="database",
            state=State.FAIL,
            sentence=f"The database is damaged: {folder.damage}",
            mend="Move the data directory away, and take what was learned from an export:"
            " arbiter knowledge import FILE",
        )
    elif folder.database_bytes is not None:
        yield _ok("database", f"It is sound, {folder.database_bytes / 1e6:.1f} MB.")
    if folder.free_bytes is not None and folder.free_bytes < FREE_BYTES:
        yield Finding(
            about="disk",
            state=State.WARN,
            sentence=f"{folder.free_bytes / 1e6:.0f} MB are free on the disk of {folder.path}.",
            mend="Make room. On a full disk answers go on, and nothing new is learned.",
        )


def _config(config: ConfigThere | None) -> Iterator[Finding]:
    if config is None:
        return
    if config.holds_keys and config.mode & 0o077:
        yield Finding(
            about="config",
            state=State.WARN,
            sentence=f"Others may read {config.path}, and keys stand in it.",
            mend=f"chmod 600 {config.path}",
        )
    else:
        yield _ok("config", f"{config.path} is valid.")


def _port(port: Port) -> Finding:
    if port.house:
        return _ok("port", f"A house of this data directory listens at {port.where}.")
    if port.is_free:
        return _ok("port", f"{port.where} is free.")
    return Finding(
        about="port",
        state=State.FAIL,
        sentence=f"Another program listens at {port.where}{port.owner}.",
        mend="arbiter up --port 8018",
    )


def _sqlite(version: str) -> Finding:
    found = numbers(version)
    latest, *branches = SQLITE_FIXED
    is_fine = found >= latest or any(found[:2] == one[:2] and found >= one for one in branches)
    if is_fine:
        return _ok("sqlite", f"SQLite {version}.")
    return Finding(
        about="sqlite",
        state=State.FAIL,
        sentence=f"SQLite {version} can lose what two connections write at the same moment.",
        mend="pip install --upgrade apsw",
    )


def _engines(facts: Facts) -> Iterator[Finding]:
    for engine in facts.engines:
        if engine.reason is None:
            yield _ok(f"engine {engine.name}", "It can run here.")
        else:
            # an engine that is not installed is a choice
            yield Finding(about=f"engine {engine.name}", state=State.OK, sentence=engine.reason)
    if facts.engines and all(one.reason for one in facts.engines if one.loads_files):
        yield Finding(
            about="engines",
            state=State.WARN,
            sentence="Nothing here can load a model file.",
            mend='pip install "arbiter-house[llama]"',
        )


def _extras(facts: Facts) -> Iterator[Finding]:
    for extra, why in facts.lacks.items():
        yield Finding(
            about=f"extra {extra}",
            state=State.WARN,  # the house works without
            sentence=f"{why}, and what does so is not installed.",
            mend=f'pip install "arbiter-house[{extra}]"',
        )


def _models(facts: Facts) -> Iterator[Finding]:
    if facts.names:
        yield _ok("models", f"{facts.names} registered.")
    elif facts.names == 0 and not facts.servers:
        yield Finding(
            about="models",
            state=State.WARN,
            sentence="No model is registered, and no server that offers one answers here.",
            mend="arbiter models add FILE.gguf",
        )
    for one in facts.complaints:
        yield Finding(
            about=f"model {one.model}", state=State.WARN, sentence=one.sentence, mend=one.mend
        )


def _versions(facts: Facts, known: KnownBad) -> Iterator[Finding]:
    worse = [bad for bad in known.packages if bad.has(facts.packages.get(bad.name, ""))]
    if not worse:
        yield _ok("packages", f"None is known to be bad, by the table of {known.dated}.")
    for bad in worse:
        version = facts.packages[bad.name]
        yield Finding(
            about=f"package {bad.name}",
            state=State.FAIL,
            sentence=f"{bad.name} {version}: {bad.why} ({bad.source}).",
            mend=bad.mend,
        )
    for server in facts.servers:
        worst = [one for one in known.servers if one.name == server.kind]
        bad_here = [one for one in worst if one.has(server.version or "")]
        for bad in bad_here:
            yield Finding(
                about=f"server {server.url}",
                state=State.FAIL,
                sentence=f"{server.kind} {server.version}: {bad.why} ({bad.source}).",
                mend=f"Update it to {bad.below} or newer.",
            )
        if not bad_here:
            version = server.version or "of a version that it does not tell"
            yield _ok(f"server {server.url}", f"{server.kind} {version}.")


def _age(known: KnownBad, today: date) -> Iterator[Finding]:
    days = (today - known.dated).days
    if days > OLD_DAYS:
        yield Finding(
            about="table of bad versions",
            state=State.WARN,
            sentence=f"It is {days} days old, and knows nothing of what came to light since.",
            mend="pip install --upgrade arbiter-house",
        )


def _strays(strays: Sequence[str] | None) -> Iterable[Finding]:
    if strays is None:
        return ()
    if not strays:
        return (_ok("start of Python", "No file runs code at the start that no package brought."),)
    return tuple(
        Finding(
            about="start of Python",
            state=State.WARN,
            sentence=f"{path} runs code whenever Python starts, and no package brought it.",
            mend=f"Look into it; if you do not know it: rm {path}",
        )
        for path in strays
    )


def _clock(facts: Facts) -> Iterator[Finding]:
    if facts.ahead_s is not None and facts.ahead_s > 60.0:
        yield Finding(
            about="clock",
            state=State.WARN,
            sentence=f"The record goes on {facts.ahead_s:.0f} s beyond this machine's clock.",
            mend="Set the clock: timedatectl set-ntp true",
        )
