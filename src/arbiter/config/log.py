"""The section ``log``: what it writes of itself."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from arbiter.config.section import Section


class LogSettings(Section):
    """What `arbiter up` writes to its standard error."""

    format: Literal["text", "json"] = Field(
        "text", description="Lines for people, or one JSON object a line."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        "warning",
        description="The least that is written. From info on, every request and everything that "
        "happens to models has a line; prompts and keys never do.",
    )
