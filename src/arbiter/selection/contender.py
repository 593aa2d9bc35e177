"""What selection looks at: values handed in, nothing reached for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from arbiter.errors import NothingCapable, NothingThere
from arbiter.inference import Considered, Dropped
from arbiter.knowledge.energies import Spend
from arbiter.knowledge.profiles import Profile
from arbiter.knowledge.rules import Rule
from arbiter.knowledge.speed import NEVER_TIMED, Speed
from arbiter.knowledge.tasks import Task, Weights
from arbiter.refs import ModelName, VersionId

LEAST_SAMPLES = 10
"""Below this a version's profile is not trusted: its score is the neutral 0.5."""

RETRY_AFTER_S = 5
"""What a caller is told when everything that could serve is away; a restart takes about as long."""

NEUTRAL = 0.5
PATIENCE_MS = 10_000.0
"""The latency that scores 0 when nobody set a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A version that `auto` may pick, under the name that people know it by.

    context: tokens that it has room for here; None when its server does not say.
    memory_bytes: measured after a load, or estimated from the file; None when unknown.
    unavailable: why its engine cannot run here, or None. absent: why its server is not there now.
    is_outside: another program runs it. no_accelerator: why it cannot run on one, or None where it
    can or nobody knows.
    """

    name: ModelName
    version: VersionId
    capabilities: frozenset[str]
    context: int | None
    memory_bytes: int | None
    memory_measured: bool = False
    unavailable: str | None = None
    absent: str | None = None
    is_outside: bool = False
    no_accelerator: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """The state of the house that a pick depends on. budget_bytes: memory for models, or None.

    accelerator_bytes: memory of this host's accelerators, None where that is not known.
    """

    budget_bytes: int | None
    weights: Weights
    accelerator_bytes: int | None = None


class Reasons(Protocol):
    """How a score came about, put into words only when somebody looks."""

    def told(self, probability: float) -> str:
        """In words. probability: how often a conversation is given to the contender."""
        ...

    @property
    def quality(self) -> tuple[float, float] | None:
        """Where its quality is believed to lie with 90 %; None where no belief is kept."""
        ...


@dataclass(frozen=True, slots=True)
class Said:
    """Reasons of a rule that keeps no belief."""

    text: str

    def told(self, probability: float) -> str:  # noqa: ARG002  # it is 1 or 0
        """As they are."""
        return self.text

    @property
    def quality(self) -> None:
        """No belief is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A contender that passed every filter, with its score in [0, 1] and how it came about.

    probability: how often a conversation is given to it.
    """

    contender: Contender
    score: float
    samples: int
    reasons: Reasons
    probability: float = 0.0

    @property
    def explanation(self) -> str:
        """How the score came about."""
        return self.reasons.told(self.probability)


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A contender with its profile and its speed at the task in question.

    spend: what an answer takes; None also where the task does not weigh energy.
    """

    contender: Contender
    profile: Profile
    speed: Speed = NEVER_TIMED
    spend: Spend | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """What the rules say to a task, with the versions that their aliases point at now.

    rule: the one that prefers somebody or takes no other, or None. version: what its alias points
    at (None: at nothing). never: the versions that are not to be taken, each with the reason.
    """

    rule: Rule | None
    version: VersionId | None
    never: Mapping[VersionId, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A pick: under which name, who, who next, why, and with what probability.

    scored: the most promising, best first; rest: who could serve besides, in no order.
    would_change: what further evidence would make the next one the better one; None when nothing
    is known that could. by_rule: whether a rule decided.
    """

    alias: ModelName
    primary: Scored
    fallback: Scored | None
    scored: tuple[Scored, ...]
    dropped: tuple[Dropped, ...]
    reason: str
    probability: float
    would_change: str | None = None
    by_rule: bool = False
    rest: tuple[VersionId, ...] = ()

    @property
    def considered(self) -> tuple[Considered, ...]:
        """Everybody that passed the filters, for the record."""
        is_certain = self.probability >= 1.0
        return tuple(
            [
                Considered(
                    name=one.contender.name,
                    version=one.contender.version,
                    score=one.score,
                    explanation=one.reasons.told(chance),
                    chance=chance,
                    samples=one.samples,
                    quality=one.reasons.quality,
                )
                for one in self.scored
                # what is told is the chance that it had: a rule's is not that of the evidence
                for chance in (float(one is self.primary) if is_certain else one.probability,)
            ]
        )


def preferred_of(scored: Sequence[Scored], rule: Preference | None) -> Scored | None:
    """The contender that the rule prefers or takes alone, when it is among these."""
    if rule is None or rule.rule is None:
        return None
    return next((s for s in scored if s.contender.version == rule.version), None)


def nothing_left(
    task: Task, dropped: Sequence[Dropped], *, is_ruled: bool = False
) -> NothingCapable | NothingThere:
    """One error that lists every contender with the reason why it was dropped.

    When some could serve and are only not there now, it lists those: nothing else is of help.
    is_ruled: whether rules dropped some.
    """
    absent: dict[str, list[str]] = {}
    for drop in dropped:
        if drop.is_absent:
            absent.setdefault(drop.reason.rstrip("."), []).append(drop.name)
    if absent:
        reasons = "; ".join(f"{', '.join(sorted(who))}: {why}" for why, who in absent.items())
        return NothingThere(
            f"Nothing that can serve task {task.name} is there now. {reasons}.",
            hint="The house goes on looking; try again shortly, or start one of the servers.",
            retry_after_s=RETRY_AFTER_S,
        )
    if not dropped:
        return NothingCapable(
            f"No model can serve task {task.name}: none is registered.",
            hint="Add one: arbiter models add FILE.",
        )
    reasons = "; ".join(f"{drop.name}: {drop.reason}" for drop in dropped)
    rules = "change the rules that stand in the way, " if is_ruled else ""
    return NothingCapable(
        f"No model can serve task {task.name}. {reasons}.",
        hint=f"Loosen the task's or the request's limits, {rules}or add another model.",
    )
