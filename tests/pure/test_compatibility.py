"""Whether a candidate may replace a stable version: three answers, each on evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from random import Random

import pytest

from arbiter.refs import TaskName, VersionId
from arbiter.registry.artifact import Artifact, Identity
from arbiter.swap.compatibility import ALPHA, Compatibility, Finding, compare, compare_task
from arbiter.swap.rollout import ValidationVerdict
from arbiter.swap.validation import CaseResult

SUMS, TALES = TaskName("sums"), TaskName("tales")
PASS, UNPROVEN, BLOCK = (
    ValidationVerdict.PASS,
    ValidationVerdict.UNPROVEN,
    ValidationVerdict.BLOCK,
)

STABLE = Artifact(
    version=VersionId("sha256:" + "a" * 64),
    format="gguf",
    path="/m.gguf",
    size_bytes=1,
    identity=Identity(device=1, inode=1, size=1, mtime_ns=1, ctime_ns=1),
    content_digest="sha256:" + "a" * 64,
    context_length=4096,
    capabilities=frozenset({"chat", "tools"}),
    name_hint="m",
)


def results(scores: Sequence[float], *, first: int = 0) -> tuple[CaseResult, ...]:
    return tuple(
        CaseResult(case_digest=f"case {number}", score=score, success=True, latency_ms=1.0)
        for number, score in enumerate(scores, start=first)
    )


def judged(old: Sequence[float], new: Sequence[float], *, tasks: int = 1) -> Finding:
    return compare_task(SUMS, results(old), results(new), tasks=tasks)


def compared(
    candidate: Artifact = STABLE,
    *,
    old: Mapping[TaskName, Sequence[float]] | None = None,
    new: Mapping[TaskName, Sequence[float]] | None = None,
    both_bytes: int = 1_000_000,
    budget_bytes: int | None = 2_000_000,
) -> Compatibility:
    return compare(
        stable=STABLE,
        candidate=candidate,
        stable_results={task: results(scores) for task, scores in (old or {}).items()},
        candidate_results={task: results(scores) for task, scores in (new or {}).items()},
        both_bytes=both_bytes,
        budget_bytes=budget_bytes,
    )


def about(found: Compatibility, what: str) -> Finding:
    (finding,) = [one for one in found.findings if one.about == what]
    return finding


# -- one task


def test_a_candidate_that_fails_what_the_old_one_could_is_blocked() -> None:
    found = judged([1.0] * 20, [0.0] * 20)
    assert found.verdict is BLOCK
    assert found.sentence.startswith("sums: 0.00 against 1.00 on 20 cases; evidence ")
    assert found.sentence.endswith(" of 20 that it keeps less than 90%.")


def test_a_candidate_that_does_all_the_old_one_could_not_passes() -> None:
    found = judged([0.0] * 20, [1.0] * 20)
    assert found.verdict is PASS
    assert found.sentence == "sums: 1.00 against 0.00 on 20 cases; it keeps at least 90%."


def test_an_equal_candidate_on_few_cases_is_unproven() -> None:
    found = judged([1.0, 0.0] * 5, [1.0, 0.0] * 5)
    assert found.verdict is UNPROVEN
    assert found.sentence == (
        "sums: 0.50 against 0.50 on 10 cases; too few cases to prove that it keeps 90%."
    )


def test_an_equal_candidate_on_many_cases_passes() -> None:
    assert judged([1.0] * 100, [1.0] * 100).verdict is PASS


def test_cases_are_compared_pair_by_pair() -> None:
    old = results([1.0] * 20)
    new = tuple(reversed(results([0.0] * 20))) + results([1.0] * 50, first=1000)
    assert compare_task(SUMS, old, new, tasks=1).verdict is BLOCK


def test_without_a_case_that_both_were_run_on_nothing_is_proven() -> None:
    found = compare_task(SUMS, results([1.0] * 20), results([0.0] * 20, first=100), tasks=1)
    assert found.verdict is UNPROVEN
    assert found.sentence == "sums: no case was run on both versions."


def test_blocking_takes_more_evidence_the_more_tasks_there_are() -> None:
    losses = ([1.0] * 12, [0.0] * 12)
    assert judged(*losses, tasks=1).verdict is BLOCK
    assert judged(*losses, tasks=100).verdict is UNPROVEN


def test_overwhelming_evidence_is_told_as_such() -> None:
    assert "evidence over 1000000 of 20" in judged([1.0] * 200, [0.0] * 200).sentence


# -- the whole version

ARTIFACTS = [
    (
        replace(STABLE, context_length=4095),
        "context",
        BLOCK,
        "Its context window is smaller: 4095 tokens against 4096.",
    ),
    (
        STABLE,
        "context",
        PASS,
        "Its context window is not smaller: 4096 tokens against 4096.",
    ),
    (
        replace(STABLE, context_length=None),
        "context",
        UNPROVEN,
        "The context window of one of them is unknown.",
    ),
    (
        replace(STABLE, capabilities=frozenset({"vision"})),
        "capabilities",
        BLOCK,
        "It cannot do chat, tools, which the old one can.",
    ),
    (
        replace(STABLE, capabilities=frozenset({"chat", "tools", "vision"})),
        "capabilities",
        PASS,
        "It can do all that the old one can.",
    ),
]


@pytest.mark.parametrize(("candidate", "what", "verdict", "sentence"), ARTIFACTS)
def test_what_the_file_says_is_compared(
    candidate: Artifact, what: str, verdict: ValidationVerdict, sentence: str
) -> None:
    found = about(compared(candidate), what)
    assert (found.verdict, found.sentence, found.task) == (verdict, sentence, None)


def test_two_that_do_not_fit_into_memory_together_are_blocked() -> None:
    found = about(compared(both_bytes=2_000_001), "memory")
    assert found.verdict is BLOCK
    assert found.sentence.startswith("Both together need 2 MB and the house has 2 MB: they would")


@pytest.mark.parametrize("budget", [2_000_000, None])
def test_two_that_just_fit_into_memory_pass(budget: int | None) -> None:
    assert about(compared(both_bytes=2_000_000, budget_bytes=budget), "memory").verdict is PASS


def test_every_task_of_the_stable_version_is_compared() -> None:
    found = compared(old={TALES: [1.0], SUMS: [1.0]}, new={SUMS: [1.0]})
    assert [one.task for one in found.findings if one.about == "quality"] == [SUMS, TALES]


def test_without_graded_cases_nothing_is_known_before_traffic() -> None:
    found = compared()
    assert about(found, "quality").verdict is UNPROVEN
    assert found.verdict is UNPROVEN
    assert found.reason == "Validation found nothing against it, but too little for a proof."


def test_one_thing_that_blocks_blocks_and_is_the_reason() -> None:
    found = compared(
        replace(STABLE, context_length=1),
        old={SUMS: [0.0] * 20, TALES: [1.0] * 40},
        new={SUMS: [1.0] * 20, TALES: [0.0] * 40},
    )
    assert found.verdict is BLOCK
    assert found.reason.startswith(
        "Blocked by validation: Its context window is smaller: 1 tokens against 4096. tales: 0.00"
    )


def test_everything_that_passes_passes() -> None:
    found = compared(old={SUMS: [0.0] * 20}, new={SUMS: [1.0] * 20})
    assert (found.verdict, found.reason) == (PASS, "Validation passed on every task.")


# -- error rates, simulated


def blocked(dice: Random, *, houses: int, old: float, new: float) -> int:
    """How many of these houses block, with three tasks of 30 cases."""
    count = 0
    for _ in range(houses):
        verdicts = {
            judged(
                [float(dice.random() < old) for _ in range(30)],
                [float(dice.random() < new) for _ in range(30)],
                tasks=3,
            ).verdict
            for _ in range(3)
        }
        count += BLOCK in verdicts
    return count


HOUSES = 300
# 2.33 standard deviations above ALPHA: beyond this one simulation in a hundred lies by chance.
MOST = ceil(HOUSES * ALPHA + 2.33 * (HOUSES * ALPHA * (1 - ALPHA)) ** 0.5)


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.8, 0.95])
def test_an_equal_candidate_is_blocked_at_most_once_in_twenty(dice: Random, rate: float) -> None:
    assert blocked(dice, houses=HOUSES, old=rate, new=rate) <= MOST


def test_a_candidate_at_the_edge_is_blocked_at_most_once_in_twenty(dice: Random) -> None:
    assert blocked(dice, houses=HOUSES, old=0.9, new=0.81) <= MOST


def test_a_broken_candidate_is_blocked_nineteen_times_in_twenty(dice: Random) -> None:
    assert blocked(dice, houses=100, old=0.9, new=0.3) >= 95
