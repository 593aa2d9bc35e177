"""Settings that are read again while the house is open: at a signal, and in words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from arbiter.cli.output import ERR
from arbiter.errors import ArbiterError
from arbiter.gateway.views import reloaded_view
from arbiter.house import House
from arbiter.refs import VersionId, short


class Reloads:
    """Reads the settings again at each SIGHUP; what comes while it does so is one more time."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._task: asyncio.Task[None] | None = None
        self._is_due = False

    def begin(self) -> None:
        """The signal has come."""
        self._is_due = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._is_due:
            self._is_due = False
            try:
                reloaded = await self._house.reloading.reload()
            except ArbiterError as error:
                ERR.print(f"the settings stay as they are: {error.sentence}", markup=False)
            else:
                ERR.print(told(reloaded_view(reloaded, self._house.registry)), markup=False)


def told(found: Mapping[str, object]) -> str:
    """What became of settings that were read again, in a line; as `POST /reload` gives it.

    >>> told({"applied": ["pool.slots"], "at_next_start": ["door.port"]})
    'read again: pool.slots; at the next start: door.port'
    >>> heron, wren = {"version": "sha256:1", "names": ["heron"]}, {"version": "sha256:2"}
    >>> told({"applied": ["pool.slots"], "loaded_again": [heron], "stays": [wren]})
    'read again: pool.slots; drained and loaded again: heron; stays in memory: 2'
    """
    parts = {
        "at the next start": _listed(found.get("at_next_start"), str),
        "drained and loaded again": _listed(found.get("loaded_again"), _name),
        "stays in memory": _listed(found.get("stays"), _name),
    }
    now = _listed(found.get("applied"), str) or "nothing changed"
    return "; ".join(
        [f"read again: {now}", *(f"{what}: {who}" for what, who in parts.items() if who)]
    )


def _listed(found: object, word: Callable[[object], str]) -> str:
    return ", ".join(map(word, found)) if isinstance(found, list) else ""


def _name(one: object) -> str:
    """The names of a version, or its digest's beginning where it has none any more."""
    entry = one if isinstance(one, Mapping) else {}
    names = entry.get("names")
    if isinstance(names, list) and names:
        return " = ".join(map(str, names))
    return short(VersionId(str(entry.get("version", ""))))
