"""The proof that no stream is lost: thousands, while everything is done that could lose one.

Real llama.cpp workers, the models that ship, clients that know what each version answers alone.
Round after round the alias `primary` is swapped and taken back, a candidate is called off, memory
holds fewer models than are asked for, a loaded model is unloaded, and workers are killed: the only
one of a version, and one of two, of which the other serves on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from random import Random

import aiohttp

from arbiter.clock import Clock
from arbiter.config import Settings, load_settings
from arbiter.demo.alone import MARGIN_NATS, surely
from arbiter.demo.lessons import TASKS, Item, draw_many
from arbiter.demo.story import Say, furnished
from arbiter.demo.streams import Crowd, End
from arbiter.errors import Conflict, UnknownRollout
from arbiter.house import House
from arbiter.pool.loadable import loadable
from arbiter.pool.view import InstanceView
from arbiter.refs import ModelName, RolloutId, VersionId, parse_name

PRIMARY = parse_name("primary")
STABLE, SUCCESSOR, OTHER, ASIDE = "heron-1", "heron-2", "heron-4", ("sparrow", "owl")
MODELS = (STABLE, SUCCESSOR, OTHER, *ASIDE)

CLIENTS = 14
"""Clients of the alias that is swapped."""

CLIENTS_ASIDE = 3
"""Clients of each model beside it, of which memory does not hold all."""

_ITEMS = 60
"""Prompts of each task that are tried; those whose answers are sure are asked."""

_FIT = 3.5
"""Memory holds so many of the largest model, as it was measured on this machine: three, and no
fourth."""

_MOST_WAIT_S = 300.0
"""A client that waits longer for a stream has lost it: as long as the house lets anybody wait."""

_MOST_STREAMS = 500
"""So many end, and nobody was served by a version: nobody will be."""

_NO_PROMOTION = 1_000_000
"""So many conversations no step of a rollout gets: it goes no further by itself."""

_WHO, _WHY = "no-loss", "to be shown"
_SEED = 20_261_128


@dataclass(frozen=True, slots=True, kw_only=True)
class NoLoss:
    """How it went: the document that ``--json`` prints.

    done: how often each thing was done. prompts: how many were asked, of whose answers every model
    is sure. faults: what was seen of the first ones.
    """

    streams: int
    ends: Mapping[End, int]
    done: Mapping[str, int]
    prompts: int
    faults: tuple[str, ...]

    @property
    def is_proved(self) -> bool:
        """Whether nothing was lost, truncated or duplicated, and everything was tried."""
        fine = {End.WHOLE, End.CUT_BY_KILL}
        return all(end in fine or not count for end, count in self.ends.items())

    def to_plain(self) -> dict[str, object]:
        """As JSON."""
        return {
            "streams": self.streams,
            "whole": self.ends.get(End.WHOLE, 0),
            "lost": self.ends.get(End.LOST, 0),
            "truncated": self.ends.get(End.TRUNCATED, 0),
            "duplicated": self.ends.get(End.DUPLICATED, 0),
            "cut_by_kill": self.ends.get(End.CUT_BY_KILL, 0),
            "done": dict(self.done),
            "prompts": self.prompts,
            "margin_nats": MARGIN_NATS,
            "faults": list(self.faults),
        }


async def prove(*, streams: int, clock: Clock, say: Say) -> NoLoss:
    """Do all of it until so many streams have ended.

    Raises `EngineUnavailable` when llama.cpp is not installed.
    """
    say("What each model answers alone, and how sure it is of every token:")
    asked, texts = await _sure_items(clock, say)
    with tempfile.TemporaryDirectory(prefix="arbiter-no-loss-") as folder:
        plans = _Plans(Path(folder))
        say("Registering the models:")
        async with furnished(plans(), MODELS, say, reread=plans) as house:
            held = [one.measured_bytes or one.predicted_bytes or 0 for one in house.pool.views()]
            plans.room_mb = _FIT * max(held) / 1e6
            await house.reloading.reload()
            await house.admission.set_alias(PRIMARY, parse_name(STABLE), who="no-loss")
            answers = {
                house.registry.resolve(parse_name(model)).version: texts[model] for model in MODELS
            }
            patience = aiohttp.ClientTimeout(total=_MOST_WAIT_S)
            async with house.door() as address, aiohttp.ClientSession(timeout=patience) as session:
                crowd = Crowd(session, address.url, answers)
                return await _Proof(house, crowd, asked, say).run(streams)


class _Plans:
    """The settings, each time they are read: what is loaded with other slots is loaded again.

    room_mb: memory for models; None: as much as there is.
    """

    def __init__(self, folder: Path) -> None:
        self.room_mb: float | None = None
        self._folder = folder
        self._slots = cycle((4, 3))

    def __call__(self) -> Settings:
        """A free port, steps without a soak, and as much room."""
        return load_settings(
            environment={},
            overrides={
                "data_dir": self._folder,
                "door.port": 0,
                "rollout.soak_s": 0.0,
                "rollout.min_units": 5,
                "pool.memory_mb": self.room_mb,
                "pool.slots": next(self._slots),
            },
        )


async def _sure_items(clock: Clock, say: Say) -> tuple[list[Item], dict[str, dict[str, str]]]:
    """The prompts of whose answers every model is sure, and the answers by model and prompt."""
    dice = Random(_SEED)  # noqa: S311  # the same proof every time, no secret
    items = [item for task in TASKS for item in draw_many(task, dice, _ITEMS, split="held_out")]
    texts: dict[str, dict[str, str]] = {}
    for model in MODELS:
        found = await surely(model, [item.prompt for item in items], clock)
        texts[model] = {prompt: answer.text for prompt, answer in found.items()}
        say(f"  {model:<8} is sure of {len(found)} of {len(items)} answers")
    sure = [item for item in items if all(item.prompt in texts[model] for model in MODELS)]
    dice.shuffle(sure)
    say(
        f"  {len(sure)} prompts are asked: the two best tokens are {MARGIN_NATS} nats apart, always"
    )
    return sure, texts


class _Proof:
    def __init__(self, house: House, crowd: Crowd, items: Sequence[Item], say: Say) -> None:
        self._house = house
        self._crowd = crowd
        self._items = items
        self._say = say
        self._done: dict[str, int] = {}

    async def run(self, streams: int) -> NoLoss:
        crowd = self._crowd
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(crowd.ask_on(PRIMARY, self._from(number * 11)))
            for model in ASIDE:
                for number in range(CLIENTS_ASIDE):
                    group.create_task(crowd.ask_on(model, self._from(number * 7)))
            try:
                await self._rounds(streams)
            finally:
                crowd.going = False
        return NoLoss(
            streams=crowd.streams,
            ends=dict(crowd.ends),
            done=self._done,
            prompts=len(self._items),
            faults=tuple(crowd.faults),
        )

    async def _until_on(self, version: VersionId) -> bool:
        """Until somebody streams on a version. False: its rollout came to its end without that.

        Raises `Conflict` where somebody should have.
        """
        if await self._crowd.until_on(version, most=_MOST_STREAMS):
            return True
        if version != self._version(PRIMARY) and self._house.controller.active(PRIMARY) is None:
            return False
        raise Conflict(f"Of {_MOST_STREAMS} streams nobody's was served by {version}.")

    def _from(self, place: int) -> list[Item]:
        """The prompts from this place round to it again."""
        place %= len(self._items)
        return [*self._items[place:], *self._items[:place]]

    async def _rounds(self, streams: int) -> None:
        steps: tuple[tuple[str, Callable[[], Awaitable[None]]], ...] = (
            ("promoted", self._promote),
            ("killed", self._kill_stable),
            ("unloaded", self._unload),
            ("one of two killed", self._kill_one_of_two),
            ("settings read again", self._reload),  # one of the two after the other
            ("one of two unloaded", self._unload_one_of_two),
            ("called off", self._call_off),
            ("undone", self._undo),
            ("killed", self._kill_stable),
        )
        loads = sum(one.loads for one in self._house.pool.views())
        while True:
            for what, step in steps:
                await step()
                self._done[what] = self._done.get(what, 0) + 1
                await self._crowd.until(self._crowd.streams + 2 * CLIENTS)
                self._say(f"  {self._crowd.streams:>5} streams, {what}")
            if self._crowd.streams >= streams:
                break
        now = sum(one.loads for one in self._house.pool.views())
        self._done["loaded again"] = now - loads

    async def _swap(self, model: str) -> RolloutId:
        """Begin a rollout, and have some streams on both sides of it."""
        house = self._house
        with house.announcer.listening() as heard:
            # clients that never pause leave no moment to ask both beside each other, and it is
            # for the proof to say when a candidate is promoted
            stored = await house.swap(PRIMARY, model, shadow=0.0, min_units=_NO_PROMOTION)
            rollout = stored.rollout.id
            async for event in heard.stream():
                if event.kind == "rollout.blocked":
                    raise Conflict(f"The swap to {model} did not begin: {event.detail['reason']}")
                if event.kind == "rollout.progressing":
                    break
        try:
            await self._until_on(self._version(parse_name(model)))
        except Conflict as error:
            found = (await house.controller.find(rollout)).rollout
            why = f"Its rollout: {found.phase.value}, {found.reason}"
            raise Conflict(f"{error.message} {why}") from error
        return rollout

    async def _promote(self) -> None:
        candidate = self._version(parse_name(SUCCESSOR))
        rollout = await self._swap(SUCCESSOR)
        await self._kill(candidate)
        await self._unless_it_is_over(self._house.controller.promote(rollout, who=_WHO, why=_WHY))
        if self._version(PRIMARY) == candidate:
            return
        # a kill that cut several streams in a row had the house itself take the candidate out
        rollout = await self._swap(SUCCESSOR)
        await self._house.controller.promote(rollout, who=_WHO, why=_WHY)

    async def _call_off(self) -> None:
        rollout = await self._swap(OTHER)
        await self._unless_it_is_over(self._house.controller.abort(rollout, who=_WHO, why=_WHY))

    async def _unless_it_is_over(self, saying: Awaitable[object]) -> None:
        """Have the last word on a rollout, if its own evidence did not have it before."""
        try:
            await saying
        except (Conflict, UnknownRollout):
            if self._house.controller.active(PRIMARY) is not None:
                raise

    async def _undo(self) -> None:
        try:
            await self._house.undo(PRIMARY, why=_WHY)
        except (Conflict, UnknownRollout):
            # kills may have had the house itself take the promotion back, which it watches
            if self._version(PRIMARY) != self._version(parse_name(STABLE)):
                raise

    async def _unload(self) -> None:
        version = self._version(PRIMARY)
        await self._until_on(version)
        await self._house.pool.unload(version, reason="no-loss")

    async def _reload(self) -> None:
        """Have the models loaded with other slots, while they stream."""
        await self._until_on(self._version(PRIMARY))
        await self._house.reloading.reload()

    async def _kill_stable(self) -> None:
        await self._kill(self._version(PRIMARY))

    async def _kill(self, version: VersionId) -> None:
        """SIGKILL its worker while streams are running on it."""
        if not await self._until_on(version):
            return
        pid = next(one.pid for one in self._house.pool.views() if one.version == version)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            self._crowd.killed(version)

    async def _kill_one_of_two(self) -> None:
        """SIGKILL one worker of a version that has two: nobody's stream on the other is cut."""
        version = self._version(PRIMARY)
        await self._have_two(version)
        two = self._instances(version)
        victim = max(two, key=lambda one: one.leases)
        before = self._crowd.ends[End.CUT_BY_KILL]
        if victim.pid is None:
            return
        os.kill(victim.pid, signal.SIGKILL)
        self._crowd.killed(version)
        await self._crowd.until(self._crowd.streams + 2 * CLIENTS)
        cut = self._crowd.ends[End.CUT_BY_KILL] - before
        if cut > victim.leases:
            self._crowd.faults.append(f"{cut} were cut, and the worker had {victim.leases}")
            self._crowd.ends[End.LOST] += cut - victim.leases

    async def _unload_one_of_two(self) -> None:
        """Drain the first of two while the second serves, and then have one again."""
        version = self._version(PRIMARY)
        await self._have_two(version)
        pool = self._house.pool
        await pool.unload(version, reason="no-loss", number=1)
        await self._crowd.until(self._crowd.streams + CLIENTS)
        await pool.unload(version, reason="no-loss")

    async def _have_two(self, version: VersionId) -> None:
        """Two instances of a version, and streams on both, unless one does all that there is.

        Where requests come no faster than they are answered, the one that knows their beginnings
        has them all.
        """
        known = loadable(self._house.registry.version(version))
        await self._house.pool.warm(known, by_person=True, count=2)
        for _ in range(2 * CLIENTS):
            if all(one.leases for one in self._instances(version)):
                break
            await self._crowd.until(self._crowd.streams + 1)

    def _instances(self, version: VersionId) -> list[InstanceView]:
        return [one for one in self._house.pool.views() if one.version == version and one.is_ready]

    def _version(self, name: ModelName) -> VersionId:
        return self._house.registry.resolve(name).version
