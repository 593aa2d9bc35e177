"""What the graded conversations of a rollout prove: worse, not worse, or nothing yet.

Two different tests with two different nulls, never one threshold read both ways:

* *Worse* rolls back. Per task four fifths of one e-process and a fifth of another: `HARM` ("worse
  at all", never counted as more than 1 unless the estimated ratio is below ``1 - margin``) and
  `strict` ("worse by more than the margin"); over all tasks half their product plus half their
  average.
* *Not worse* promotes. One non-inferiority e-process over all conversations, whose bets never
  look at the task, and no task that is doubtful or unseen.

Each test has two sources, whose e-values are multiplied: conversations on one side or the other
(`arbiter.stats.sequential`), and pairs, which both versions answered (`arbiter.swap.shadow`).

Anything else is *inconclusive*, and an empty record always is. A chance of ``alpha_rollback`` is
what a candidate that is nowhere worse runs of ever being rolled back; ``alpha_promote`` is what
one that is worse by the margin runs of ever being promoted. This module does not know how a
rollout proceeds: `arbiter.swap.rollout` does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import inf, log
from typing import assert_never

import msgspec

from arbiter.inference import Arm
from arbiter.refs import TaskName
from arbiter.stats.arrivals import SampleRatio
from arbiter.stats.evalues import combine, from_log
from arbiter.stats.means import BalancedMeans
from arbiter.swap.bucket import Bucket, not_worse
from arbiter.swap.shadow import Pair, PairTests

OTHER = TaskName("(other)")
"""The bucket of every task that the plan does not declare. No task can have this name."""

_SOME = 1e-9
"""A logarithm from which evidence is more than none, whatever rounding does."""

_MISSING_ALPHA = 0.001
"""The chance of crying out over missing conversations when none is missing."""


class Verdict(StrEnum):
    """What the evidence says about the candidate."""

    NOT_WORSE = "not_worse"
    WORSE = "worse"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    """The record contradicts how it was drawn, so it may prove neither side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What has to be proved, fixed before the first conversation.

    tasks: the tasks that are judged one by one, declared beforehand; all others share `OTHER`.
    judge_other: whether `OTHER` counts as one more judged task. If not, its conversations count
        for promotion only. It is always judged when no task is declared.
    margin: how much worse, relative to stable, is still called not worse.
    hold_at: the evidence against a task from which the rollout is not promoted.
    min_task_units: how many candidate conversations a declared task that is in use needs.
    trip_in_a_row, trip_failures, trip_window: see `arbiter.swap.tripping.tripped`.
    """

    tasks: tuple[TaskName, ...] = ()
    judge_other: bool = True
    alpha_rollback: float = 0.05
    alpha_promote: float = 0.05
    margin: float = 0.05
    hold_at: float = 3.0
    min_task_units: int = 8
    trip_in_a_row: int = 3
    trip_failures: int = 5
    trip_window: int = 20

    def __post_init__(self) -> None:
        if len(set(self.tasks)) != len(self.tasks) or OTHER in self.tasks or "" in self.tasks:
            raise ValueError(f"Tasks are declared once each, by name; {self.tasks!r} are not.")
        if not (0.0 < self.alpha_rollback <= 0.5 and 0.0 < self.alpha_promote <= 0.5):
            raise ValueError("An alpha is a chance of a wrong verdict; give one in (0, 0.5].")
        if not 0.0 < self.margin <= 0.5:
            raise ValueError(f"The margin is {self.margin}; give one in (0, 0.5], such as 0.05.")
        if not 1.0 < self.hold_at < inf:
            raise ValueError(f"hold_at is {self.hold_at}; no evidence at all is 1, so give more.")
        if self.min_task_units < 1:
            raise ValueError("min_task_units is at least 1: no data is never success.")
        if min(self.trip_in_a_row, self.trip_failures) < 1 or self.trip_window < self.trip_failures:
            raise ValueError("The trip numbers are at least 1, and fit into trip_window.")

    @property
    def of_windows(self) -> bool:
        """Whether a unit is a window of time, and its score the mean of many answers."""
        return False

    @property
    def judged(self) -> tuple[TaskName, ...]:
        """Every task that evidence against the candidate is kept for, in the declared order."""
        return (*self.tasks, OTHER) if self.judge_other or not self.tasks else self.tasks


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """The first graded request of one conversation, in the order of assignment.

    probability: the chance, at assignment, that it went to the candidate.
    score: its grade in [0, 1]; an answer that failed counts as 0 for the arm it was drawn for.
    answers: how many graded answers the score is the mean of: more than one in a window of time.
    """

    task: TaskName
    arm: Arm
    probability: float
    score: float
    answers: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvidence:
    """One task's evidence, to show. Means are balanced over the steps; None is unknown.

    log_worse: the logarithm of the evidence that may roll back, ``log R``.
    needed_worse: what that evidence has to reach for this task to be called worse by itself,
        ``K / alpha_rollback``: any of K equal tasks is called so with a chance of alpha at most.
    """

    task: TaskName
    n_stable: int
    n_candidate: int
    mean_stable: float | None
    mean_candidate: float | None
    ratio: float | None
    e_harm: float
    e_strict: float
    e_not_worse: float
    log_worse: float
    needed_worse: float

    @property
    def e_worse(self) -> float:
        """The evidence against the candidate at this task; compare with ``hold_at``."""
        return from_log(self.log_worse)

    @property
    def verdict(self) -> Verdict:
        """Worse at this task, or not known to be. Says where; the overall verdict says whether."""
        return Verdict.WORSE if self.e_worse >= self.needed_worse else Verdict.INCONCLUSIVE


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict with its reason.

    reason: a sentence for people, with the numbers.
    hold: whether some task is doubtful enough not to promote the candidate.
    worst_task: the judged task with the most evidence against the candidate, when there is one.
    e_worse, e_not_worse: the evidence for rolling back and for promoting, as e-values, to be
        compared with needed_worse and needed_not_worse.
    n_pairs: conversations that both versions answered; they are in both counts and both means.
    n_unserved: those of them whose client got the stable version's answer.
    n_answers: graded answers that the candidate gave to somebody.
    """

    verdict: Verdict
    reason: str
    hold: bool = False
    worst_task: TaskName | None = None
    n_stable: int = 0
    n_candidate: int = 0
    mean_stable: float | None = None
    mean_candidate: float | None = None
    ratio: float | None = None
    e_worse: float = 1.0
    e_not_worse: float = 1.0
    needed_worse: float = 20.0
    needed_not_worse: float = 20.0
    n_pairs: int = 0
    n_unserved: int = 0
    n_answers: int = 0


