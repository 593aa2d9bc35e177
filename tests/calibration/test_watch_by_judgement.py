"""A watched promotion that people judge: whoever stops judging is no model that gets worse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from msgspec import structs
from tests.calibration.bounds import at_least, at_most
from tests.pure.records_of_rollouts import fresh

from arbiter.inference import Arm
from arbiter.refs import DecisionId, TaskName
from arbiter.swap.holdback import Holdback
from arbiter.swap.judging import Judged
from arbiter.swap.plan import Plan
from arbiter.swap.rollout import Phase
from arbiter.swap.watch import Before, Sign

pytestmark = pytest.mark.calibration

RUNS = 40
UNITS = 1_500
GOOD = 0.9

Willing = Callable[[int, bool], float]
"""How likely an answer is judged in time, by its number and whether it is right."""


def half(number: int, right: bool) -> float:
    del number, right
    return 0.5


def at_first(number: int, right: bool) -> float:
    del right
    return 1.0 if number < 200 else 0.0


def complaining(number: int, right: bool) -> float:
    del number
    return 0.2 if right else 0.8


def watched(
    seed: int, willing: Willing, *, new: float = GOOD, late: float | None = None, alpha: float
) -> Holdback:
    """So many answers that were all to be judged. late: what one counts that was not."""
    dice = Random(seed)
    plan = replace(Plan(), holdback=0.3, judge_share=1.0, alpha_drift=alpha)
    rollout = structs.replace(fresh(plan), phase=Phase.PROMOTED, salt=f"{seed}", reason="proved")
    before = Before(stable=GOOD, n_stable=300, candidate=GOOD, n_candidate=300)
    held = Holdback(rollout, before, arms={})
    for number in range(UNITS):
        drawn = held.draw(str(number), is_open=True)
        decision = DecisionId(str(number))
        _, then = held.ended(
            drawn, task=TaskName("chat"), decision=decision, score=None, waits=True
        )
        assert then is not None
        then(True)
        right = dice.random() < (new if drawn.arm is Arm.PROMOTED else GOOD)
        is_judged = dice.random() < willing(number, right)
        held.judged(decision, float(right) if is_judged else late)
    return held


@pytest.mark.parametrize("willing", [half, at_first, complaining])
def test_a_model_as_good_as_the_old_one_is_taken_back_as_seldom_as_stated(
    willing: Willing,
) -> None:
    """Beside the old version, at 1 in 100 judged conversations, so that there is much to count."""
    found = [watched(seed, willing, alpha=0.01) for seed in range(RUNS)]
    judged = sum(min(one.judged_so_far.judged, _until(one, Sign.DRIFTED) or UNITS) for one in found)
    alarms = sum(Sign.DRIFTED in one.since.alarms for one in found)
    assert alarms <= judged / 100


@pytest.mark.parametrize("willing", [half, at_first])
def test_neither_alarm_is_heard_when_fewer_are_judged_or_none_any_more(willing: Willing) -> None:
    found = [watched(seed, willing, alpha=Plan().alpha_drift) for seed in range(RUNS)]
    assert sum(bool(one.since.alarms) for one in found) <= at_most(RUNS, 0.02)
    stopped = sum(one.judged_so_far.has_stopped for one in found)
    assert stopped == (RUNS if willing is at_first else 0)


def test_to_count_what_nobody_judged_as_bad_would_be_heard_as_a_fall() -> None:
    """Why it counts for nothing: with 0, as while it was rolled out, every run is suspected."""
    found = [watched(seed, at_first, late=0.0, alpha=Plan().alpha_drift) for seed in range(10)]
    assert all(Sign.SUSPECTED in one.since.alarms for one in found)


def test_a_fall_is_heard_though_only_half_is_judged() -> None:
    found = [watched(seed, half, new=0.6, alpha=Plan().alpha_drift) for seed in range(RUNS)]
    assert sum(Sign.DRIFTED in one.since.alarms for one in found) >= at_least(RUNS, 0.9)


def test_judgements_that_lack_alike_on_both_sides_are_called_lopsided_once_in_a_thousand() -> None:
    found = [watched(seed, half, alpha=Plan().alpha_drift).judged_so_far for seed in range(RUNS)]
    assert sum(map(_is_lopsided, found)) <= at_most(RUNS, 0.001)


def _is_lopsided(judged: Judged) -> bool:
    return judged.is_lopsided


def _until(held: Holdback, sign: Sign) -> int | None:
    alarm = held.since.alarms.get(sign)
    return None if alarm is None else alarm.until
