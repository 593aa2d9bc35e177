"""Looks for models now and then, has them taken in, and tells what was found.

Servers come first: they are told as soon as they have answered. Files are read behind, because
their last byte takes as long as the disk needs. A look that fails for a reason that nobody thought
of is told in the log, and the next one comes all the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from arbiter.clock import Clock
from arbiter.config import DiscoverySettings
from arbiter.registry.discovery import Discovery, FileSighting, Survey
from arbiter.swap.adoption import Adopted, Adoption
from arbiter.swap.found_files import FoundFiles, reading, shown

LOG = logging.getLogger(__name__)

FOLDERS_EVERY: Final = 4
"""Folders change less often than servers do, and listing them costs more."""

FILES_S: Final = 1.0
"""How long the first report waits for files that are small enough to be read by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was looked at, and what became of each model that was found."""

    survey: Survey
    adopted: tuple[Adopted, ...]


Tell = Callable[[Report], None]


class Scout:
    """Looks, once or for as long as the house is open."""

    def __init__(
        self,
        *,
        discovery: Discovery,
        adoption: Adoption,
        files: FoundFiles,
        settings: DiscoverySettings,
        clock: Clock,
    ) -> None:
        self._discovery = discovery
        self._adoption = adoption
        self._files = files
        self._settings = settings
        self._clock = clock
        self._watching: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[tuple[Adopted, ...]] | None = None
        self._one_at_a_time = asyncio.Lock()

    def open(self, tell: Tell) -> None:
        """Look in the background from now on, register by the settings, and tell what was found.

        When looking is switched off, only servers whose models are registered are looked after.
        """
        self._watching = asyncio.create_task(self._watch(tell), name="looking for models")

    async def close(self) -> None:
        """Stop looking and reading."""
        running = [task for task in (self._watching, self._reading) if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def look(
        self, *, register: Literal["all", "servers", "none"] | None = None, everywhere: bool = True
    ) -> Report:
        """Look once, and return when every file that is wanted has been read.

        register: what to register of it; by default what the settings say. everywhere: also where
        the settings say not to look of ourselves.
        """
        which = register or self._settings.register_found
        survey = await self._discovery.survey(everywhere=everywhere)
        adopted = await self._adoption.adopt(survey.servers, register=which != "none")
        files = await self._look_at_files(survey, register=which == "all")
        return Report(survey=survey, adopted=(*adopted, *files))

    async def _watch(self, tell: Tell) -> None:
        number = 0
        while True:
            try:
                await self._once(tell, folders=number % FOLDERS_EVERY == 0)
            except Exception:
                # one of the loops that must not die: a folder or a server that is broken in a way
                # nobody thought of would else end the watch over all the others
                LOG.exception("looking for models failed; the next look is in %.0f s", self._pause)
            number += 1
            await self._clock.sleep(self._pause)

    @property
    def _pause(self) -> float:
        return self._settings.every_s

    async def _once(self, tell: Tell, *, folders: bool) -> None:
        which = self._settings.register_found
        survey = await self._discovery.survey(
            everywhere=self._settings.enabled, folders=folders and self._reading is None
        )
        servers = await self._adoption.adopt(survey.servers, register=which != "none")
        now, later = await self._sorted(survey, register=which == "all")
        if later:
            self._reading = asyncio.create_task(self._read(later))
            timer = asyncio.create_task(self._clock.sleep(FILES_S))
            await asyncio.wait({self._reading, timer}, return_when=asyncio.FIRST_COMPLETED)
            timer.cancel()
            if self._reading.done():
                now += self._reading.result()
                self._reading = None
            else:
                now += tuple(reading(file) for file in later)
                self._reading.add_done_callback(lambda task: self._finish(task, survey, tell))
        tell(Report(survey=survey, adopted=(*servers, *now)))

    def _finish(self, task: asyncio.Task[tuple[Adopted, ...]], survey: Survey, tell: Tell) -> None:
        self._reading = None
        if task.cancelled():
            return
        if task.exception() is not None:
            LOG.error("reading model files has failed", exc_info=task.exception())
            return
        only_files = Survey(servers=(), folders=survey.folders)
        tell(Report(survey=only_files, adopted=task.result()))

    async def _look_at_files(self, survey: Survey, *, register: bool) -> tuple[Adopted, ...]:
        now, later = await self._sorted(survey, register=register)
        return now + await self._read(later)

    async def _sorted(
        self, survey: Survey, *, register: bool
    ) -> tuple[tuple[Adopted, ...], tuple[FileSighting, ...]]:
        """What is known of each file, and those that are to be read."""
        now, later = [], []
        for folder in survey.folders:
            for file in folder.files:
                known = await self._files.known(file)
                if known is not None:
                    now.append(known)
                elif register:
                    later.append(file)
                else:
                    now.append(shown(file))
        return tuple(now), tuple(later)

    async def _read(self, files: Sequence[FileSighting]) -> tuple[Adopted, ...]:
        async with self._one_at_a_time:  # two looks at once would register a file twice
            return tuple([await self._files.register(file) for file in files])
