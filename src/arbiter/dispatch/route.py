"""Where a request goes, and whether it may go on from there after an error. Pure."""

from __future__ import annotations

import msgspec

from arbiter.errors import (
    ArbiterError,
    CannotServe,
    EngineRefused,
)
from arbiter.inference import (
    Arm,
    Considered,
    Dropped,
)
from arbiter.knowledge.guess import Guess
from arbiter.knowledge.tasks import Task
from arbiter.refs import ModelName, VersionId
from arbiter.registry.registry import Version
from arbiter.swap.assignment import Assignment


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request goes: the alias, its versions in the order to try, and why."""

    task: Task
    alias: ModelName
    versions: tuple[Version, ...]
    reason: str
    probability: float = 1.0
    assignment: Assignment | None = None
    spare: VersionId | None = None
    """The candidate, where a request of the stable arm may go if the stable version is absent."""
    fallback: ModelName | None = None
    considered: tuple[Considered, ...] = ()
    would_change: str | None = None
    is_held: bool = False
    by_rule: bool = False
    dropped: tuple[Dropped, ...] = ()
    guess: Guess | None = None

    @property
    def arm(self) -> Arm:
        """The side of a rollout that the request is on."""
        return Arm.NONE if self.assignment is None else self.assignment.arm

    @property
    def held_back(self) -> VersionId | None:
        """The version that was replaced, where it is to answer all the same."""
        found = self.assignment
        return found.stable if found is not None and found.arm is Arm.HOLDBACK else None

    @property
    def out_of_turn(self) -> VersionId | None:
        """The version of a rollout in time slices that has no turn now."""
        found = self.assignment
        return found.other if found is not None and found.in_turns else None

    def is_last(self, version: Version) -> bool:
        """Whether nothing follows this version that could serve when it fails."""
        spare = self.spare
        if version.version == spare:
            return True
        regular = next(one for one in reversed(self.versions) if one.version != spare)
        return version.version == regular.version


def may_go_on(route: Route, number: int, following: int, error: ArbiterError) -> bool:
    """Whether the next version may be tried after an error before the first byte.

    A request that an engine refuses for what it is would be refused again: only the stable
    version is asked after its candidate, because a person would have got that answer without the
    rollout, and versions with more room after one that had too little.
    """
    if not isinstance(error, EngineRefused) or isinstance(error, CannotServe):
        return True
    if number == 0 and route.arm in {Arm.CANDIDATE, Arm.HOLDBACK}:
        return True
    here = route.versions[number].artifact.context_length
    there = route.versions[following].artifact.context_length
    return here is not None and there is not None and there > here
