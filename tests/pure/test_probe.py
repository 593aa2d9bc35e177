"""When an instance is probed, what it is asked, and what its answer says of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.inference import (
    Chunk,
    Delta,
    Embedding,
    Finish,
    FinishReason,
    Generation,
    Thought,
    Usage,
    Vectors,
)
from arbiter.pool.breaker import Sign
from arbiter.pool.probe import (
    DOUBT_S,
    MOST_PIECES,
    TRIAL_S,
    Fault,
    Standing,
    faults,
    question,
    reason_to_probe,
    verdict,
)

IDLE = Standing(is_ready=True, in_use=0, idle_s=1000.0)


def _end(tokens: int | None = None) -> Finish:
    return Finish(reason=FinishReason.STOP, usage=Usage(completion_tokens=tokens))


@pytest.mark.parametrize(
    ("standing", "reason"),
    [
        (IDLE, "nobody asked it for 1000 s"),
        (replace(IDLE, idle_s=299.0), None),
        (replace(IDLE, is_quiet=False), None),
        (replace(IDLE, is_ready=False), None),
        (replace(IDLE, in_use=1, is_trial_due=True), None),
        (replace(IDLE, is_outside=True), None),
        (replace(IDLE, is_outside=True, failures=4), None),
        (replace(IDLE, is_outside=True, is_trial_due=True), "its breaker's pause is over"),
        (replace(IDLE, is_trial_due=True, probed_s=TRIAL_S), "its breaker's pause is over"),
        (replace(IDLE, is_trial_due=True, probed_s=TRIAL_S - 1.0), None),
        (replace(IDLE, failures=2, idle_s=DOUBT_S, is_quiet=False), "it failed 2 times in a row"),
        (replace(IDLE, failures=2, idle_s=DOUBT_S - 1.0), None),
        (replace(IDLE, is_passed_over=True, failures=1), None),
    ],
)
def test_it_is_probed_when_it_is_idle_or_in_doubt_and_never_while_it_serves(
    standing: Standing, reason: str | None
) -> None:
    assert reason_to_probe(standing, every_s=300.0) == reason


@given(
    st.builds(
        Standing,
        is_ready=st.booleans(),
        in_use=st.integers(0, 2),
        idle_s=st.floats(0, 1e6),
        failures=st.integers(0, 4),
        is_trial_due=st.booleans(),
        is_passed_over=st.booleans(),
        is_outside=st.booleans(),
        is_quiet=st.booleans(),
    ),
    st.floats(1.0, 1e5),
)
def test_whatever_else_is_so_nothing_is_probed_that_is_cold_or_in_use(
    standing: Standing, every_s: float
) -> None:
    if reason_to_probe(standing, every_s=every_s) is not None:
        assert standing.is_ready
        assert not standing.in_use
        assert standing.is_trial_due or not standing.is_outside


@pytest.mark.parametrize(
    ("can", "kind"),
    [
        ({"chat", "completion"}, Generation),
        ({"completion"}, Generation),
        ({"embedding"}, Embedding),
        ({"image"}, type(None)),
    ],
)
def test_it_is_asked_for_something_that_it_can_do(can: set[str], kind: type) -> None:
    assert isinstance(question(frozenset(can)), kind)


@pytest.mark.parametrize(
    ("chunks", "found"),
    [
        ([Delta(text="Hello"), _end(1)], set()),
        ([Thought(text="They want"), _end(8)], set()),
        ([_end(0)], {Fault.EMPTY}),
        ([Delta(text=" \n"), _end(2)], {Fault.EMPTY}),
        ([], {Fault.EMPTY}),
        ([Delta(text="!!!"), Delta(text="!!!!!"), _end(8)], {Fault.REPEATS}),
        ([Delta(text="hello " * 30), _end(40)], {Fault.ENDLESS}),
        ([Delta(text="hello")] * MOST_PIECES, {Fault.ENDLESS}),
        ([Vectors(vectors=((0.6, 0.8),)), _end()], set()),
        ([Vectors(vectors=((0.0, 0.0),)), _end()], {Fault.NO_VECTOR}),
        ([Vectors(vectors=((float("nan"), 0.8),)), _end()], {Fault.NO_VECTOR}),
    ],
)
def test_what_is_wrong_with_an_answer_is_seen_without_knowing_the_right_one(
    chunks: list[Chunk], found: set[Fault]
) -> None:
    assert faults(chunks) == found


def test_a_habit_is_held_against_nobody_and_a_new_fault_is() -> None:
    empty = frozenset({Fault.EMPTY})
    first = verdict(empty, None)
    assert (first.sign, first.habits) == (Sign.NOTHING, empty)
    assert verdict(empty, first.habits).sign is Sign.NOTHING
    well = verdict(frozenset(), first.habits)
    assert (well.sign, well.habits) == (Sign.WELL, frozenset())
    ill = verdict(empty, well.habits)
    assert (ill.sign, ill.why) == (Sign.ILL, "a probe: it wrote nothing")
    assert verdict(empty | {Fault.ENDLESS}, first.habits).sign is Sign.ILL