class Evidence:
    """Everything the graded conversations of one rollout say, one unit at a time.

    Kept by folding, so folding the same units again gives the same bits.

    >>> evidence = Evidence(Rule())
    >>> verdict(evidence).verdict.value
    'inconclusive'
    """

    __slots__ = ("_arrivals", "_buckets", "_log_worse", "_means", "_not_worse", "_only", "_pairs",
                 "n_answers", "n_pairs", "n_unserved", "rule")  # fmt: skip

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.n_pairs = 0
        self.n_unserved = 0
        self.n_answers = 0
        """Graded answers that the candidate gave to somebody."""
        self._pairs = PairTests(rule.margin)
        self._buckets = {
            task: Bucket(rule.margin, of_windows=rule.of_windows) for task in rule.judged
        }
        self._only = next(iter(self._buckets.values())) if len(self._buckets) == 1 else None
        self._means = BalancedMeans()
        self._not_worse = not_worse(rule.margin, of_windows=rule.of_windows)
        self._arrivals = SampleRatio()
        self._log_worse: float | None = None

    def update(self, unit: Unit) -> None:
        """Take the next unit, in the order of assignment.

        Raises:
            ValueError: the unit belongs to no arm, or its score is outside [0, 1], or its
                probability outside (0, 1).
        """
        match unit.arm:
            case Arm.STABLE:
                is_new = False
            case Arm.CANDIDATE:
                is_new = True
            case Arm.NONE | Arm.PROMOTED | Arm.HOLDBACK:
                raise ValueError("a unit of evidence belongs to the stable or the candidate arm")
            case _:
                assert_never(unit.arm)
        score, pi = unit.score, unit.probability
        self._log_worse = None
        self._means.update(score, is_new, pi)
        self.n_answers += unit.answers * is_new
        self._not_worse.update(score, is_new, pi)
        self._arrivals.update(is_new, pi)
        task = unit.task if unit.task in self._buckets else OTHER
        if task in self._buckets:
            self._buckets[task].update(score, is_new, pi)

    def pair(self, pair: Pair) -> None:
        """Take the next pair, in the order of assignment. Its conversation is no unit.

        Raises:
            ValueError: a score is outside [0, 1].
        """
        self._pairs.update(pair.old, pair.new)
        self._log_worse = None
        self.n_pairs += 1
        self.n_unserved += pair.served is Arm.STABLE
        self.n_answers += pair.served is Arm.CANDIDATE
        self._means.pair(pair.old, pair.new)
        task = pair.task if pair.task in self._buckets else OTHER
        if task in self._buckets:
            self._buckets[task].pair(pair.old, pair.new)

    def _is_low(self, ratio: float | None) -> bool:
        return ratio is not None and ratio < 1.0 - self.rule.margin

    @property
    def means(self) -> BalancedMeans:
        """Both arms' counts, means and ratio over all tasks; a pair counts for both arms."""
        return self._means

    @property
    def log_not_worse(self) -> float:
        """The logarithm of the pooled evidence for promoting."""
        return self._not_worse.log_e + self._pairs.log_not_worse

    @property
    def log_missing(self) -> float:
        """The logarithm of the evidence that conversations go missing on one side."""
        return self._arrivals.log_e

    @property
    def log_worse(self) -> float:
        """The logarithm of the evidence for rolling back; act at ``1 / alpha_rollback``.

        With ``R = 0.8 E_harm + 0.2 E_strict`` of each of the K judged tasks, ``(product R + average
        R) / 2`` is one e-process under "nowhere worse", and is tested at all of alpha. Two gates
        may only lower it: it counts in full when the ratio over all tasks is below ``1 -
        margin``, and otherwise with the E_harm of those tasks only whose own ratio is; any other
        E_harm counts as 1 at most. Since the average counts half, a single task acts alone once
        its R reaches ``2 K / alpha``; no alpha has to be set aside for that. K is what the plan
        declares, seen or not.
        """
        if self._log_worse is None:
            index = 1 if self._is_low(self._means.ratio) else 0
            if self._only is not None:
                self._log_worse = self._only.log_worse[index]
            else:
                each = [bucket.log_worse[index] for bucket in self._buckets.values()]
                self._log_worse = combine(each)
        return self._log_worse

    @property
    def worst(self) -> tuple[TaskName, float]:
        """The judged task with the largest gated R, and that R's logarithm."""
        worst, most = self.rule.judged[0], -inf
        for task, bucket in self._buckets.items():
            log_e = bucket.log_worse[0]
            if log_e > most:
                worst, most = task, log_e
        return worst, most

    @property
    def waiting_for(self) -> str | None:
        """What a promotion would still miss in some declared task, as words; None when nothing."""
        for task in self.rule.tasks:
            means = self._buckets[task].means
            if not (means.n_old or means.n_new):
                continue
            if means.n_new < self.rule.min_task_units:
                return (
                    f"task {task} has {means.n_new} of {self.rule.min_task_units}"
                    " candidate conversations"
                )
            if means.ratio is None or self._is_low(means.ratio):
                return f"task {task} is at {_number(means.ratio)} of the stable version"
        return None

    @property
    def tasks(self) -> tuple[TaskEvidence, ...]:
        """Every judged task's evidence, in the declared order."""
        return tuple(
            TaskEvidence(
                task=task,
                n_stable=bucket.means.n_old,
                n_candidate=bucket.means.n_new,
                mean_stable=bucket.means.old,
                mean_candidate=bucket.means.new,
                ratio=bucket.means.ratio,
                e_harm=from_log(bucket.log_harm),
                e_strict=from_log(bucket.log_strict),
                e_not_worse=from_log(bucket.log_not_worse),
                log_worse=bucket.log_worse[0],
                needed_worse=len(self._buckets) / self.rule.alpha_rollback,
            )
            for task, bucket in self._buckets.items()
        )


