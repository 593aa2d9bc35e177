"""Whether a candidate may replace a stable version at all: findings, each with its reason.

Three answers, never two: *block* on evidence, *pass* on evidence, otherwise *unproven*, which
lets the candidate in at a smaller first step. A small validation set cannot judge a small
difference, and says so instead of guessing. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log

from arbiter.refs import TaskName
from arbiter.registry.artifact import Artifact
from arbiter.stats.bets import Side
from arbiter.stats.pairs import PairE
from arbiter.swap.rollout import ValidationVerdict
from arbiter.swap.validation import CaseResult

KEEP = 0.9
"""The share of the old version's success that the new one must keep on every task."""

ALPHA = 0.05
"""Chance that an equal candidate is blocked at all, and that a worse one passes a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was compared. task None: it concerns the whole version."""

    about: str
    verdict: ValidationVerdict
    sentence: str
    task: TaskName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compatibility:
    """Every finding, and what they come to together."""

    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> ValidationVerdict:
        """Block when anything blocks, pass when everything passes, else unproven."""
        verdicts = {finding.verdict for finding in self.findings}
        for worst in (ValidationVerdict.BLOCK, ValidationVerdict.UNPROVEN):
            if worst in verdicts:
                return worst
        return ValidationVerdict.PASS

    @property
    def reason(self) -> str:
        """The findings that decided it, as a sentence."""
        verdict = self.verdict
        deciding = [f.sentence for f in self.findings if f.verdict is verdict]
        match verdict:
            case ValidationVerdict.BLOCK:
                return "Blocked by validation: " + " ".join(deciding)
            case ValidationVerdict.UNPROVEN:
                return "Validation found nothing against it, but too little for a proof."
            case _:
                return "Validation passed on every task."


def compare_task(
    task: TaskName, old: Sequence[CaseResult], new: Sequence[CaseResult], *, tasks: int
) -> Finding:
    """Compare two versions on the cases that both were run on, pair by pair.

    The evidence is a paired e-process at the null "keeps at least 90 %" (to block) and at its
    opposite (to pass). Blocking takes ``tasks / ALPHA``, so that an equal candidate is blocked on
    any of its tasks with a chance of at most ALPHA.
    """
    before = {result.case_digest: result for result in old}
    worse = PairE(side=Side.WORSE, margin=1 - KEEP)
    fine = PairE(side=Side.NOT_WORSE, margin=1 - KEEP)
    pairs = [(before[r.case_digest].score, r.score) for r in new if r.case_digest in before]
    for was, is_ in pairs:
        worse.update(was, is_)
        fine.update(was, is_)
    if not pairs:
        return Finding(
            about="quality",
            task=task,
            verdict=ValidationVerdict.UNPROVEN,
            sentence=f"{task}: no case was run on both versions.",
        )
    count = len(pairs)
    mean_old = sum(was for was, _ in pairs) / count
    mean_new = sum(is_ for _, is_ in pairs) / count
    seen = f"{task}: {mean_new:.2f} against {mean_old:.2f} on {count} cases"
    if worse.log_e >= log(tasks / ALPHA):
        return Finding(
            about="quality",
            task=task,
            verdict=ValidationVerdict.BLOCK,
            sentence=f"{seen}; evidence {_size(worse.log_e)} of {tasks / ALPHA:.0f} that it keeps "
            f"less than {KEEP:.0%}.",
        )
    if fine.log_e >= log(1 / ALPHA):
        return Finding(
            about="quality",
            task=task,
            verdict=ValidationVerdict.PASS,
            sentence=f"{seen}; it keeps at least {KEEP:.0%}.",
        )
    return Finding(
        about="quality",
        task=task,
        verdict=ValidationVerdict.UNPROVEN,
        sentence=f"{seen}; too few cases to prove that it keeps {KEEP:.0%}.",
    )


def compare(
    *,
    stable: Artifact,
    candidate: Artifact,
    stable_results: Mapping[TaskName, Sequence[CaseResult]],
    candidate_results: Mapping[TaskName, Sequence[CaseResult]],
    both_bytes: int,
    budget_bytes: int | None,
) -> Compatibility:
    """Everything that speaks for or against letting the candidate have traffic."""
    findings = [
        _context(stable, candidate),
        _capabilities(stable, candidate),
        _memory(both_bytes, budget_bytes),
    ]
    tasks = max(len(stable_results), 1)
    findings.extend(
        compare_task(task, stable_results[task], candidate_results.get(task, ()), tasks=tasks)
        for task in sorted(stable_results)
    )
    if not stable_results:
        findings.append(
            Finding(
                about="quality",
                verdict=ValidationVerdict.UNPROVEN,
                sentence="No task has graded cases: nothing is known before traffic.",
            )
        )
    return Compatibility(findings=tuple(findings))


def _context(stable: Artifact, candidate: Artifact) -> Finding:
    old, new = stable.context_length, candidate.context_length
    if old is not None and new is not None and new < old:
        return Finding(
            about="context",
            verdict=ValidationVerdict.BLOCK,
            sentence=f"Its context window is smaller: {new} tokens against {old}.",
        )
    if old is None or new is None:
        return Finding(
            about="context",
            verdict=ValidationVerdict.UNPROVEN,
            sentence="The context window of one of them is unknown.",
        )
    return Finding(
        about="context",
        verdict=ValidationVerdict.PASS,
        sentence=f"Its context window is not smaller: {new} tokens against {old}.",
    )


def _capabilities(stable: Artifact, candidate: Artifact) -> Finding:
    missing = sorted(stable.capabilities - candidate.capabilities)
    if missing:
        return Finding(
            about="capabilities",
            verdict=ValidationVerdict.BLOCK,
            sentence=f"It cannot do {', '.join(missing)}, which the old one can.",
        )
    return Finding(
        about="capabilities",
        verdict=ValidationVerdict.PASS,
        sentence="It can do all that the old one can.",
    )


def _memory(both_bytes: int, budget_bytes: int | None) -> Finding:
    if both_bytes == 0:
        return Finding(
            about="memory",
            verdict=ValidationVerdict.PASS,
            sentence="Other programs run both, in memory that is not this house's to plan.",
        )
    if budget_bytes is not None and both_bytes > budget_bytes:
        return Finding(
            about="memory",
            verdict=ValidationVerdict.BLOCK,
            sentence=f"Both together need {both_bytes / 1e6:.0f} MB and the house has "
            f"{budget_bytes / 1e6:.0f} MB: they would evict each other at every other request. "
            "Raise pool.memory_mb, or point the alias at it by hand: arbiter alias set.",
        )
    return Finding(
        about="memory",
        verdict=ValidationVerdict.PASS,
        sentence=f"Both fit into memory together ({both_bytes / 1e6:.0f} MB).",
    )


def _size(log_e: float) -> str:
    return "over 1000000" if log_e > 13.8 else f"{exp(log_e):.0f}"
