"""What the house decided about a request, and whom it considered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from arbiter.refs import DecisionId, ModelName, RolloutId, TaskName, VersionId


class Arm(StrEnum):
    """Which side of a rollout served a request."""

    NONE = "none"
    """No rollout was going on for this alias, and no promotion is watched."""
    STABLE = "stable"
    CANDIDATE = "candidate"
    PROMOTED = "promoted"
    """The new version, while its promotion is watched."""
    HOLDBACK = "holdback"
    """The old version, which a few conversations keep while the new one is watched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A version that was not considered, and why.

    is_absent: whether it could serve, and only its server is not there now.
    """

    name: ModelName
    version: VersionId
    reason: str
    is_absent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Considered:
    """A version that passed every filter, as the pick saw it.

    chance: that its name was picked. samples: scores that it has at the task. quality: where its
    quality is believed to lie with 90 %; None where no belief is kept.
    """

    name: ModelName
    version: VersionId
    score: float
    explanation: str
    chance: float = 0.0
    samples: int = 0
    quality: tuple[float, float] | None = None


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """What the house decided about a request, for headers, for `why`, and for the record."""

    decision: DecisionId
    task: TaskName
    alias: ModelName
    version: VersionId
    arm: Arm
    reason: str
    probability: float
    rollout: RolloutId | None = None
    fallback: ModelName | None = None
    scores: tuple[Considered, ...] = ()
    """Every version that was considered, the one that was picked first.

    `probability` is that of the version: smaller than its chance while a rollout shares a name out.
    """
    dropped: tuple[Dropped, ...] = ()
    guessed: float | None = None
    """How sure the house was of the task that it guessed; None when it guessed none."""
    would_change: str | None = None
    """What further evidence would make the next one the better one; None: nothing known would."""
    is_held: bool = False
    """Whether the conversation was given to it at an earlier request, with this probability."""
    by_rule: bool = False
    """Whether a rule decided, so that nothing was drawn."""
    plan: str | None = None
    """The digest of the plan of its rollout, while there is one."""
    to_judge: bool = False
    """Whether its rollout asks for a judgement of the answer, if no rule can grade it."""
