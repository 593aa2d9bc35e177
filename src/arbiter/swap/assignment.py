"""The side of a rollout that a request is on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from arbiter.inference import Arm
from arbiter.refs import RolloutId, VersionId
from arbiter.storage.database import Statement

Ended = tuple[tuple[Statement, ...], Callable[[bool], None] | None]
"""Rows to store for a request that has ended, and what to call once they are durable, or lost."""


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """A request's side of a rollout.

    probability: the chance, when its conversation was assigned, that it went to the candidate.
    position: its place in the record when it may count as evidence, None when it may not.
    is_chosen: whether it is to be judged if no rule can grade it.
    """

    rollout: RolloutId
    unit: str
    arm: Arm
    stable: VersionId
    candidate: VersionId
    probability: float
    position: int | None
    plan: str
    """The digest of the rollout's plan."""
    is_chosen: bool = False
    in_turns: bool = False
    """Whether the other version has no turn now: it is not loaded for want of a free slot."""
    is_paired: bool = False
    """Whether the other version is to be asked the same: it is evidence as a pair, and no unit."""

    @property
    def is_watched(self) -> bool:
        """Whether it began after the promotion, which is watched."""
        return self.arm is Arm.PROMOTED or self.arm is Arm.HOLDBACK

    @property
    def version(self) -> VersionId:
        """The version of its arm."""
        return self.stable if self.arm in {Arm.STABLE, Arm.HOLDBACK} else self.candidate

    @property
    def other(self) -> VersionId:
        """The version of the other arm."""
        return self.stable if self.arm is Arm.CANDIDATE else self.candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Detour:
    """A request that belongs to no side: one version is not there, so the other answers.

    version: the one that is there. absent: the one that is not. why: in words.
    """

    version: VersionId
    absent: VersionId
    why: str


def unit_key(conversation: str) -> str:
    """What a conversation is kept as."""
    return hashlib.sha256(conversation.encode(errors="replace")).hexdigest()[:32]
