"""The section ``calibration``: what it runs in idle time."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from arbiter.config.section import Section


class CalibrationSettings(Section):
    """Graded cases that are run in idle time."""

    enabled: bool = Field(True, description="Whether to run graded cases in idle time.")
    first_cases: int = Field(
        12, ge=10, description="Cases of each task that every version is run on first."
    )
    most_cases: int | None = Field(
        None,
        ge=10,
        description="Most cases of a task, where the pick is close; by default "
        "rollout.calibration_cases.",
    )
    idle_s: float = Field(
        30.0, ge=0, description="Begin when nobody was served for this long, seconds."
    )
    cases_per_day: int = Field(
        2_000, ge=0, description="Begin no case when so many were run in the last 24 hours."
    )
    on_battery: bool = Field(False, description="Whether to run them on battery too.")
    examine: bool = Field(
        True, description="Whether to run a version's cases again when it may have got worse."
    )

    @model_validator(mode="after")
    def _first_is_not_most(self) -> Self:
        if self.most_cases is not None and self.most_cases < self.first_cases:
            raise ValueError("most_cases is not smaller than first_cases")
        return self
