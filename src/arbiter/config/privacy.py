"""The section ``privacy``: what it keeps."""

from __future__ import annotations

from pydantic import Field

from arbiter.config.section import Section


class PrivacySettings(Section):
    """What is kept of what people ask."""

    store_prompts: bool = Field(
        False, description="Whether to keep requests of tasks with their answers, to harvest."
    )
    most_prompts: int = Field(
        5_000, ge=1, description="Most requests to keep; the oldest are deleted first."
    )
    keep_days: float = Field(
        30.0, gt=0, le=3650, description="Delete kept requests after so many days."
    )
