"""How long replaced versions are kept yet, in seconds of an open house."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from arbiter.clock import Clock
from arbiter.refs import VersionId


class Kept:
    """A time that is left, and no date: a clock that is set changes nothing about it.

    Somebody above counts the seconds. is_retired: whether a version is replaced, and not in use
    again.
    """

    def __init__(self, clock: Clock, is_retired: Callable[[VersionId], bool]) -> None:
        self._clock = clock
        self._is_retired = is_retired
        self._left: dict[VersionId, float] = {}
        self._held: set[VersionId] = set()

    def clear(self) -> None:
        """Forget what is left of every version."""
        self._left.clear()

    def until(self, version: VersionId) -> datetime | None:
        """Until when a version is kept; None: it is in use again, or its time is over."""
        left = self._left.get(version, 0.0)
        if left <= 0.0 or not self._is_retired(version):
            return None
        return self._clock.now() + timedelta(seconds=left)

    def versions(self) -> tuple[VersionId, ...]:
        """Every version that is kept now, the one with the most time left first."""
        kept = [v for v in self._left if self.until(v) is not None]
        return tuple(sorted(kept, key=lambda version: (-self._left[version], version)))

    def keep(self, version: VersionId, left_s: float | None) -> None:
        """Keep a version for so many more seconds; None: no longer."""
        if left_s is None:
            self._left.pop(version, None)
            return
        self._left[version] = left_s
        if left_s > 0.0:
            self._held.add(version)

    def over(self) -> tuple[VersionId, ...]:
        """The replaced versions that were kept and no longer are; each is named once."""
        over = {version for version in self._held if self.until(version) is None}
        self._held -= over
        return tuple(sorted(v for v in over if self._is_retired(v)))

    def seconds_until(self, date: str) -> float:
        """How far off a date is, in seconds."""
        return (datetime.fromisoformat(date) - self._clock.now()).total_seconds()
