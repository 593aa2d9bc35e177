"""The plan of a new rollout: what the settings say, and what a request changes."""

from __future__ import annotations

from typing import Any

import pytest

from arbiter.config import RolloutSettings
from arbiter.errors import InvalidField
from arbiter.refs import TaskName
from arbiter.swap.metrics import LATENCY, RELIABILITY, Mode
from arbiter.swap.plan import CLOCK_STEPS, Plan, Schedule
from arbiter.swap.planning import plan_of

CHAT = TaskName("chat")


def plan(settings: dict[str, Any] | None = None, **changes: object) -> Plan:
    return plan_of(RolloutSettings.model_validate(settings or {}), [CHAT], changes)


def test_the_settings_as_they_come_are_the_default_plan() -> None:
    assert plan() == Plan(tasks=(CHAT,))
    assert (plan().reliability, plan().latency) == (RELIABILITY, LATENCY)


def test_a_change_that_is_none_changes_nothing() -> None:
    assert plan(soak_s=None, latency=None, schedule=None) == plan()


def test_the_clock_has_steps_of_its_own_unless_some_are_given() -> None:
    assert plan(schedule="clock").steps == CLOCK_STEPS
    assert plan({"schedule": "clock"}).schedule is Schedule.CLOCK
    assert plan({"schedule": "clock", "steps": [0.5, 0.8]}).steps == (0.5, 0.8)
    assert plan({"steps": [0.2, 0.3]}, schedule="clock").steps == CLOCK_STEPS
    assert plan(schedule="clock", steps=[0.5, 0.9]).steps == (0.5, 0.9)


def test_an_unproven_candidate_never_starts_above_the_first_step() -> None:
    assert plan(steps=[0.02, 0.5]).ladder == (0.02, 0.02, 0.5)
    assert plan({"steps": [0.02, 0.5]}).unproven_first_step == 0.02
    assert plan(steps=[0.2, 0.5]).unproven_first_step == 0.05
    assert plan(steps=[0.02, 0.5], unproven_first_step=0.01).unproven_first_step == 0.01


def test_a_budget_of_nothing_is_no_bound() -> None:
    assert plan(budget=0).budget is None
    assert plan({"budget": 0}).budget is None
    assert plan(budget=5).budget == 5


def test_a_request_may_make_a_metric_critical_and_keeps_its_numbers() -> None:
    found = plan({"latency_margin": 0.5, "latency_alpha": 0.02}, latency="critical")
    assert found.latency.mode is Mode.CRITICAL
    assert (found.latency.margin, found.latency.alpha_rollback) == (0.5, 0.02)
    table = plan(reliability={"mode": "critical", "margin": 0.1}).reliability
    assert (table.mode, table.margin, table.alpha_rollback) == (Mode.CRITICAL, 0.1, 0.01)


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": [0.9]},
        {"speed": 9},
        {"latency": "hope"},
        {"latency": {"speed": 9}},
        {"quality": "dry_run"},
        {"soak_s": -1.0},
        {"budget": -1.0},
    ],
)
def test_a_plan_that_does_not_hold_says_so(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidField, match="This plan does not hold"):
        plan(**changes)