def fold(units: Iterable[Unit], rule: Rule) -> Evidence:
    """All the units' evidence, from the start. Raises what `Evidence.update` raises."""
    evidence = Evidence(rule)
    for unit in units:
        evidence.update(unit)
    return evidence


def verdict(evidence: Evidence, *, in_words: bool = True) -> Judgement:
    """What the evidence says now; may be asked after every unit.

    in_words: whether the reason is written out. Who asks a million times need not read it.

    Worse comes first, even when conversations are missing: going back is the safe side. Missing
    conversations (a sample-ratio mismatch at a chance of .001) forbid everything else.
    """
    rule, means = evidence.rule, evidence.means
    log_worse, log_not_worse = evidence.log_worse, evidence.log_not_worse
    worst, worst_log = evidence.worst
    missing = evidence.log_missing >= -log(_MISSING_ALPHA)
    hold = missing or max(log_worse, worst_log) >= log(rule.hold_at)
    proved = log_not_worse >= -log(rule.alpha_promote)
    waiting = evidence.waiting_for
    if log_worse >= -log(rule.alpha_rollback):
        found = Verdict.WORSE
    elif missing:
        found = Verdict.ERROR
    elif proved and not hold and waiting is None:
        found = Verdict.NOT_WORSE
    else:
        found = Verdict.INCONCLUSIVE
    return Judgement(
        verdict=found,
        reason=_reason(found, evidence, waiting, hold=hold) if in_words else "",
        hold=hold,
        worst_task=worst if worst_log > _SOME else None,
        n_stable=means.n_old,
        n_candidate=means.n_new,
        mean_stable=means.old,
        mean_candidate=means.new,
        ratio=means.ratio,
        e_worse=from_log(log_worse),
        e_not_worse=from_log(log_not_worse),
        needed_worse=1.0 / rule.alpha_rollback,
        needed_not_worse=1.0 / rule.alpha_promote,
        n_pairs=evidence.n_pairs,
        n_unserved=evidence.n_unserved,
        n_answers=evidence.n_answers,
    )


