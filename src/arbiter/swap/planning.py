"""The plan of a new rollout: the settings, what a request changes, today's tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from arbiter.config import RolloutSettings
from arbiter.errors import InvalidField
from arbiter.refs import TaskName
from arbiter.swap.metrics import Mode
from arbiter.swap.plan import CLOCK_STEPS, Apart, Plan, Schedule
from arbiter.swap.slices import FIRST_STEP, LEAST_WINDOWS, STEPS


def plan_of(
    settings: RolloutSettings, tasks: Iterable[TaskName], changes: Mapping[str, object]
) -> Plan:
    """The plan by the settings and what a request changes; what is None in it changes nothing.

    Of reliability and latency a request changes the mode alone, as text, or any field, as a table.

    Raises:
        InvalidField: the numbers do not fit together, or a name or a value is unknown.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    guards = {
        "reliability": (
            settings.reliability,
            settings.reliability_margin,
            settings.reliability_alpha,
        ),
        "latency": (settings.latency, settings.latency_margin, settings.latency_alpha),
    }
    plain: dict[str, object] = {
        "tasks": list(tasks),
        "schedule": settings.schedule,
        "soak_s": settings.soak_s,
        "min_units": settings.min_units,
        "alpha_rollback": settings.alpha_rollback,
        "alpha_promote": settings.alpha_promote,
        "margin": settings.margin,
        "expiry_s": settings.expiry_s,
        "keep_s": settings.keep_s,
        "holdback": settings.holdback,
        "alpha_drift": settings.alpha_drift,
        "on_drift": settings.on_drift,
        "budget": settings.budget,
        "over_budget": settings.over_budget,
        "judge_share": settings.judge_share,
        "judge_within_s": settings.judge_within_s,
        "shadow": settings.shadow,
        "quality": settings.quality,
        **given,
        **{
            name: _guard(mode, margin, alpha, given.get(name))
            for name, (mode, margin, alpha) in guards.items()
        },
    }
    if plain.get("apart") == Apart.SLICES.value:
        plain |= _in_windows(settings, given)
    if settings.steps is not None and plain["schedule"] == settings.schedule:
        plain.setdefault("steps", list(settings.steps))
    if plain["schedule"] == Schedule.CLOCK.value:
        plain.setdefault("steps", list(CLOCK_STEPS))
    steps = plain.get("steps")
    if isinstance(steps, list) and steps and isinstance(steps[0], float):
        # what is unproven never gets more than what has passed
        plain.setdefault("unproven_first_step", min(Plan().unproven_first_step, steps[0]))
    if not plain["budget"]:
        plain["budget"] = None
    try:
        return Plan.from_dict(plain)
    except (ValueError, msgspec.ValidationError) as error:
        raise InvalidField(f"This plan does not hold: {error}", param="plan") from error


def _in_windows(settings: RolloutSettings, given: Mapping[str, object]) -> dict[str, object]:
    """What the settings say of conversations does not fit windows; what a request says stays."""
    by_clock = given.get("schedule", settings.schedule) == Schedule.CLOCK.value
    usual: dict[str, object] = {
        "tasks": [],
        "slice_s": settings.slice_s,
        "steps": list(CLOCK_STEPS if by_clock else STEPS),
        "unproven_first_step": FIRST_STEP,
        "min_steps": 1,
        "min_units": LEAST_WINDOWS,
        "shadow": 0.0,
        "holdback": 0.0,
        "reliability": {"mode": Mode.OFF.value, "margin": settings.reliability_margin},
        "latency": {"mode": Mode.OFF.value, "margin": settings.latency_margin},
    }
    if "steps" in given:
        del usual["unproven_first_step"]
    return {name: value for name, value in usual.items() if name not in given}


def _guard(mode: str, margin: float, alpha: float, change: object) -> dict[str, object]:
    found: dict[str, object] = {"mode": mode, "margin": margin, "alpha_rollback": alpha}
    if change is None:
        return found
    return {**found, **(change if isinstance(change, Mapping) else {"mode": change})}
