"""Looking for models that are there already: servers that run, folders of files.

It looks at the usual ports of this machine and the usual folders, and at what was named in the
settings; never at another machine that nobody named. It only tells what it found, and what it did
not find and why: what becomes of it is decided in `arbiter.swap.adoption`. Files are not opened
here, only listed.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from arbiter.clock import Clock
from arbiter.config import DiscoverySettings
from arbiter.engines.base import Engine, PullingEngine, ServerEngine, Site
from arbiter.engines.deadlines import within
from arbiter.errors import ArbiterError, NotThisKind, ServerGone
from arbiter.refs import legible
from arbiter.registry.places import Places

LOOK_S: Final = 2.5
"""Longest look at one address. What takes longer is told, and looked at again later."""

_MOST_FILES: Final = 2000
_DEEPEST: Final = 8
_PART: Final = re.compile(r"-(\d{5})-of-(\d{5})\.gguf\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address to look at. label: what is usual there, or where it was named.

    engine: the engine to try first; None leaves it to what answers.
    """

    url: str
    label: str
    engine: str | None = None
    is_named: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder to look into. label: whose it usually is, or where it was named."""

    path: Path
    label: str
    is_named: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSighting:
    """What was found at an address: a site, or the trouble."""

    address: Address
    site: Site | None
    trouble: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSighting:
    """A model file. trouble: why it cannot be a model of its own; None when it may be one."""

    path: Path
    size_bytes: int
    trouble: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSighting:
    """What was found in a folder, or the trouble."""

    folder: Folder
    files: tuple[FileSighting, ...]
    trouble: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Everything that was looked at, in the order of the settings."""

    servers: tuple[ServerSighting, ...]
    folders: tuple[FolderSighting, ...]


class Discovery:
    """Looks; keeps nothing."""

    def __init__(
        self,
        *,
        engines: Sequence[Engine],
        settings: DiscoverySettings,
        clock: Clock,
        home: Path,
        environment: Mapping[str, str],
        places: Places,
        own: frozenset[str] = frozenset(),
    ) -> None:
        """own: where this house itself listens: it must not find itself."""
        self._engines = tuple(e for e in engines if isinstance(e, ServerEngine))
        self._settings = settings
        self._clock = clock
        self._home = home
        self._environment = environment
        self._places = places
        self._own = own

    def addresses(self, *, everywhere: bool = True) -> tuple[Address, ...]:
        """Where it looks for servers: what was named first, each address once.

        everywhere: False leaves only servers that models were registered from.
        """
        found: list[Address] = []
        if everywhere:
            found += [
                Address(url=_root(url), label="named in discovery.servers", is_named=True)
                for url in self._settings.servers
            ]
        found += [
            Address(url=url, label="a model was registered from it", engine=engine, is_named=True)
            for url, engine in sorted({(p.url, p.engine) for p in self._places.all()})
        ]
        if everywhere and self._settings.usual:
            found += [
                Address(url=url, label=label, engine=engine.name)
                for engine in self._engines
                for label, url in engine.usual
            ]
        once = {address.url: address for address in reversed(found) if address.url not in self._own}
        return tuple(once.values())[::-1]

    def folders(self) -> tuple[Folder, ...]:
        """Where it looks for files: what was named first."""
        found = [
            Folder(path=path, label="named in discovery.folders", is_named=True)
            for path in self._settings.folders
        ]
        if self._settings.usual:
            found += usual_folders(self._home, self._environment)
        return tuple({folder.path: folder for folder in reversed(found)}.values())[::-1]

    async def survey(self, *, everywhere: bool = True, folders: bool = True) -> Survey:
        """Look at all of it at once. Never raises for what it finds.

        everywhere: False looks only after servers whose models are registered.
        """
        where = self.folders() if folders and everywhere else ()
        servers, found = await asyncio.gather(
            asyncio.gather(*(self.look(one) for one in self.addresses(everywhere=everywhere))),
            asyncio.to_thread(lambda: tuple(look_into(folder) for folder in where)),
        )
        return Survey(servers=tuple(servers), folders=found)

    def format_of(self, engine: str) -> str:
        """The format of what an engine's servers offer."""
        return next(f for one in self._engines if one.name == engine for f in one.formats)

    def can_pull(self, engine: str) -> bool:
        """Whether the servers of an engine can fetch models."""
        return any(isinstance(e, PullingEngine) and e.name == engine for e in self._engines)

    def puller(self, engine: str) -> PullingEngine:
        """The engine of this name, which can have its servers fetch models."""
        return next(e for e in self._engines if isinstance(e, PullingEngine) and e.name == engine)

    async def site(self, address: Address) -> Site:
        """What answers at an address. Raises `ServerGone` that says why nothing does."""
        sighting = await self.look(address)
        if sighting.site is None:
            raise ServerGone(f"{address.url}: {sighting.trouble}")
        return sighting.site

    async def look(self, address: Address) -> ServerSighting:
        """What answers at an address: the first engine that knows it, or why none does."""
        engines = sorted(self._engines, key=lambda e: (e.name != address.engine, e.name))
        troubles: list[str] = []
        for engine in engines:
            try:
                site = await within(self._clock, LOOK_S, engine.look(address.url))
            except NotThisKind as error:
                troubles.append(error.message)
            except ServerGone as error:
                return ServerSighting(address=address, site=None, trouble=error.message)
            except ArbiterError as error:
                return ServerSighting(address=address, site=None, trouble=error.sentence)
            except TimeoutError:
                slow = f"It did not answer within {LOOK_S} s; it will be looked at again."
                return ServerSighting(address=address, site=None, trouble=slow)
            else:
                return ServerSighting(address=address, site=site)
        return ServerSighting(address=address, site=None, trouble=" ".join(troubles))


