"""The section ``selection``: how it picks."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from arbiter.config.section import Section


class SelectionSettings(Section):
    """How `auto` picks."""

    strategy: Literal["learned", "static"] = Field(
        "learned",
        description="learned: by what is believed of every version, trying others within bounds. "
        "static: the highest mean score, 0.5 until ten samples.",
    )
    quality: float = Field(0.4, ge=0, description="Weight of graded quality.")
    latency: float = Field(0.3, ge=0, description="Weight of latency.")
    memory: float = Field(0.2, ge=0, description="Weight of memory.")
    reliability: float = Field(0.1, ge=0, description="Weight of reliability.")
    energy: float = Field(
        0.0, ge=0, description="Weight of the energy that a solved task takes, where it is counted."
    )
    limit_share: float = Field(
        0.9, ge=0.5, le=0.99, description="Share of answers that must keep to a latency limit."
    )
    guess_tasks: bool = Field(
        True, description="Whether `auto` guesses the task of a request that names none."
    )
    guess_confidence: float = Field(
        0.8, ge=0.5, le=1, description="How probable a task must be to be guessed."
    )

    @model_validator(mode="after")
    def _weigh(self) -> Self:
        if self.quality + self.latency + self.memory + self.reliability + self.energy <= 0:
            raise ValueError("one weight at least is above 0")
        return self
