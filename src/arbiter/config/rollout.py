"""The section ``rollout``: how it replaces one."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from arbiter.addresses import parse_address
from arbiter.config.section import Section
from arbiter.errors import InvalidField


class RolloutSettings(Section):
    """How one version replaces another. Error rates are per rollout."""

    schedule: Literal["proved", "clock"] = Field(
        "proved", description="What takes the candidate to all of the traffic: proof, or time."
    )
    soak_s: float = Field(3600.0, ge=0, description="Least time on each step, seconds.")
    steps: tuple[float, ...] | None = Field(
        None,
        description="Shares of traffic for the candidate; by default 0.1 to 0.5, or to 0.9 with "
        "the schedule clock.",
    )
    min_units: int = Field(20, ge=1, description="Fewest new candidate units a step.")
    alpha_rollback: float = Field(
        0.05, gt=0, lt=0.5, description="Chance of ever rolling back a version that is not worse."
    )
    alpha_promote: float = Field(
        0.05, gt=0, lt=0.5, description="Chance of ever promoting one that is worse by the margin."
    )
    margin: float = Field(0.05, gt=0, lt=0.5, description="How much worse is worse.")
    expiry_s: float = Field(
        604800.0, gt=0, description="Ask after this long without a verdict; longer than soak_s."
    )
    keep_s: float = Field(
        604800.0, ge=0, description="Keep the old version this long, seconds of an open house."
    )
    holdback: float = Field(
        0.05, ge=0, le=0.5, description="Share of conversations that stay with it so long; 0: none."
    )
    alpha_drift: float = Field(
        0.0001,
        gt=0,
        lt=0.5,
        description="An alarm has no cause once in 1 / alpha_drift graded conversations or less.",
    )
    on_drift: Literal["undo", "ask"] = Field(
        "undo",
        description="When the new version became worse than the old: go back, or say so. Where "
        "judged answers are among the evidence, it only says so.",
    )
    budget: float = Field(
        100.0,
        ge=0,
        description="Bad answers more than the old version would have given; 0 is no bound.",
    )
    over_budget: Literal["ask", "abort"] = Field(
        "ask", description="When that many are spent: pause and ask, or go back."
    )
    judge_share: float = Field(
        0.0, ge=0, le=1, description="Share of conversations to be judged where no rule grades."
    )
    judge_within_s: float = Field(
        3600.0,
        gt=0,
        description="A judgement that has not come by then counts as 0; after a promotion it counts"
        " for nothing.",
    )
    shadow: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Share of conversations asked of both versions; one answers, and the other is "
        "asked when nobody waits.",
    )
    quality: Literal["critical", "dry_run"] = Field(
        "critical", description="Whether grades decide, or are only shown."
    )
    reliability: Literal["critical", "dry_run", "off"] = Field(
        "dry_run", description="Whether failures to answer decide, or are only shown."
    )
    reliability_margin: float = Field(
        0.02, gt=0, le=1, description="How much less often it may answer."
    )
    reliability_alpha: float = Field(
        0.01, gt=0, lt=0.5, description="Chance of ever rolling back one that fails no more often."
    )
    latency: Literal["critical", "dry_run", "off"] = Field(
        "dry_run", description="Whether latency decides, or is only shown."
    )
    latency_margin: float = Field(0.2, gt=0, le=1, description="How much longer it may take.")
    latency_alpha: float = Field(
        0.01, gt=0, lt=0.5, description="Chance of ever rolling back one that is no slower."
    )
    hooks: tuple[str, ...] = Field(
        (), description="Addresses that are told of every change, and asked before more traffic."
    )
    hook_timeout_s: float = Field(
        10.0, gt=0, le=600, description="A hook that has not answered by then blocks."
    )
    slice_s: float | None = Field(
        None,
        ge=1,
        description="With --apart slices, how long each window is, seconds; by default 15 minutes, "
        "or 20 times as long as a load.",
    )
    calibration_cases: int = Field(
        48, ge=10, description="Stored cases to run for each task when a version is registered."
    )

    @field_validator("steps")
    @classmethod
    def _rising(
        cls, value: tuple[float, ...] | None, info: ValidationInfo
    ) -> tuple[float, ...] | None:
        most = 0.99 if info.data.get("schedule") == "clock" else 0.5
        if value is None:
            return None
        inside = all(0.001 <= step <= most for step in value)
        if not value or not inside or any(later <= step for step, later in pairwise(value)):
            raise ValueError(
                f"steps are shares from 0.001 to {most}, each larger than the one before"
            )
        return value

    @field_validator("hooks")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            parts = urlsplit(url)
            if parts.scheme not in {"http", "https"} or parts.fragment or not url.isprintable():
                raise ValueError("a hook is a whole address, such as http://127.0.0.1:9000/arbiter")
            try:
                parse_address(f"{parts.scheme}://{parts.netloc}")
            except InvalidField as error:
                raise ValueError(error.message) from error
        return value

    @field_validator("expiry_s")
    @classmethod
    def _longer(cls, value: float, info: ValidationInfo) -> float:
        if value <= info.data.get("soak_s", 0.0):
            raise ValueError("expiry_s is longer than soak_s: a step has to fit in")
        return value