def usual_folders(home: Path, environment: Mapping[str, str]) -> tuple[Folder, ...]:
    """Where Hugging Face, LM Studio and llama.cpp keep what they downloaded."""
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    hub = environment.get("HF_HUB_CACHE")
    if hub is None:
        hub = str(Path(environment.get("HF_HOME") or cache / "huggingface") / "hub")
    llama = environment.get("LLAMA_CACHE") or str(cache / "llama.cpp")
    return (
        Folder(path=Path(hub), label="Hugging Face's cache"),
        Folder(path=home / ".lmstudio" / "models", label="LM Studio's models"),
        Folder(path=cache / "lm-studio" / "models", label="LM Studio's models"),
        Folder(path=Path(llama), label="llama.cpp's cache"),
        Folder(path=home / "Library" / "Caches" / "llama.cpp", label="llama.cpp's cache"),
    )


def _root(url: str) -> str:
    """An address without the part that every OpenAI path begins with.

    >>> _root("http://127.0.0.1:8000/v1")
    'http://127.0.0.1:8000'
    """
    return url.removesuffix("/v1")


def look_into(folder: Folder) -> FolderSighting:
    """The GGUF files in a folder and below. Blocks for as long as listing takes."""
    try:
        found = folder.path.stat()
    except FileNotFoundError:
        return FolderSighting(folder=folder, files=(), trouble="There is no such folder.")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        return FolderSighting(folder=folder, files=(), trouble=f"It cannot be read: {why}.")
    if stat.S_ISREG(found.st_mode):
        file = FileSighting(path=folder.path, size_bytes=found.st_size, trouble=_part(folder.path))
        return FolderSighting(folder=folder, files=(file,))
    if not stat.S_ISDIR(found.st_mode):
        return FolderSighting(folder=folder, files=(), trouble="It is no folder.")
    files: dict[Path, FileSighting] = {}
    troubles: list[str] = []
    for path in _gguf_files(folder.path, troubles):
        if len(files) == _MOST_FILES:
            troubles.append(f"Only the first {_MOST_FILES} files are listed.")
            break
        try:
            real = path.resolve(strict=True)
            # two names of one file are one model; a cache links its names to its files
            files.setdefault(
                real, FileSighting(path=path, size_bytes=real.stat().st_size, trouble=_part(path))
            )
        except OSError as error:
            troubles.append(f"{legible(path.name)} cannot be read: {error.strerror}.")
    return FolderSighting(
        folder=folder, files=tuple(files.values()), trouble=" ".join(troubles) or None
    )


def _gguf_files(folder: Path, troubles: list[str]) -> Iterator[Path]:
    def note(error: OSError) -> None:
        troubles.append(f"{legible(str(error.filename))} cannot be read: {error.strerror}.")

    for here, inner, names in os.walk(folder, onerror=note):
        inner.sort()
        if len(Path(here).relative_to(folder).parts) >= _DEEPEST:
            inner.clear()
        yield from (Path(here) / name for name in sorted(names) if name.lower().endswith(".gguf"))


def _part(path: Path) -> str | None:
    """Why a file is no model of its own, by its name; what is inside is looked at later.

    >>> _part(Path("model-00002-of-00003.gguf"))
    'It is part 2 of 3 of a split model; join them with: llama-gguf-split --merge'
    """
    if path.name.lower().startswith("mmproj"):
        return "It is the part of another model that sees pictures."
    found = _PART.search(path.name)
    if found is None or int(found[2]) == 1:
        return None
    return (
        f"It is part {int(found[1])} of {int(found[2])} of a split model; join them with: "
        "llama-gguf-split --merge"
    )
