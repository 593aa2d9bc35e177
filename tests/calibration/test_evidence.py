"""The error rates and the power of each e-process alone, seeded; `test_verdict` has the whole gate.

Every e-process is looked at after every unit. Where its null is true it may ever reach 20 in one of
twenty streams, so the bounds are binomial at 5 %. Where half of the streams should have decided by
some unit, the bound is binomial at one half. What to reach are figures of simulations done
beforehand with other code and thousands of runs; they are named where they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import exp, log
from random import Random
from typing import Protocol

import pytest
from tests.calibration.bounds import at_least, at_most

from arbiter.stats.adaptive import AGrapaE
from arbiter.stats.arrivals import SampleRatio
from arbiter.stats.bets import HARM, Side, non_inferiority, strict
from arbiter.stats.evalues import combine, e_bh
from arbiter.stats.latency import LatencyE
from arbiter.stats.means import BalancedMeans
from arbiter.stats.pairs import PairE
from arbiter.stats.reliability import FAILS_MORE, reliability, reliable
from arbiter.stats.sequential import EProcess

pytestmark = pytest.mark.calibration

NEEDED = log(20.0)

Unit = tuple[float, bool, float]
"""What was scored (or its seconds), whether it was the new model, and the chance that it was."""

Stream = Callable[[Random], Iterator[Unit]]


class Process(Protocol):
    def update(self, score: float, is_new: bool, pi: float, /) -> None: ...

    @property
    def log_e(self) -> float: ...


def ramp(number: int) -> float:
    """10 %, and 10 % more every 200 units, up to a half."""
    return min(0.5, 0.1 * (1 + number // 200))


def coins(old: float, new: float) -> Stream:
    """Right and wrong answers at two rates."""

    def stream(dice: Random) -> Iterator[Unit]:
        number = 0
        while True:
            pi = ramp(number)
            is_new = dice.random() < pi
            yield float(dice.random() < (new if is_new else old)), is_new, pi
            number += 1

    return stream


def harder(ratio: float) -> Stream:
    """Traffic on which the old model falls from .90 to .70, while the new one's share rises."""

    def stream(dice: Random) -> Iterator[Unit]:
        number = 0
        while True:
            pi = ramp(number)
            is_new = dice.random() < pi
            rate = 0.9 - 0.2 * min(1.0, number / 1000)
            yield float(dice.random() < (ratio * rate if is_new else rate)), is_new, pi
            number += 1

    return stream


def reacting(ratio: float) -> Stream:
    """Weights that chase what was seen: more for the new model while it looks worse."""

    def stream(dice: Random) -> Iterator[Unit]:
        seen = {False: [4.0, 5.0], True: [4.0, 5.0]}
        while True:
            looks_worse = seen[True][0] / seen[True][1] < seen[False][0] / seen[False][1]
            pi = 0.5 if looks_worse else 0.05
            is_new = dice.random() < pi
            score = float(dice.random() < (0.8 * ratio if is_new else 0.8))
            seen[is_new][0] += score
            seen[is_new][1] += 1.0
            yield score, is_new, pi

    return stream


def conversations(ratio: float) -> Stream:
    """Twelve answers each, as one unit: a conversation is hard or easy as a whole."""

    def stream(dice: Random) -> Iterator[Unit]:
        while True:
            is_new = dice.random() < 0.3
            rate = dice.betavariate(3.2, 0.8) * (ratio if is_new else 1.0)
            yield sum(dice.random() < rate for _ in range(12)) / 12, is_new, 0.3

    return stream


def request_by_request(dice: Random) -> Iterator[Unit]:
    """The same conversations, wrongly taken apart: every answer as a draw of its own."""
    while True:
        is_new = dice.random() < 0.3
        rate = dice.betavariate(3.2, 0.8)
        for _ in range(12):
            yield float(dice.random() < rate), is_new, 0.3


def graded(old: float, new: float) -> Stream:
    """A judge's scores, of which each model's vary with a deviation of about .14."""

    def stream(dice: Random) -> Iterator[Unit]:
        number = 0
        while True:
            pi = ramp(number)
            is_new = dice.random() < pi
            mean = new if is_new else old
            yield dice.betavariate(8 * mean, 8 * (1 - mean)), is_new, pi
            number += 1

    return stream


