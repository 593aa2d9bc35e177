"""What a contender is worth to the learner, and when its floor of quality drops one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from arbiter.inference import Limits
from arbiter.knowledge.profiles import NOTHING, Profile
from arbiter.knowledge.speed import NEVER_TIMED, Expected, Speed
from arbiter.knowledge.tasks import Task, Weights
from arbiter.refs import ModelName, TaskName, VersionId
from arbiter.selection.bandit import Table
from arbiter.selection.belief import Belief
from arbiter.selection.contender import Contender, Seen, Situation
from arbiter.selection.filters import ENOUGH_GRADED, drop_reason
from arbiter.selection.selector import Selector
from arbiter.selection.utility import UNKNOWN, Worth, explained, worth

SUMS = TaskName("sums")
LATENCY = Weights(quality=0, latency=1, memory=0, reliability=0)
EVEN = Weights(quality=1, latency=1, memory=0, reliability=0)
HOUSE = Situation(budget_bytes=None, weights=LATENCY)
NO_LIMITS = Limits()


def seen(name: str = "ant", speed: Speed = NEVER_TIMED, profile: Profile = NOTHING) -> Seen:
    return Seen(
        contender=Contender(
            name=ModelName(name),
            version=VersionId(name),
            capabilities=frozenset({"chat"}),
            context=None,
            memory_bytes=None,
        ),
        profile=profile,
        speed=speed,
    )


def weighed(speed: Speed, profile: Profile = NOTHING, *, others: float = 0.5) -> Worth:
    return worth(
        seen(speed=speed, profile=profile),
        Belief(mean=0.5, variance=0.01),
        limits=NO_LIMITS,
        situation=HOUSE,
        weights=LATENCY,
        others=others,
    )


TIMED = Speed(timed=15, median_ms=2_000.0, slow_ms=60_000.0, slow_least_ms=50_000.0)
OTHER_TASKS = Expected(median_ms=4_000.0, low_ms=3_000.0, high_ms=5_000.0, tasks=3)


def test_latency_counts_by_its_median_and_not_by_its_mean() -> None:
    # one answer took ten minutes
    mean = Profile(samples=15, successes=15, timed=15, latency_ms=628_000.0)
    found = weighed(TIMED, mean)
    assert found.arm.mean == pytest.approx(0.8)
    assert found.arm.deviation == pytest.approx(UNKNOWN / 4)
    assert "latency 2,000 ms (median of 15)" in explained(found, 1.0).explanation


def test_what_was_never_timed_here_is_taken_at_what_its_other_tasks_let_expect() -> None:
    found = weighed(Speed(expected=OTHER_TASKS), others=0.1)
    assert found.latency is None
    assert found.arm.mean == pytest.approx(0.6)
    assert found.arm.deviation == pytest.approx(0.2 / 3.29)
    assert "latency about 4,000 ms (3,000 to 5,000, expected from 3 other tasks)" in (
        explained(found, 1.0).explanation
    )


def test_an_expectation_is_never_surer_than_it_says_nor_vaguer_than_nothing() -> None:
    vague = Expected(median_ms=5_000.0, low_ms=1.0, high_ms=1e7, tasks=1)
    found = weighed(Speed(expected=vague))
    assert found.arm.deviation == pytest.approx(UNKNOWN)
    assert "expected from 1 other task)" in explained(found, 1.0).explanation


def test_what_was_never_timed_anywhere_is_taken_at_what_others_have() -> None:
    found = weighed(NEVER_TIMED, others=0.7)
    assert (found.arm.mean, found.arm.deviation) == pytest.approx((0.7, UNKNOWN))
    assert "latency unknown" in explained(found, 1.0).explanation


# -- the floor of quality


def reason(mean: float, *, samples: float, deviation: float = 0.05) -> str | None:
    belief = Belief(mean=mean, variance=deviation**2, samples=samples)
    return drop_reason(seen(), Limits(threshold=0.8), HOUSE, belief)


def test_a_quality_that_cannot_be_up_to_the_threshold_drops() -> None:
    assert reason(0.6, samples=34) == (
        "quality 0.60 (90 % credible 0.52 to 0.68, 34 graded) is below the threshold 0.80"
    )


@pytest.mark.parametrize(
    ("mean", "samples"),
    [
        (0.75, 34.0),  # may be bad luck yet
        (0.10, 9.0),  # its other tasks say so, and nothing here
        (0.80, 1000.0),
    ],
)
def test_a_quality_that_may_be_up_to_the_threshold_drops_nobody(
    mean: float, samples: float
) -> None:
    assert reason(mean, samples=samples) is None


def test_after_enough_grades_the_mean_decides() -> None:
    assert reason(0.79, samples=ENOUGH_GRADED - 1) is None
    assert reason(0.79, samples=ENOUGH_GRADED) is not None


def test_without_a_threshold_no_quality_drops() -> None:
    belief = Belief(mean=0.01, variance=1e-6, samples=500)
    assert drop_reason(seen(), NO_LIMITS, HOUSE, belief) is None


def test_the_learner_goes_by_what_it_believes_and_the_static_rule_by_the_mean() -> None:
    unlucky = Profile(samples=12, graded=12, quality=9.0, successes=12)
    task = Task(name=SUMS, limits=Limits(threshold=0.8))
    table = Table()
    table.add(SUMS, VersionId("ant"), count=12, total=9.0)
    contenders = [seen(profile=unlucky), seen("bee")]
    whole = {"task": task, "limits": task.limits, "rule": None, "situation": HOUSE}
    learned = Selector(table).pick(contenders, **whole)  # type: ignore[arg-type]
    static = Selector().pick(contenders, **whole)  # type: ignore[arg-type]
    assert learned.dropped == ()
    assert [drop.name for drop in static.dropped] == ["ant"]


# -- the pick


def test_the_steadily_quick_one_is_picked_before_the_one_with_the_better_mean() -> None:
    quick = replace(TIMED, timed=200, median_ms=500.0)
    slow = replace(TIMED, timed=200, median_ms=3_000.0)
    choice = Selector(Table()).pick(
        [
            seen("quick", quick, Profile(samples=200, successes=200, timed=200, latency_ms=8e5)),
            seen("slow", slow, Profile(samples=200, successes=200, timed=200, latency_ms=6e5)),
        ],
        task=Task(name=SUMS),
        limits=NO_LIMITS,
        rule=None,
        situation=replace(HOUSE, weights=EVEN),
    )
    assert choice.alias == "quick"


def test_a_speed_that_changes_is_seen_at_once() -> None:
    for kept in (Selector(), Selector(Table())):
        limits = Limits(max_latency_ms=1000)
        whole = {"task": Task(name=SUMS), "limits": limits, "rule": None, "situation": HOUSE}
        two = [seen("ant"), seen("bee")]
        assert kept.pick(two, **whole).dropped == ()  # type: ignore[arg-type]
        two[0] = structs.replace(two[0], speed=TIMED)
        (drop,) = kept.pick(two, **whole).dropped  # type: ignore[arg-type]
        assert drop.reason == (
            "takes up to 60,000 ms in 9 of 10 answers (15 timed), the limit is 1,000 ms"
        )
