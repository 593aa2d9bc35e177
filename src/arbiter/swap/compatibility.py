"""How a candidate does on the graded cases beside the stable version, pair by pair. Pure.

A small set of cases cannot judge a small difference, and says so instead of guessing: per task and
for all tasks together the answer is *block* on evidence, *pass* on evidence, otherwise *unproven*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, fsum, log

from arbiter.refs import TaskName
from arbiter.stats.bets import Side
from arbiter.stats.case_pairs import log_e_of_pairs
from arbiter.stats.evalues import average, log_sum
from arbiter.swap.findings import Finding
from arbiter.swap.rollout import ValidationVerdict
from arbiter.swap.validation import CaseResult

KEEP = 0.9
"""The share of the old version's success that the new one must keep on every task."""

ALPHA = 0.05
"""The chance at most of blocking a candidate that keeps so much on every task, and of passing one
that does not keep it on some task. An equal one is blocked far less often: its null is not near."""

ERRORS = (
    f"Of candidates that keep {KEEP:.0%} of the success on every task at most {ALPHA:.0%} are "
    f"blocked by these cases; of those that do not keep it on some task at most {ALPHA:.0%} pass."
)
"""What the verdict on quality may get wrong, and how often."""

Results = Mapping[TaskName, Sequence[CaseResult]]

_Pairs = Mapping[str, tuple[float, float]]
"""What both versions scored, by case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A task: its pairs, and the logarithms of the evidence that it keeps less, and enough."""

    task: TaskName
    pairs: _Pairs
    log_worse: float
    log_fine: float

    @property
    def means(self) -> tuple[float, float]:
        """The mean of the old and of the new version."""
        count = len(self.pairs)
        old = fsum(was for was, _ in self.pairs.values()) / count
        return old, fsum(now for _, now in self.pairs.values()) / count


def quality(old: Results, new: Results) -> tuple[Finding, ...]:
    """One finding a task that the old version was run on, and one for all of them together.

    Half the product and half the average of the tasks' evidence is tested at `ALPHA`: the product
    sees harm that is everywhere, the average harm in one place. A task blocks by itself at
    ``2 K / ALPHA`` of K tasks, where the average alone is enough. A case that several tasks have
    counts once in the product, which needs every factor to be about something new. Passing takes a
    proof at `ALPHA` for every task, so nothing is to be corrected there.
    """
    seen = [_seen(task, old[task], new.get(task, ())) for task in sorted(old)]
    if not seen:
        return (
            Finding(
                about="quality",
                verdict=ValidationVerdict.UNPROVEN,
                sentence="No task has graded cases: nothing is known before traffic.",
            ),
        )
    needed = 1 / ALPHA if len(seen) == 1 else 2 * len(seen) / ALPHA
    findings = tuple(_judged(one, needed) for one in seen)
    return findings if len(findings) == 1 else (*findings, _together(seen, findings))


def _seen(task: TaskName, old: Sequence[CaseResult], new: Sequence[CaseResult]) -> _Seen:
    before = {result.case_digest: result.score for result in old}
    pairs = {
        r.case_digest: (before[r.case_digest], r.score) for r in new if r.case_digest in before
    }
    return _Seen(
        task=task,
        pairs=pairs,
        log_worse=log_e_of_pairs(pairs.values(), side=Side.WORSE, margin=1 - KEEP),
        log_fine=log_e_of_pairs(pairs.values(), side=Side.NOT_WORSE, margin=1 - KEEP),
    )


def _judged(one: _Seen, needed: float) -> Finding:
    if not one.pairs:
        return _quality(
            ValidationVerdict.UNPROVEN, f"{one.task}: no case was run on both versions.", one.task
        )
    old, new = one.means
    seen = f"{one.task}: {new:.2f} against {old:.2f} on {len(one.pairs)} cases"
    if one.log_worse >= log(needed):
        return _quality(
            ValidationVerdict.BLOCK,
            f"{seen}; evidence {_size(one.log_worse)} of {needed:.0f} that it keeps less than "
            f"{KEEP:.0%}.",
            one.task,
        )
    if one.log_fine >= log(1 / ALPHA):
        return _quality(ValidationVerdict.PASS, f"{seen}; it keeps at least {KEEP:.0%}.", one.task)
    return _quality(
        ValidationVerdict.UNPROVEN,
        f"{seen}; too few cases to prove that it keeps {KEEP:.0%}.",
        one.task,
    )


def _together(seen: Sequence[_Seen], findings: Sequence[Finding]) -> Finding:
    log_e = log_sum((_product(seen), average([one.log_worse for one in seen]))) - log(2.0)
    said = (
        f"evidence {_size(log_e)} of {1 / ALPHA:.0f} that it keeps less than {KEEP:.0%} somewhere."
    )
    if log_e >= log(1 / ALPHA):
        return _quality(ValidationVerdict.BLOCK, f"All {len(seen)} tasks together: {said}")
    passed = all(one.verdict is ValidationVerdict.PASS for one in findings)
    return _quality(
        ValidationVerdict.PASS if passed else ValidationVerdict.UNPROVEN,
        f"All {len(seen)} tasks together: {said}",
    )


def _product(seen: Sequence[_Seen]) -> float:
    """The logarithm of the product of the tasks' evidence, each case in it once."""
    known: set[str] = set()
    logs: list[float] = []
    for one in seen:
        fresh = [pair for case, pair in one.pairs.items() if case not in known]
        known.update(one.pairs)
        logs.append(
            one.log_worse
            if len(fresh) == len(one.pairs)
            else log_e_of_pairs(fresh, side=Side.WORSE, margin=1 - KEEP)
        )
    return fsum(logs)


def _quality(verdict: ValidationVerdict, sentence: str, task: TaskName | None = None) -> Finding:
    return Finding(about="quality", task=task, verdict=verdict, sentence=sentence)


def _size(log_e: float) -> str:
    """How much evidence, to show.

    >>> _size(0.0), _size(4.0), _size(20.0)
    ('1.0', '55', 'over 1000000')
    """
    if log_e > log(1e6):
        return "over 1000000"
    return f"{exp(log_e):.0f}" if log_e >= log(10.0) else f"{exp(log_e):.1f}"
