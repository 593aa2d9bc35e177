"""`arbiter replay --log`: what another strategy would have earned, from a log of real decisions.

At every decision the strategy is asked whom it would pick, with the evidence that the log holds up
to then; it gathers none of its own. How often the log agrees, and what that earned, is weighed by
`arbiter.stats.offpolicy`. Earned is the mean score of judged answers. The model of rewards that
doubly robust estimates need is the house's own table, as it stood before each decision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from arbiter.errors import InvalidField, TooLittleEvidence
from arbiter.inference import Limits
from arbiter.knowledge.profiles import NOTHING, Profile
from arbiter.knowledge.tasks import Task, Weights
from arbiter.refs import ModelName, TaskName, VersionId, parse_name
from arbiter.selection.bandit import Table
from arbiter.selection.contender import Contender, Seen, Situation
from arbiter.selection.selector import Selector
from arbiter.stats.offpolicy import (
    Estimate,
    Step,
    doubly_robust,
    effective_sample,
    inverse_propensity,
    mean_of,
    robust_terms,
    self_normalised,
    with_baseline,
)
from arbiter.studies.log import Decision, Log, Result

LEAST_EFFECTIVE = 50.0
"""Below this many effective decisions nothing is estimated."""

ALWAYS = "always:"
UNJUDGED = "nobody judged the answer"
ABSENT = "the strategy's model could not serve"
UNSUPPORTED = "the house would never have picked what the strategy picks"

_NO_LIMITS = Limits()
_Key = tuple[TaskName, ModelName]


class Strategy(Protocol):
    """Whom to pick, and what to learn."""

    def vector(self, decision: Decision) -> Mapping[ModelName, float]:
        """The chance of each of those that could serve; empty when it could pick none of them."""
        ...

    def told(self, result: Result) -> None:
        """Take in what a version did."""
        ...


@dataclass(slots=True)
class Always:
    """One model for everything."""

    name: ModelName

    def vector(self, decision: Decision) -> Mapping[ModelName, float]:
        """All on this model."""
        return {self.name: 1.0} if self.name in decision.among else {}

    def told(self, result: Result) -> None:
        """It learns nothing."""


@dataclass(slots=True)
class Production:
    """The production selector, over the profiles that the log adds up to.

    table: what learns; None: the static rule. Memory is not on record, so it counts for nobody.
    """

    table: Table | None
    situation: Situation = field(
        default_factory=lambda: Situation(budget_bytes=None, weights=Weights())
    )
    _selector: Selector = field(init=False)
    _tasks: dict[TaskName, Task] = field(default_factory=dict)
    _profiles: dict[tuple[TaskName, VersionId], Profile] = field(default_factory=dict)
    _seen: dict[_Key, Seen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._selector = Selector(self.table)

    def vector(self, decision: Decision) -> Mapping[ModelName, float]:
        """As the selector would draw."""
        task = decision.result.task
        choice = self._selector.pick(
            [self._look(task, name, version) for name, version in decision.among.items()],
            task=self._tasks.setdefault(task, Task(name=task)),
            limits=_NO_LIMITS,
            rule=None,
            situation=self.situation,
        )
        if self.table is None:
            return {choice.primary.contender.name: 1.0}
        return {
            one.contender.name: one.probability for one in choice.scored if one.probability > 0.0
        }

    def told(self, result: Result) -> None:
        """Count it as the house does."""
        where = (result.task, result.version)
        judged = result.score is not None
        timed = result.is_success and result.latency_ms is not None
        sample = Profile(
            samples=1,
            graded=1 if judged else 0,
            quality=result.score or 0.0,
            successes=1 if result.is_success else 0,
            timed=1 if timed else 0,
            latency_ms=(result.latency_ms or 0.0) if timed else 0.0,
        )
        self._profiles[where] = self._profiles.get(where, NOTHING).plus(sample)
        if self.table is not None and result.score is not None:
            self.table.update(result.task, result.version, result.score)

    def _look(self, task: TaskName, name: ModelName, version: VersionId) -> Seen:
        profile = self._profiles.get((task, version), NOTHING)
        seen = self._seen.get((task, name))
        if seen is None or seen.profile is not profile or seen.contender.version != version:
            who = Contender(
                name=name,
                version=version,
                capabilities=frozenset({"chat"}),
                context=None,
                memory_bytes=None,
            )
            seen = self._seen[task, name] = Seen(contender=who, profile=profile)
        return seen


def strategy_of(name: str) -> Strategy:
    """A strategy by its name. Raises `InvalidField`."""
    if name == "learned":
        return Production(Table())
    if name == "static":
        return Production(None)
    if name.startswith(ALWAYS):
        return Always(parse_name(name.removeprefix(ALWAYS), what="model"))
    raise InvalidField(
        f"There is no strategy {name!r:.80}.",
        hint="Strategies are learned, static and always:MODEL.",
        param="strategy",
    )


def in_hindsight(log: Log, strategy: str) -> dict[str, object]:
    """What a strategy would have earned; the answer is plain JSON.

    Raises `TooLittleEvidence` below an effective sample of `LEAST_EFFECTIVE`, and `InvalidField`
    for a model that no decision of the log knows.
    """
    how = strategy_of(strategy)
    if isinstance(how, Always):
        _check_known(log, how.name)
    steps, left_out = _steps(log, how)
    weights = [step.weight for step in steps]
    effective = effective_sample(weights)
    if effective < LEAST_EFFECTIVE:
        raise TooLittleEvidence(
            f"{log.source} says too little of {strategy}: it is worth {effective:.1f} decisions of"
            f" that strategy's own, and {LEAST_EFFECTIVE:.0f} are needed."
            f" {len(steps)} could be used{_reasons(left_out)}.",
            hint="A strategy can only be judged where the house sometimes did the same.",
        )
    robust = robust_terms(steps)
    rewards = [step.reward for step in steps]
    decisions = [one for one in log.entries if isinstance(one, Decision)]
    return {
        "strategy": strategy,
        "decisions": len(decisions) + sum(log.left_out.values()),
        "used": len(steps),
        "left_out": dict(left_out),
        "is_support_known": all(one.chances is not None for one in decisions),
        "effective_sample": effective,
        "largest_weight": max(weights),
        "earned": _told(mean_of(rewards)),
        "estimates": {
            "doubly_robust": _told(doubly_robust(steps)),
            "baseline": _told(with_baseline(steps)),
            "self_normalised": _told(self_normalised(steps)),
            "inverse_propensity": _told(inverse_propensity(steps)),
        },
        "difference": _told(
            mean_of([would - was for would, was in zip(robust, rewards, strict=True)])
        ),
    }


def _check_known(log: Log, name: ModelName) -> None:
    """Refuse a model that the log never names, as a mistyped one."""
    known = {one for entry in log.entries if isinstance(entry, Decision) for one in entry.among}
    if known and name not in known:
        raise InvalidField(
            f"No decision of {log.source} could have picked a model called {name}.",
            hint=f"They could have picked {', '.join(sorted(known))}. A model that has several "
            "names stands there under one of them.",
            param="strategy",
        )


def _steps(log: Log, strategy: Strategy) -> tuple[Sequence[Step], Counter[str]]:
    table = Table()
    left_out = Counter(log.left_out)
    steps: list[Step] = []
    for entry in log.entries:
        if isinstance(entry, Decision):
            step = _step(entry, strategy, table)
            if isinstance(step, str):
                left_out[step] += 1
            else:
                steps.append(step)
        result = entry.result if isinstance(entry, Decision) else entry
        strategy.told(result)
        if result.score is not None:
            table.update(result.task, result.version, result.score)
    return steps, left_out


def _step(decision: Decision, strategy: Strategy, table: Table) -> Step | str:
    """The decision as the estimators see it, or why it tells nothing of the strategy.

    What is left out is left out whatever was picked, so that nothing is selected by luck.
    """
    vector = strategy.vector(decision)
    if not vector:
        return ABSENT
    if not all(decision.may_pick(name) for name in vector):
        return UNSUPPORTED
    score = decision.result.score
    if score is None:
        return UNJUDGED
    task = decision.result.task
    foreseen = {name: table.get(task, version).mean for name, version in decision.among.items()}
    return Step(
        propensity=decision.propensity,
        target=min(1.0, vector.get(decision.picked, 0.0)),
        reward=score,
        foreseen=foreseen[decision.picked],
        expected=sum(chance * foreseen[name] for name, chance in vector.items()),
    )


def _told(found: Estimate) -> dict[str, object]:
    ends = found.interval()
    return {
        "mean": found.mean,
        "se": found.se,
        "interval": None if ends is None else list(ends),
    }


def _reasons(left_out: Counter[str]) -> str:
    if not left_out:
        return ""
    return "; left out: " + ", ".join(
        f"{count} ({why})" for why, count in left_out.most_common() if count
    )