def _reason(found: Verdict, evidence: Evidence, waiting: str | None, *, hold: bool) -> str:
    means, rule = evidence.means, evidence.rule
    units = "windows" if rule.of_windows else "conversations"
    if not (means.n_old or means.n_new):
        return f"Nothing is known yet: no {units[:-1]} has been graded."
    seen = (
        f"{_number(means.new)} against {_number(means.old)} of stable, after {means.n_new} and"
        f" {means.n_old} {units}{_asked_of_both(evidence.n_pairs)}"
    )
    against = f"{_size(evidence.log_worse)} of {1.0 / rule.alpha_rollback:.0f}"
    for_it = f"{_size(evidence.log_not_worse)} of {1.0 / rule.alpha_promote:.0f}"
    match found:
        case Verdict.WORSE:
            where = _where(evidence)
            joined = f"{where} {seen}" if where else f": {seen}"
            chance = f"{100.0 * rule.alpha_rollback:g}%"
            return (
                f"The candidate is worse{joined}; evidence {against}, which one that is nowhere"
                f" worse ever reaches with a chance of {chance} at most."
            )
        case Verdict.NOT_WORSE:
            return (
                f"The candidate is not worse by {rule.margin:.0%}: {seen}; evidence {for_it}, which"
                f" one that is so much worse ever reaches with a chance of"
                f" {100.0 * rule.alpha_promote:g}% at most, and {against} against it."
            )
        case Verdict.ERROR:
            return (
                f"The arms do not fill as they were drawn ({means.n_new} candidate and"
                f" {means.n_old} stable {units}), so some are missing and none can be judged."
                f" That is said with a chance of {100.0 * _MISSING_ALPHA:g}% at most when none is."
            )
        case Verdict.INCONCLUSIVE:
            rest = " Not promoted while in doubt." if hold else ""
            rest += f" Still missing: {waiting}." if waiting else _worst(evidence)
            return f"No verdict yet: {seen}; evidence for {for_it}, against {against}.{rest}"
        case _:
            assert_never(found)


def _where(evidence: Evidence) -> str:
    """At which task it is worst, with that task's own means, when there are several."""
    task, log_e = evidence.worst
    if log_e <= _SOME or len(evidence.rule.judged) == 1:
        return ""
    found = next(one for one in evidence.tasks if one.task == task)
    return (
        f" at {task} ({_number(found.mean_candidate)} against {_number(found.mean_stable)},"
        f" evidence {_size(log_e)}); over all"
    )


def _worst(evidence: Evidence) -> str:
    task, log_e = evidence.worst
    if log_e <= _SOME or len(evidence.rule.judged) == 1:
        return ""
    return f" Worst at {task}: evidence {_size(log_e)}."


def _asked_of_both(pairs: int) -> str:
    return f", {pairs} of them asked of both" if pairs else ""


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _size(log_e: float) -> str:
    """An e-value for people: 0.4, 12, or 'over 1000000'."""
    e = from_log(log_e)
    if e > 1e6:
        return "over 1000000"
    return f"{e:.0f}" if e >= 100 else f"{e:.1f}"
