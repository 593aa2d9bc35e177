"""Which numbers a plan may have, to the edge, and what is said of those it may not."""

from __future__ import annotations

from math import inf, nan

import pytest

from arbiter.refs import TaskName
from arbiter.swap.plan import Plan

CRITICAL = {"mode": "critical", "margin": 0.02}
OFF = {"mode": "off", "margin": 0.02}
SLICES = {
    "apart": "slices", "shadow": 0.0, "holdback": 0.0, "reliability": OFF, "latency": OFF,
}  # fmt: skip

ALPHA = "An alpha is a chance of a wrong verdict; give one in (0, 0.5]."
SECONDS = "soak_s and keep_s are seconds, 0 or more."
EXPIRY = "expiry_s is longer than soak_s: a step has to fit in."
UNITS = "min_units is at least 1, and min_steps from 1 up to all steps."
JUDGED = "judge_share is a share from 0 to 1, judge_within_s seconds above 0."
BUDGET = "A budget is a number of bad answers, above 0."
HOLDBACK = "holdback is a share of conversations, from 0 to 0.5."
TRIPS = "The trip numbers are at least 1, and fit into trip_window."


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"soak_s": -0.1}, SECONDS),
        ({"soak_s": inf}, SECONDS),
        ({"keep_s": -0.1}, SECONDS),
        ({"keep_s": nan}, SECONDS),
        ({"soak_s": 60.0, "expiry_s": 60.0}, EXPIRY),
        ({"expiry_s": inf}, EXPIRY),
        ({"min_units": 0}, UNITS),
        ({"min_steps": 0}, UNITS),
        ({"min_steps": 3, "steps": [0.1, 0.2]}, UNITS),
        ({"quality": "dry_run"}, "One of quality, reliability and latency has to be critical."),
        (
            {"quality": "off", "latency": CRITICAL},
            "Quality is critical or a dry_run: grades are always looked at.",
        ),
        ({"judge_share": 1.1}, JUDGED),
        ({"judge_share": -0.1}, JUDGED),
        ({"judge_within_s": 0.0}, JUDGED),
        ({"judge_within_s": inf}, JUDGED),
        ({"budget": 0.0}, BUDGET),
        ({"budget": inf}, BUDGET),
        ({"holdback": 0.51}, HOLDBACK),
        ({"holdback": -0.01}, HOLDBACK),
        ({"alpha_drift": 0.0}, ALPHA),
        ({"alpha_drift": 0.51}, ALPHA),
        ({"alpha_rollback": 0.51}, ALPHA),
        ({"alpha_promote": 0.0}, ALPHA),
        ({"shadow": 1.1}, "shadow is a share of conversations from 0 to 1, not 1.1."),
        ({"slice_s": 0.5}, "slice_s is the seconds of a window, 1 or more."),
        ({"slice_s": 60.0}, "slice_s is for versions that take turns: apart is slices."),
        (
            {**SLICES, "shadow": 0.1},
            "In time slices only one version is loaded: no shadow, no holdback.",
        ),
        (
            {**SLICES, "holdback": 0.1},
            "In time slices only one version is loaded: no shadow, no holdback.",
        ),
        (
            {**SLICES, "latency": {"mode": "dry_run", "margin": 0.2}},
            "In time slices grades decide: reliability and latency are off.",
        ),
        (
            {**SLICES, "tasks": ["chat"]},
            "In time slices a unit is a window, of all tasks: none is declared.",
        ),
        ({"steps": []}, "Steps are shares from 0.001 to 0.5, not ()."),
        ({"steps": [0.1, 0.51]}, "Steps are shares from 0.001 to 0.5, not (0.1, 0.51)."),
        ({"steps": [0.0009, 0.1]}, "Steps are shares from 0.001 to 0.5, not (0.0009, 0.1)."),
        (
            {"schedule": "clock", "steps": [0.5, 1.0]},
            "Steps are shares from 0.001 to 0.99, not (0.5, 1.0).",
        ),
        (
            {"steps": [0.2, 0.2]},
            "Each step is larger than the one before; (0.2, 0.2) are not.",
        ),
        (
            {"unproven_first_step": 0.11},
            "unproven_first_step is from 0.001 up to the first of the steps.",
        ),
        (
            {"unproven_first_step": 0.0},
            "unproven_first_step is from 0.001 up to the first of the steps.",
        ),
        ({"margin": 0.51}, "The margin is 0.51; give one in (0, 0.5], such as 0.05."),
        ({"hold_at": 1.0}, "hold_at is 1.0; no evidence at all is 1, so give more."),
        ({"hold_at": inf}, "hold_at is inf; no evidence at all is 1, so give more."),
        ({"min_task_units": 0}, "min_task_units is at least 1: no data is never success."),
        ({"trip_in_a_row": 0}, TRIPS),
        ({"trip_failures": 0}, TRIPS),
        ({"trip_failures": 6, "trip_window": 5}, TRIPS),
    ],
)
def test_a_number_that_cannot_be_is_refused_with_what_can(
    wrong: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=r"^") as found:
        Plan.from_dict(wrong)
    assert str(found.value).startswith(sentence)


@pytest.mark.parametrize(
    "edge",
    [
        {"soak_s": 0.0, "keep_s": 0.0},
        {"min_units": 1, "min_steps": 1},
        {"min_steps": 2, "steps": [0.001, 0.5], "unproven_first_step": 0.001},
        {"unproven_first_step": 0.1},
        {"schedule": "clock", "steps": [0.5, 0.99]},
        {"judge_share": 1.0, "judge_within_s": 0.1},
        {"budget": 0.1},
        {"budget": None},
        {"holdback": 0.0, "shadow": 0.0},
        {"holdback": 0.5, "shadow": 1.0},
        {"alpha_drift": 0.5, "alpha_rollback": 0.5, "alpha_promote": 0.5, "margin": 0.5},
        {"quality": "dry_run", "reliability": CRITICAL},
        {**SLICES, "slice_s": 1.0},
        SLICES,
        {"min_task_units": 1, "trip_in_a_row": 1, "trip_failures": 1, "trip_window": 1},
    ],
)
def test_what_lies_on_the_edge_is_a_plan_and_survives_being_written_down(
    edge: dict[str, object],
) -> None:
    plan = Plan.from_dict(edge)
    assert Plan.from_dict(plan.to_dict()) == plan


@pytest.mark.parametrize("tasks", [("chat", "chat"), ("",)])
def test_tasks_are_declared_once_and_by_name(tasks: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="Tasks are declared once each, by name"):
        Plan(tasks=tuple(map(TaskName, tasks)))


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"speed": 9, "luck": 1}, "A plan has no speed, luck; it has tasks, judge_other"),
        ({"reliability": {**CRITICAL, "speed": 9}}, "reliability has no speed; it has mode, "),
        ({"latency": {**CRITICAL, "speed": 9}}, "latency has no speed; it has mode, margin"),
    ],
)
def test_a_name_that_nobody_knows_is_told_with_those_there_are(
    wrong: dict[str, object], what: str
) -> None:
    with pytest.raises(ValueError, match=r"^") as found:
        Plan.from_dict(wrong)
    assert str(found.value).startswith(what)


def test_the_chance_of_any_false_rollback_is_that_of_all_that_decide() -> None:
    guarded = {**CRITICAL, "alpha_rollback": 0.02}
    all_ = Plan.from_dict({"reliability": guarded, "latency": CRITICAL})
    assert all_.alpha_any_rollback == pytest.approx(0.05 + 0.02 + 0.01)
    others = Plan.from_dict({"quality": "dry_run", "latency": CRITICAL})
    assert others.alpha_any_rollback == 0.01
