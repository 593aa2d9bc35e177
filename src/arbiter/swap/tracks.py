"""The rollouts of a house that go on, as they are in memory. The database has all of it."""

from __future__ import annotations

from collections.abc import Iterator

from arbiter.errors import RolloutActive
from arbiter.refs import ModelName, RolloutId, TaskName, VersionId
from arbiter.swap.lease import Lease
from arbiter.swap.records import Stored
from arbiter.swap.rollout import Rollout
from arbiter.swap.traffic import Track
from arbiter.telemetry import Going


class Tracks:
    """Every rollout that goes on here: by its alias, and by its id.

    stored: each with what is kept beside it, as it was last written. leases: who drives each.
    progress: of those that are validating, cases done of how many, by task.
    """

    def __init__(self) -> None:
        self.revision = 0
        """Grows when an alias gets a rollout or loses it, and when one takes a step."""
        self.stored: dict[RolloutId, Stored] = {}
        self.leases: dict[RolloutId, Lease] = {}
        self.progress: dict[RolloutId, dict[TaskName, tuple[int, int]]] = {}
        self._by_alias: dict[ModelName, Track] = {}
        self._by_id: dict[RolloutId, Track] = {}

    def __iter__(self) -> Iterator[Track]:
        return iter(tuple(self._by_alias.values()))

    def add(self, found: Stored, track: Track, lease: Lease) -> None:
        """One begins, or is taken up."""
        rollout = found.rollout
        self.leases[rollout.id] = lease
        self.stored[rollout.id] = found
        self._by_alias[rollout.alias] = track
        self._by_id[rollout.id] = track
        self.revision += 1

    def forget(self, rollout: Rollout) -> None:
        """One is over."""
        self._by_alias.pop(rollout.alias, None)
        self._by_id.pop(rollout.id, None)
        self.leases.pop(rollout.id, None)
        self.revision += 1

    def under(self, alias: ModelName) -> Track | None:
        """The one of an alias."""
        return self._by_alias.get(alias)

    def of(self, rollout: RolloutId) -> Track | None:
        """The one with this id."""
        return self._by_id.get(rollout)

    def ensure_free(self, alias: ModelName) -> None:
        """Raises `RolloutActive` while an alias has one."""
        track = self._by_alias.get(alias)
        if track is not None:
            going = track.rollout.id
            raise RolloutActive(
                f"{alias} has a rollout going on: {going}.",
                hint=f"Wait for its end, or: arbiter rollouts abort {going}.",
            )

    def aliases(self) -> frozenset[ModelName]:
        """The aliases that have one."""
        return frozenset(self._by_alias)

    def going(self) -> tuple[Going, ...]:
        """Every rollout that goes on, with its evidence."""
        found = []
        for track in self:
            judgement = track.judgement(in_words=False)
            found.append(
                Going(
                    alias=track.rollout.alias,
                    rollout=track.rollout.id,
                    phase=track.rollout.phase.value,
                    weight=track.weight,
                    e_worse=judgement.e_worse,
                    e_not_worse=judgement.e_not_worse,
                    needed_worse=judgement.needed_worse,
                    needed_not_worse=judgement.needed_not_worse,
                )
            )
        return tuple(found)

    def involving(self, version: VersionId) -> tuple[RolloutId, ...]:
        """The rollouts going on that cannot go on without this version."""
        return tuple(
            track.rollout.id
            for track in self
            if version in {track.rollout.stable, track.rollout.candidate}
        )

    def judges(self, task: TaskName) -> RolloutId | None:
        """A rollout going on whose plan declares this task, if there is one."""
        for track in self:
            if task in track.rollout.plan.tasks:
                return track.rollout.id
        return None
