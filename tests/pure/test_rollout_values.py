"""Plans and rollouts that cannot be, and a plan that is written down."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf, nan

import pytest
from msgspec import structs
from tests.pure.rollouts import STABLE, fresh
from tests.pure.test_rollout_begins import SLICED

from arbiter.refs import TaskName
from arbiter.swap.metrics import Mode
from arbiter.swap.plan import Plan


def test_the_chances_of_critical_metrics_add_up() -> None:
    both = replace(
        Plan(),
        reliability=replace(Plan().reliability, mode=Mode.CRITICAL),
        latency=replace(Plan().latency, mode=Mode.CRITICAL),
    )
    assert both.alpha_any_rollback == pytest.approx(0.07)
    assert replace(both, quality=Mode.DRY_RUN).alpha_any_rollback == pytest.approx(0.02)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": []},
        {"steps": [0.2, 0.1]},
        {"steps": [0.1, 0.1]},
        {"steps": [0.0, 0.1]},
        {"steps": [0.1, 0.6]},
        {"steps": [0.1, "much"]},
        {"unproven_first_step": 0.2},
        {"soak_s": -1},
        {"soak_s": nan},
        {"keep_s": inf},
        {"expiry_s": 60},
        {"expiry_s": inf},
        {"min_units": 0},
        {"min_units": 2.5},
        {"min_steps": 0},
        {"min_steps": 6},
        {"margin": 0.9},
        {"tasks": ["chat", "chat"]},
        {"speed": 9},
        {"budget": 0},
        {"budget": inf},
        {"over_budget": "hope"},
        {"schedule": "hope"},
        {"schedule": "clock", "steps": [0.5, 1.0]},
        {"quality": "dry_run"},
        {"quality": "off", "latency": {"mode": "critical", "margin": 0.2}},
        {"latency": {"margin": 0.0}},
        {"latency": {"margin": 0.2, "alpha_rollback": 0.0}},
        {"latency": {"margin": 0.2, "speed": 9.0}},
    ],
)
def test_a_plan_that_could_not_be_kept_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w{3}"):
        Plan.from_dict(wrong)


def test_a_plan_survives_being_written_down() -> None:
    plan = Plan(tasks=(TaskName("chat"), TaskName("code")), steps=(0.1, 0.5), soak_s=60)
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again == plan
    assert again.digest == plan.digest


def test_every_field_of_a_plan_is_part_of_its_digest() -> None:
    other = {
        "tasks": ["chat"], "judge_other": False, "alpha_rollback": 0.01, "alpha_promote": 0.01,
        "margin": 0.1, "hold_at": 4.0, "min_task_units": 9, "trip_in_a_row": 4,
        "trip_failures": 6, "trip_window": 21, "schedule": "clock", "steps": [0.1],
        "unproven_first_step": 0.01, "soak_s": 1.0, "min_units": 21, "min_steps": 1,
        "expiry_s": 9e5, "keep_s": 1.0,
        "holdback": 0.1, "alpha_drift": 0.01, "on_drift": "ask",
        "budget": None, "over_budget": "abort",
        "judge_share": 0.1, "judge_within_s": 1.0, "shadow": 0.1,
        "quality": "dry_run", "reliability": {"mode": "off", "margin": 0.02},
        "latency": {"margin": 0.1}, "apart": "replay", "slice_s": 60.0,
    }  # fmt: skip
    assert list(other) == list(Plan().to_dict())
    del other["slice_s"]
    assert replace(SLICED, slice_s=60.0).digest != SLICED.digest
    base = {"min_steps": 2, "reliability": {"mode": "critical", "margin": 0.02}}
    other["steps"] = [0.1, 0.2]
    digests = {Plan.from_dict({**base, name: value}).digest for name, value in other.items()}
    assert len(digests) == len(other)


@pytest.mark.parametrize(
    "wrong",
    [
        {"candidate": STABLE},
        {"index": 6},
        {"index": -1},
        {"soaked_s": -1.0},
        {"total_s": nan},
        {"sliced_s": nan},
        {"units_at_step": -1},
    ],
)
def test_a_rollout_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        structs.replace(fresh(), **wrong)


def test_nothing_gets_traffic_before_validation() -> None:
    assert fresh().weight == 0.0
