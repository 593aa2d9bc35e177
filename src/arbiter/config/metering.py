"""The section ``metering``: what it reads of the machine."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from arbiter.config.section import Section


class MeteringSettings(Section):
    """What is read of the machine for receipts."""

    rapl: Literal["package", "psys"] = Field(
        "package",
        description="Which of the processor's energy counts to take: its packages, or the whole "
        "board where that is counted.",
    )
    cpu_idle_w: float | None = Field(
        None, ge=0, description="What the processor takes at rest, watts; only for an estimate."
    )
    cpu_full_w: float | None = Field(
        None,
        gt=0,
        description="What it takes with every thread busy, watts; both given, energy that nothing "
        "counts is estimated.",
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.cpu_idle_w is None) != (self.cpu_full_w is None):
            raise ValueError("cpu_idle_w and cpu_full_w are given together")
        if (self.cpu_idle_w or 0.0) > (self.cpu_full_w or 0.0):
            raise ValueError("cpu_full_w is not less than cpu_idle_w")
        return self