def seconds(slower: float, tail: float = 0.03) -> Stream:
    """Latencies around a second, some from a Pareto tail without variance (index 1.3)."""

    def stream(dice: Random) -> Iterator[Unit]:
        number = 0
        while True:
            pi = ramp(number)
            is_new = dice.random() < pi
            factor = slower if is_new else 1.0
            if dice.random() < (tail if is_new else 0.03):
                yield factor * 2.0 * dice.paretovariate(1.3), is_new, pi
            else:
                yield factor * exp(dice.gauss(0.0, 0.5)), is_new, pi
            number += 1

    return stream


def decided(make: Callable[[], Process], stream: Stream, *, seed: int, units: int) -> int:
    """The number of the unit at which 20 was reached, or one more than there were."""
    process, number = make(), 0
    for number, unit in enumerate(stream(Random(seed)), start=1):
        process.update(*unit)
        if process.log_e >= NEEDED or number > units:
            break
    return number


def often(
    make: Callable[[], Process], stream: Stream, *, times: int, units: int, seed: int
) -> list[int]:
    return [
        decided(make, stream, seed=1000 * seed + number, units=units) for number in range(times)
    ]


def reached(ends: list[int], by: int) -> int:
    return sum(end <= by for end in ends)


def harm() -> Process:
    return EProcess(HARM)


def misled() -> Process:
    """It believes firmly, and wrongly, that the old model is right in 3 of 10."""
    return EProcess(HARM, prior_mean=0.3, prior_weight=50.0)


def strictly() -> Process:
    return EProcess(strict(0.05))


def not_worse() -> Process:
    return EProcess(non_inferiority(0.05))


def adaptive() -> Process:
    return AGrapaE(side=Side.WORSE, margin=0.0)


def adaptive_not_worse() -> Process:
    return AGrapaE(side=Side.NOT_WORSE, margin=0.05)


def slower() -> Process:
    return LatencyE(side=Side.WORSE, median_s=1.012, p90_s=2.072)


def quick_enough() -> Process:
    return LatencyE(side=Side.NOT_WORSE, median_s=1.012, p90_s=2.072, tolerance=0.2)


def fails_more() -> Process:
    return reliability(FAILS_MORE)


def reliable_enough() -> Process:
    return reliability(reliable(0.02))


@pytest.mark.parametrize(
    ("make", "stream"),
    [
        pytest.param(harm, coins(0.80, 0.80), id="equal at .80"),
        pytest.param(harm, coins(0.95, 0.95), id="equal at .95"),
        pytest.param(harm, harder(1.0), id="equal while traffic gets harder"),
        pytest.param(harm, reacting(1.0), id="equal while weights react"),
        pytest.param(harm, conversations(1.0), id="equal conversations of twelve"),
        pytest.param(harm, graded(0.75, 0.75), id="equal grades"),
        pytest.param(misled, coins(0.80, 0.80), id="equal with a wrong prior"),
        pytest.param(strictly, coins(0.80, 0.76), id="5 % worse, strict"),
        pytest.param(strictly, harder(0.95), id="5 % worse while traffic gets harder, strict"),
        pytest.param(not_worse, coins(0.80, 0.76), id="5 % worse at .80"),
        pytest.param(not_worse, coins(0.95, 0.9025), id="5 % worse at .95"),
        pytest.param(not_worse, harder(0.95), id="5 % worse while traffic gets harder"),
        pytest.param(not_worse, reacting(0.95), id="5 % worse while weights react"),
        pytest.param(not_worse, conversations(0.95), id="5 % worse conversations of twelve"),
        pytest.param(adaptive, coins(0.80, 0.80), id="equal, adaptive"),
        pytest.param(adaptive, graded(0.75, 0.75), id="equal grades, adaptive"),
        pytest.param(adaptive, harder(1.0), id="equal while traffic gets harder, adaptive"),
        pytest.param(adaptive, reacting(1.0), id="equal while weights react, adaptive"),
        pytest.param(adaptive_not_worse, graded(0.8, 0.76), id="5 % worse grades, adaptive"),
        pytest.param(slower, seconds(1.0), id="as quick, with a heavy tail"),
        pytest.param(quick_enough, seconds(1.2), id="as slow as the tolerance"),
        pytest.param(fails_more, coins(0.99, 0.99), id="as reliable"),
        pytest.param(reliable_enough, coins(0.99, 0.99 * 0.98), id="2 % less reliable"),
    ],
)
def test_what_is_true_is_rarely_rejected(make: Callable[[], Process], stream: Stream) -> None:
    ends = often(make, stream, times=100, units=1200, seed=1)
    assert reached(ends, 1200) <= at_most(100)


