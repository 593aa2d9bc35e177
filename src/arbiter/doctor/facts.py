"""What is so on this machine: looked up, never changed, and never guessed."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import distributions
from pathlib import Path
from urllib.parse import quote

import apsw
import psutil

from arbiter.config import Settings
from arbiter.doctor.instances import Complaint
from arbiter.doctor.meters import Meters
from arbiter.engines.base import Engine, ServerEngine
from arbiter.errors import EngineError
from arbiter.tracing.extra import is_complete

_DATABASE = "arbiter.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """The data directory. None: not there, or not known. damage: what its database says of it."""

    path: str
    is_missing: bool = False
    is_writable: bool = True
    mode: int = 0o700
    free_bytes: int | None = None
    database_bytes: int | None = None
    damage: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """Where the door would listen. house: the house of this data directory is there already."""

    where: str
    is_free: bool
    house: bool = False
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineThere:
    """An engine. reason: why it cannot run here; None when it can."""

    name: str
    loads_files: bool
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerThere:
    """A server that answers. version: None when it does not tell."""

    url: str
    kind: str
    version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigThere:
    """The configuration file that is in force. holds_keys: a key of a door or a server is in it."""

    path: str
    mode: int
    holds_keys: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that was looked at.

    strays: files that run code at the start of Python and belong to no package; None: not looked.
    ahead_s: by how much the newest entry of the record is later than now; None without a record.
    meters: what can be read of what answers cost; None: not looked.
    complaints: what is the matter with models that the running house has loaded.
    names: how many models are registered; None without a database. lacks: extras that the settings
    ask for and that are not installed, each with what it is for.
    """

    data_dir: Folder
    port: Port
    sqlite: str
    packages: Mapping[str, str]
    engines: Sequence[EngineThere] = ()
    servers: Sequence[ServerThere] = ()
    strays: Sequence[str] | None = None
    ahead_s: float | None = None
    meters: Meters | None = None
    complaints: Sequence[Complaint] = ()
    config: ConfigThere | None = None
    names: int | None = None
    lacks: Mapping[str, str] = field(default_factory=dict)


def look_at_config(path: Path, settings: Settings) -> ConfigThere:
    """Who may read a configuration file, and whether it matters."""
    return ConfigThere(
        path=str(path),
        mode=stat.S_IMODE(path.stat().st_mode),
        holds_keys=bool(settings.door.keys or settings.discovery.keys),
    )


def names_in(path: Path) -> int | None:
    """How many models the database of a data directory has a name for."""
    database = path / _DATABASE
    if not database.exists():
        return None
    try:
        ((count,),) = _read(database, "SELECT COUNT(*) FROM names WHERE kind = 'model'")
    except apsw.Error:
        return None
    return int(str(count))


def lacking(settings: Settings, packages: Mapping[str, str]) -> dict[str, str]:
    """The extras that these settings need and that are not there."""
    wants_traces = settings.telemetry.traces_url is not None
    if wants_traces and not is_complete(packages):
        return {"otel": f"Traces are to be sent to {settings.telemetry.traces_url}"}
    return {}


def look_at_folder(path: Path) -> Folder:
    """The data directory, with a quick check of its database, which is opened to be read only."""
    if not path.exists():
        return Folder(path=str(path), is_missing=True)
    database = path / _DATABASE
    size = database.stat().st_size if database.exists() else None
    return Folder(
        path=str(path),
        is_writable=os.access(path, os.W_OK | os.X_OK),
        mode=stat.S_IMODE(path.stat().st_mode),
        free_bytes=shutil.disk_usage(path).free,
        database_bytes=size,
        damage=None if size is None else _damage(database),
    )


def _damage(database: Path) -> str | None:
    try:
        (said,) = _read(database, "PRAGMA quick_check(1)")
    except apsw.Error as error:
        return str(error)
    return None if said == ("ok",) else str(said[0])


def _read(database: Path, query: str) -> list[tuple[object, ...]]:
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    connection = apsw.Connection(f"file:{quote(str(database))}?mode=ro", flags=flags)
    try:
        return list(connection.execute(query))
    finally:
        connection.close()


def ahead_of(path: Path, now: datetime) -> float | None:
    """By how many seconds the newest entry of the ledger is later than now."""
    database = path / _DATABASE
    if not database.exists():
        return None
    try:
        ((newest,),) = _read(database, "SELECT MAX(at) FROM ledger")
    except apsw.Error:
        return None
    return None if newest is None else (datetime.fromisoformat(str(newest)) - now).total_seconds()


def look_at_port(host: str, port: int, *, house: str | None) -> Port:
    """Whether the door could listen there now. house: the address of ours, if it runs."""
    if house is not None:
        return Port(where=house, is_free=True, house=True)
    where = f"{host}:{port}"
    if port == 0:
        return Port(where=where, is_free=True)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trying:
        trying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trying.bind((host.strip("[]"), port))
        except OSError:
            return Port(where=where, is_free=False, owner=_owner(port))
    return Port(where=where, is_free=True)


def _owner(port: int) -> str:
    """Who listens there, as far as this user may know."""
    try:
        for one in psutil.net_connections("inet"):
            if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr[1] == port and one.pid:
                return f": {psutil.Process(one.pid).name()}, process {one.pid}"
    except psutil.Error:
        pass
    return ""


def installed() -> dict[str, str]:
    """Every package of this Python, by its name in lower case."""
    return {one.metadata["Name"].lower(): one.version for one in distributions()}


def strays() -> list[str]:
    """The ``.pth`` files of this Python that run code and that no package says it brought."""
    brought = {
        str(Path(str(one.locate_file(file))).resolve())
        for one in distributions()
        for file in one.files or ()
        if file.name.endswith(".pth")
    }
    folders = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    found = []
    for path in sorted(path for folder in folders for path in Path(folder).glob("*.pth")):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        runs = any(line.startswith(("import ", "import\t")) for line in lines)
        if runs and str(path.resolve()) not in brought:
            found.append(str(path))
    return found


def look_at_engines(engines: Sequence[Engine]) -> list[EngineThere]:
    """Whether each can run here."""
    found = []
    for engine in engines:
        availability = engine.availability()
        found.append(
            EngineThere(
                name=engine.name,
                loads_files=not isinstance(engine, ServerEngine),
                reason=None if availability.available else availability.reason,
            )
        )
    return found


async def look_at_servers(
    engines: Sequence[Engine], urls: Sequence[str], *, usual: bool
) -> list[ServerThere]:
    """What answers at these addresses, and at the usual ones of this machine if that is wanted."""
    found: dict[str, ServerThere] = {}
    for engine in engines:
        if not isinstance(engine, ServerEngine):
            continue
        there = [url for _, url in engine.usual] if usual else []
        for url in dict.fromkeys([*urls, *there]):
            try:
                site = await engine.look(url)
            except EngineError:
                continue  # nobody is there, or somebody else
            kind = site.kind.lower()
            found.setdefault(url, ServerThere(url=url, kind=kind, version=site.version))
    return list(found.values())
