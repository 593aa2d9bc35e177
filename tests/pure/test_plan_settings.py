"""Every setting of a rollout is in its plan, and what windows change of it."""

from __future__ import annotations

from typing import Any

import pytest

from arbiter.config import RolloutSettings
from arbiter.errors import InvalidField
from arbiter.refs import TaskName
from arbiter.swap.metrics import Guard, Mode
from arbiter.swap.plan import CLOCK_STEPS, Apart, OnDrift, Over, Plan, Schedule
from arbiter.swap.planning import plan_of
from arbiter.swap.slices import FIRST_STEP, LEAST_WINDOWS, STEPS

CHAT = TaskName("chat")

ALL_OTHERWISE: dict[str, Any] = {
    "schedule": "clock",
    "soak_s": 60.0,
    "steps": [0.15, 0.35],
    "min_units": 7,
    "alpha_rollback": 0.02,
    "alpha_promote": 0.03,
    "margin": 0.07,
    "expiry_s": 9_000.0,
    "keep_s": 8_000.0,
    "holdback": 0.11,
    "alpha_drift": 0.002,
    "on_drift": "ask",
    "budget": 12.0,
    "over_budget": "abort",
    "judge_share": 0.4,
    "judge_within_s": 90.0,
    "shadow": 0.6,
    "quality": "dry_run",
    "reliability": "critical",
    "reliability_margin": 0.04,
    "reliability_alpha": 0.03,
    "latency": "off",
    "latency_margin": 0.3,
    "latency_alpha": 0.04,
}


def plan(settings: dict[str, Any] | None = None, **changes: object) -> Plan:
    return plan_of(RolloutSettings.model_validate(settings or {}), [CHAT], changes)


def test_every_setting_is_in_the_plan() -> None:
    assert plan(ALL_OTHERWISE) == Plan(
        tasks=(CHAT,),
        schedule=Schedule.CLOCK,
        soak_s=60.0,
        steps=(0.15, 0.35),
        min_units=7,
        alpha_rollback=0.02,
        alpha_promote=0.03,
        margin=0.07,
        expiry_s=9_000.0,
        keep_s=8_000.0,
        holdback=0.11,
        alpha_drift=0.002,
        on_drift=OnDrift.ASK,
        budget=12.0,
        over_budget=Over.ABORT,
        judge_share=0.4,
        judge_within_s=90.0,
        shadow=0.6,
        quality=Mode.DRY_RUN,
        reliability=Guard(mode=Mode.CRITICAL, margin=0.04, alpha_rollback=0.03),
        latency=Guard(mode=Mode.OFF, margin=0.3, alpha_rollback=0.04),
    )


def test_each_of_them_is_another_one_than_usual() -> None:
    usual = RolloutSettings().model_dump()
    assert [name for name in ALL_OTHERWISE if usual[name] == ALL_OTHERWISE[name]] == []


def test_what_the_settings_say_of_conversations_does_not_fit_windows() -> None:
    found = plan({"reliability_margin": 0.04, "latency_margin": 0.3}, apart="slices")
    assert found == Plan(
        tasks=(),
        apart=Apart.SLICES,
        slice_s=RolloutSettings().slice_s,
        steps=STEPS,
        unproven_first_step=FIRST_STEP,
        min_steps=1,
        min_units=LEAST_WINDOWS,
        shadow=0.0,
        holdback=0.0,
        reliability=Guard(mode=Mode.OFF, margin=0.04),
        latency=Guard(mode=Mode.OFF, margin=0.3),
    )


def test_windows_by_the_clock_have_its_steps() -> None:
    found = plan(apart="slices", schedule="clock")
    assert (found.steps, found.of_windows) == (CLOCK_STEPS, True)
    assert plan({"schedule": "clock"}, apart="slices").steps == CLOCK_STEPS
    assert plan({"schedule": "clock"}, apart="slices", schedule="proved").steps == STEPS


def test_what_a_request_says_of_windows_stays() -> None:
    found = plan(apart="slices", slice_s=600.0, min_units=9, steps=[0.04, 0.5])
    assert (found.slice_s, found.min_units, found.steps) == (600.0, 9, (0.04, 0.5))
    # a step that is given bounds the one before it
    assert found.unproven_first_step == 0.04
    with pytest.raises(InvalidField, match="no shadow"):
        plan(apart="slices", shadow=0.5)


def test_the_settings_steps_are_those_of_their_schedule_only() -> None:
    settings = {"schedule": "proved", "steps": [0.2, 0.3]}
    assert plan(settings).steps == (0.2, 0.3)
    assert plan(settings, schedule="clock").steps == CLOCK_STEPS
    assert plan({"schedule": "clock", "steps": [0.2, 0.9]}, schedule="proved").steps == Plan().steps


def test_a_plan_that_does_not_hold_names_what_is_wrong() -> None:
    with pytest.raises(InvalidField, match="This plan does not hold") as found:
        plan(soak_s=9e9)
    assert found.value.param == "plan"
    assert "expiry_s is longer than soak_s" in str(found.value)
