"""A check of the meter: what it was compared with, how far it was off, and what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class CheckState(StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105  # no password
    FAIL = "fail"
    NOT_VERIFIED = "not verified"
    """What it needs is not here. Never counted as passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One of them. id: by which the documents name it. why: what was compared, or what is missing.

    error_pct: None when it could not be run.
    """

    id: str
    title: str
    error_pct: float | None
    limit_pct: float
    state: CheckState
    why: str


def judged(id_: str, title: str, *, error_pct: float, limit_pct: float, why: str) -> Check:
    """A check that was run.

    >>> judged("V0", "x", error_pct=0.4, limit_pct=5.0, why="").state.value
    'pass'
    """
    state = CheckState.PASS if error_pct <= limit_pct else CheckState.FAIL
    return Check(
        id=id_, title=title, error_pct=error_pct, limit_pct=limit_pct, state=state, why=why
    )


def not_verified(id_: str, title: str, *, limit_pct: float, why: str) -> Check:
    """A check that could not be run here."""
    return Check(
        id=id_,
        title=title,
        error_pct=None,
        limit_pct=limit_pct,
        state=CheckState.NOT_VERIFIED,
        why=why,
    )


def off_pct(seen: float, truth: float) -> float:
    """How far off a figure is.

    >>> off_pct(95.0, 100.0)
    5.0
    """
    return 100.0 * abs(seen - truth) / truth


def failed(checks: Sequence[Check]) -> tuple[Check, ...]:
    """Those that failed."""
    return tuple(check for check in checks if check.state is CheckState.FAIL)
