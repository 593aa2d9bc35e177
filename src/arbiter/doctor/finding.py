"""One thing that was looked at, how bad it is, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. mend: a command, or what to do; None when all is well."""

    about: str
    state: State
    sentence: str
    mend: str | None = None
