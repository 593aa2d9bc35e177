"""Reliability and latency of a rollout: what they prove, what they may decide, what they cost."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from random import Random

import pytest

from arbiter.inference import Arm
from arbiter.refs import TaskName
from arbiter.swap.analysis import Evidence, Rule, Unit, Verdict, verdict
from arbiter.swap.metrics import (
    LATENCY,
    MEASURED_FIRST,
    RELIABILITY,
    Ending,
    MetricEvidence,
    Metrics,
    Mode,
    judge,
)
from arbiter.swap.tripping import Failure

CHAT = TaskName("chat")
CRITICAL = {
    "reliability": replace(RELIABILITY, mode=Mode.CRITICAL),
    "latency": replace(LATENCY, mode=Mode.CRITICAL),
}


def metrics(*critical: str, quality: Mode = Mode.CRITICAL) -> Metrics:
    guards = {"reliability": RELIABILITY, "latency": LATENCY}
    return Metrics(quality=quality, **{**guards, **{name: CRITICAL[name] for name in critical}})


def seen(
    what: Metrics, *, fails: tuple[float, float] = (0.0, 0.0), slower: float = 1.0, n: int = 600
) -> Metrics:
    """So many conversations, half on either side: how often each fails, how much slower new is."""
    dice = Random(5)
    for _ in range(n):
        is_new = dice.random() < 0.5
        if dice.random() < fails[is_new]:
            what.update(Ending(failure=Failure.CRASH), is_new, 0.5)
            continue
        took = dice.lognormvariate(0.0, 0.5) * (slower if is_new else 1.0)
        what.update(Ending(latency_ms=1000.0 * took), is_new, 0.5)
    return what


def of(name: str, what: Metrics) -> MetricEvidence:
    return next(one for one in what.evidence if one.metric == name)


def grades(stable: float, candidate: float, *, n: int = 800) -> Evidence:
    dice, found = Random(9), Evidence(Rule(tasks=(CHAT,), judge_other=False))
    for _ in range(n):
        arm = Arm.CANDIDATE if dice.random() < 0.5 else Arm.STABLE
        right = dice.random() < (candidate if arm is Arm.CANDIDATE else stable)
        found.update(Unit(task=CHAT, arm=arm, probability=0.5, score=float(right)))
    return found


def test_nothing_seen_decides_nothing() -> None:
    for one in metrics().evidence:
        assert one.verdict is Verdict.INCONCLUSIVE
        assert (one.stable, one.candidate, one.e_worse, one.e_not_worse) == (None, None, 1.0, 1.0)


def test_a_candidate_that_fails_more_often_is_less_reliable() -> None:
    found = of("reliability", seen(metrics(), fails=(0.01, 0.12)))
    assert found.verdict is Verdict.WORSE
    assert "reliability is worse: 0.8" in found.sentence


def test_as_reliable_a_candidate_is_proved_so() -> None:
    assert of("reliability", seen(metrics(), n=1500)).verdict is Verdict.NOT_WORSE


def test_fewer_answers_within_the_margin_are_not_held_against_it() -> None:
    """The gate: less often at all is proved here, by more than the margin it is not."""
    found = of("reliability", seen(metrics(), fails=(0.0, 0.012), n=4000))
    assert found.e_worse <= 1.0


def test_a_candidate_that_takes_twice_as_long_is_slower() -> None:
    found = of("latency", seen(metrics(), slower=2.0))
    assert found.verdict is Verdict.WORSE
    assert found.candidate == pytest.approx(2.0 * (found.stable or 0.0), rel=0.2)


def test_as_quick_a_candidate_is_proved_so_and_one_within_the_margin_is_not_slower() -> None:
    assert of("latency", seen(metrics(), n=1500)).verdict is Verdict.NOT_WORSE
    assert of("latency", seen(metrics(), slower=1.15)).verdict is not Verdict.WORSE


def test_what_is_quick_is_fixed_by_stable_answers_that_count_for_nothing_else() -> None:
    what = metrics()
    for _ in range(MEASURED_FIRST):
        what.update(Ending(latency_ms=100.0), False, 0.5)
        what.update(Ending(latency_ms=900.0), True, 0.5)
    assert of("latency", what).n_stable == 0
    what.update(Ending(latency_ms=100.0), False, 0.5)
    assert of("latency", what).n_stable == 1


def test_a_time_limit_that_ran_out_counts_as_slow_and_any_other_failure_tells_no_speed() -> None:
    assert Ending(failure=Failure.TIMEOUT, latency_ms=5.0).seconds == inf
    assert Ending(failure=Failure.CRASH, latency_ms=5.0).seconds is None
    assert Ending().seconds is None
    what = seen(metrics(), n=200)
    for _ in range(60):
        what.update(Ending(failure=Failure.TIMEOUT), True, 0.5)
        what.update(Ending(latency_ms=1000.0), False, 0.5)
    assert of("latency", what).verdict is Verdict.WORSE


def test_answers_in_no_time_are_no_trouble() -> None:
    what = metrics()
    for _ in range(MEASURED_FIRST + 20):
        what.update(Ending(latency_ms=0.0), False, 0.5)
        what.update(Ending(latency_ms=0.0), True, 0.5)
    assert of("latency", what).n_candidate > 0


def test_a_metric_that_is_off_is_not_kept() -> None:
    off = replace(LATENCY, mode=Mode.OFF)
    kept = Metrics(reliability=RELIABILITY, latency=off).evidence
    assert [one.metric for one in kept] == ["reliability"]


def test_a_dry_run_shows_what_it_would_have_done_and_does_nothing() -> None:
    slow, fine = seen(metrics(), slower=3.0), grades(0.8, 0.95)
    assert of("latency", slow).verdict is Verdict.WORSE
    assert judge(fine, slow) == verdict(fine)
    assert judge(fine, slow).verdict is Verdict.NOT_WORSE


def test_one_critical_metric_is_enough_to_roll_back_and_says_which() -> None:
    found = judge(grades(0.8, 0.95), seen(metrics("latency"), slower=3.0))
    assert found.verdict is Verdict.WORSE
    assert found.reason.startswith("The candidate's latency is worse: ")


def test_a_promotion_takes_every_critical_metric() -> None:
    fine = grades(0.8, 0.95)
    waiting = judge(fine, metrics("latency", "reliability"))
    assert waiting.verdict is Verdict.INCONCLUSIVE
    assert "Its latency is not decided" in waiting.reason
    proved = judge(fine, seen(metrics("latency", "reliability"), n=1500))
    assert proved.verdict is Verdict.NOT_WORSE
    unsure = judge(grades(0.8, 0.8, n=40), seen(metrics("latency"), n=1500))
    assert unsure.verdict is Verdict.INCONCLUSIVE


def test_worse_by_grade_is_worse_however_quick_it_is() -> None:
    bad = grades(0.9, 0.4)
    assert judge(bad, seen(metrics("latency"), slower=0.5, n=1500)) == verdict(bad)


def test_doubt_at_a_critical_metric_is_doubt() -> None:
    what = metrics("reliability")
    for _ in range(6):
        what.update(Ending(), False, 0.5)
        what.update(Ending(failure=Failure.LOAD), True, 0.5)
    assert of("reliability", what).verdict is Verdict.INCONCLUSIVE
    assert judge(grades(0.8, 0.95), what).hold


def test_grades_may_be_a_dry_run_where_another_metric_decides() -> None:
    bad = grades(0.9, 0.4)
    found = judge(bad, seen(metrics("latency", quality=Mode.DRY_RUN), n=1500))
    assert found.verdict is Verdict.NOT_WORSE
    assert found.reason.startswith("Grades are a dry run: ")


def test_conversations_that_go_missing_forbid_every_promotion() -> None:
    lost = Evidence(Rule())
    for _ in range(60):
        lost.update(Unit(task=CHAT, arm=Arm.CANDIDATE, probability=0.5, score=1.0))
    found = judge(lost, seen(metrics("latency"), n=1500))
    assert found.verdict is Verdict.ERROR


@pytest.mark.parametrize(
    "wrong", [{"margin": 0.0}, {"margin": 1.5}, {"alpha_rollback": 0.0}, {"alpha_promote": 0.9}]
)
def test_a_guard_that_could_not_be_kept_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        replace(RELIABILITY, **wrong)  # type: ignore[arg-type]  # the table mixes kinds
