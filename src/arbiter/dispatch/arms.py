"""Whom `auto` may pick: one contender a version, with what is known of it at a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from msgspec import structs

from arbiter.dispatch.behind import Behind
from arbiter.errors import (
    UnknownTask,
)
from arbiter.knowledge.profiles import NOTHING
from arbiter.pool.pool import loadable
from arbiter.refs import ModelName, TaskName, VersionId
from arbiter.selection.contender import (
    Choice,
    Contender,
    Seen,
)


class Arms:
    """The contenders of this house, made anew only when something changed."""

    def __init__(self, behind: Behind) -> None:
        self._behind = behind
        self._registry = behind.registry
        self._pool = behind.pool
        self._controller = behind.controller
        self._contenders: tuple[tuple[object, ...], tuple[Contender, ...]] | None = None
        self._seen: dict[TaskName, tuple[Seen, ...]] = {}
        self._least: tuple[Sequence[Contender], int | None] = ((), None)

    def refresh(self) -> None:
        """Work out what was learned now that nobody waits, and not when the next one asks."""
        learning = self._behind.learning
        while learning.changed:
            task = learning.changed.pop()
            if task in self._seen:
                self._behind.selector.refresh(task, self.seen_at(task))

    def seen_at(self, task: TaskName) -> tuple[Seen, ...]:
        """Every contender with its profile; the same values again where nothing changed."""
        arms, before = self.all(), self._seen.get(task, ())
        profiles, speeds = self._behind.profiles, self._behind.profiles.speeds
        energies = self._behind.costs.energies
        is_weighed = self._weighs_energy(task)
        if len(before) != len(arms):
            before = tuple([Seen(contender=one, profile=NOTHING) for one in arms])
        found: list[Seen] = []
        for old, one in zip(before, arms, strict=True):
            version = one.version
            profile, speed = profiles.get(version, task), speeds.get(version, task)
            spend = energies.get(version, task) if is_weighed else None
            is_as_before = old.profile is profile and old.speed is speed and old.spend is spend
            # the same value again where nothing changed, so that what follows from it can be kept
            if not (is_as_before and old.contender is one):
                old = Seen(contender=one, profile=profile, speed=speed, spend=spend)  # noqa: PLW2901  # what is found
            found.append(old)
        seen = self._seen[task] = tuple(found)
        return seen

    def _weighs_energy(self, task: TaskName) -> bool:
        try:
            own = self._behind.tasks.get(task).weights
        except UnknownTask:
            return False  # it went while one of its requests was answered
        return (own or self._behind.situation.weights).energy > 0.0

    def all(self) -> Sequence[Contender]:
        """Whom `auto` may pick: one contender a version, made anew only when something changed."""
        key = (
            self._registry.revision,
            self._pool.revision,
            self._controller.revision,
            self._registry.places.revision,
            self._behind.tasks.revision,
            self._pool.ailing(),
        )
        if self._contenders is None or self._contenders[0] != key:
            self._behind.selector.relate(
                predecessors=self._lineage(), parents=self._behind.tasks.parents()
            )
            names = self._registry.arms(self._controller.aliases())
            self._contenders = (key, tuple(self._contender(v, n) for v, n in names.items()))
        return self._contenders[1]

    def least_context(self) -> int | None:
        """The smallest context that is known of any contender, in tokens; None: none is known."""
        arms = self.all()
        if self._least[0] is not arms:
            known = [one.context for one in arms if one.context is not None]
            self._least = (arms, min(known, default=None))
        return self._least[1]

    def _lineage(self) -> Mapping[VersionId, VersionId]:
        """Which version succeeded which, as far as anybody said."""
        known = {one.version: one.predecessor for one in self._registry.versions()}
        own = {new: old for new, old in known.items() if old is not None}
        return {**self._behind.learning.lineage, **own}

    def _contender(self, version_id: VersionId, name: ModelName) -> Contender:
        version = self._registry.version(version_id)
        need, measured = self._pool.predicted_bytes(loadable(version))
        return Contender(
            name=name,
            version=version_id,
            capabilities=self._pool.capabilities(version.artifact),
            context=self._pool.room_in(loadable(version)),
            memory_bytes=need,
            memory_measured=measured,
            unavailable=self._pool.unavailable(version.artifact.format),
            absent=self._absent(version_id, name),
            is_outside=loadable(version).is_outside,
            no_accelerator=self._behind.accelerators.lacking(
                format_=version.artifact.format, places=self._registry.places.of(version_id)
            ),
        )

    def _absent(self, version: VersionId, name: ModelName) -> str | None:
        """Why a version is not to be had under a name now."""
        if self._controller.detour(name) is not None:
            return None  # a rollout's other version answers for one that is not there
        absent = self._registry.places.absent(version)
        if absent is None and self._controller.active(name) is None:
            # a version in a rollout fails for all to see: that is its evidence
            absent = self._pool.ailing().get(version)
        return absent

    def forgiven(self, seen: Seen) -> Seen:
        """A contender whose failures do not count, because there is nobody else."""
        one = seen.contender
        if one.absent is None or one.version not in self._pool.ailing():
            return seen
        absent = self._registry.places.absent(one.version)
        return structs.replace(seen, contender=replace(one, absent=absent))

    def last_resort(self, choice: Choice) -> tuple[VersionId, ...]:
        """Who was passed over for its failures alone: better than nobody."""
        ailing = self._pool.ailing()
        if not ailing:
            return ()
        absent = self._registry.places.absent
        able = (drop.version for drop in choice.dropped if drop.is_absent)
        return tuple(one for one in able if one in ailing and absent(one) is None)