def test_answers_of_one_conversation_taken_for_draws_are_rejected_far_too_often() -> None:
    """Why the unit is the conversation: the coin was thrown once in twelve answers."""
    ends = often(harm, request_by_request, times=60, units=1200, seed=9)
    assert reached(ends, 1200) > at_most(60, 0.2)


class Gated:
    """E_harm as it may roll back: only while the estimate is below the margin."""

    def __init__(self) -> None:
        self._harm = EProcess(HARM)
        self._means = BalancedMeans()

    def update(self, score: float, is_new: bool, pi: float, /) -> None:
        self._harm.update(score, is_new, pi)
        self._means.update(score, is_new, pi)

    @property
    def log_e(self) -> float:
        return self._harm.log_e if (self._means.ratio or 1.0) < 0.95 else 0.0


@pytest.mark.parametrize(
    ("make", "stream", "by"),
    [
        # medians of the bare e-process with its gate, with weights up to a half: 376, 870 and 402
        pytest.param(Gated, coins(0.80, 0.64), 376, id="20 % worse at .80"),
        pytest.param(Gated, coins(0.80, 0.72), 870, id="10 % worse at .80"),
        pytest.param(Gated, coins(0.95, 0.855), 402, id="10 % worse at .95"),
        pytest.param(Gated, coins(0.95, 0.76), 185, id="20 % worse at .95"),
        pytest.param(adaptive, graded(0.75, 0.675), 371, id="10 % worse grades"),
        pytest.param(adaptive, graded(0.75, 0.6), 212, id="20 % worse grades"),
        pytest.param(slower, seconds(1.5), 435, id="half as slow again"),
        pytest.param(slower, seconds(1.2), 937, id="a fifth slower"),
        pytest.param(slower, seconds(1.0, tail=0.12), 690, id="a tail four times as heavy"),
        pytest.param(fails_more, coins(0.99, 0.90), 300, id="ten times as many failures"),
        pytest.param(not_worse, coins(0.95, 0.95), 900, id="equal at .95 is promoted"),
    ],
)
def test_half_of_the_streams_decide_by_the_median(
    make: Callable[[], Process], stream: Stream, by: int
) -> None:
    ends = often(make, stream, times=80, units=by, seed=2)
    assert reached(ends, by) >= at_least(80, 0.5)


class Tasks:
    """Half product plus half average of five tasks' e-processes; each unit belongs to one task."""

    def __init__(self) -> None:
        self.each = [EProcess(HARM) for _ in range(5)]
        self._number = 0

    def update(self, score: float, is_new: bool, pi: float, /) -> None:
        self.each[self._number % 5].update(score, is_new, pi)
        self._number += 1

    @property
    def log_e(self) -> float:
        return combine(one.log_e for one in self.each)


def test_five_equal_tasks_are_rarely_rejected_together() -> None:
    ends = often(Tasks, coins(0.8, 0.8), times=100, units=1200, seed=3)
    assert reached(ends, 1200) <= at_most(100)


def test_one_of_five_equal_tasks_rarely_reaches_five_times_as_much() -> None:
    wrong = 0
    for seed in range(100):
        tasks, most = Tasks(), 0.0
        for _, unit in zip(range(1200), coins(0.8, 0.8)(Random(4000 + seed)), strict=False):
            tasks.update(*unit)
            most = max(most, *(one.log_e for one in tasks.each))
        wrong += most >= log(5 / 0.05)
    assert wrong <= at_most(100)


def test_the_one_task_that_is_worse_is_named_and_hardly_ever_another() -> None:
    """e-BH: of the tasks that are named, at most one in twenty is equal, on average."""
    found, false_share = 0, 0.0
    for seed in range(60):
        dice, each = Random(5000 + seed), [EProcess(HARM) for _ in range(5)]
        for number in range(2000):
            task, pi = number % 5, ramp(number)
            is_new = dice.random() < pi
            rate = 0.8 * (0.6 if task == 2 and is_new else 1.0)
            each[task].update(float(dice.random() < rate), is_new, pi)
        named = e_bh([one.log_e for one in each], 0.05)
        found += 2 in named
        false_share += sum(task != 2 for task in named) / max(1, len(named))
    assert found >= at_least(60, 0.9)
    assert false_share <= at_most(60)


def pairs(old: float, new: float, correlation: float = 0.6) -> Stream:
    """The score of one model and whether the other is right: two answers to one prompt."""

    def stream(dice: Random) -> Iterator[Unit]:
        while True:
            luck = dice.random()
            other = luck if dice.random() < correlation else dice.random()
            yield float(luck < old), other < new, 0.5

    return stream


class Paired:
    """A paired e-process that takes the second answer for the arm of a unit."""

    def __init__(self, side: Side, margin: float) -> None:
        self._pairs = PairE(side=side, margin=margin)

    def update(self, score: float, is_new: bool, pi: float, /) -> None:
        del pi
        self._pairs.update(score, float(is_new))

    @property
    def log_e(self) -> float:
        return self._pairs.log_e


def pairs_not_worse() -> Process:
    return Paired(Side.NOT_WORSE, 0.05)


def pairs_worse() -> Process:
    return Paired(Side.WORSE, 0.0)


@pytest.mark.parametrize(
    ("make", "stream"),
    [
        pytest.param(pairs_not_worse, pairs(0.80, 0.76), id="5 % worse"),
        pytest.param(pairs_worse, pairs(0.80, 0.80), id="equal"),
    ],
)
def test_pairs_rarely_reject_what_is_true(make: Callable[[], Process], stream: Stream) -> None:
    ends = often(make, stream, times=150, units=1200, seed=5)
    assert reached(ends, 1200) <= at_most(150)


@pytest.mark.parametrize(
    ("make", "stream", "by"),
    [
        # medians beforehand: 557 to 576 pairs, 215 and 63
        pytest.param(pairs_not_worse, pairs(0.80, 0.80), 580, id="equal is promoted"),
        pytest.param(pairs_worse, pairs(0.80, 0.72), 215, id="10 % worse"),
        pytest.param(pairs_worse, pairs(0.80, 0.64), 70, id="20 % worse"),
    ],
)
def test_half_of_the_pairs_decide_by_the_median(
    make: Callable[[], Process], stream: Stream, by: int
) -> None:
    ends = often(make, stream, times=150, units=by, seed=6)
    assert reached(ends, by) >= at_least(150, 0.5)


class Arrivals:
    """The sample-ratio test as a process: it never looks at scores."""

    def __init__(self) -> None:
        self._arrivals = SampleRatio()

    def update(self, score: float, is_new: bool, pi: float, /) -> None:
        del score
        self._arrivals.update(is_new, pi)

    @property
    def log_e(self) -> float:
        return self._arrivals.log_e


def lost(share: float) -> Stream:
    """Some of the new model's conversations leave no trace."""

    def stream(dice: Random) -> Iterator[Unit]:
        for unit in coins(0.8, 0.8)(dice):
            if not (unit[1] and dice.random() < share):
                yield unit

    return stream


def test_arms_that_fill_as_drawn_are_rarely_doubted() -> None:
    ends = often(Arrivals, coins(0.8, 0.8), times=150, units=1500, seed=7)
    assert reached(ends, 1500) <= at_most(150)


def test_a_third_of_the_new_conversations_missing_is_noticed() -> None:
    ends = often(Arrivals, lost(0.33), times=100, units=1500, seed=8)
    assert reached(ends, 1500) >= at_least(100, 0.95)
