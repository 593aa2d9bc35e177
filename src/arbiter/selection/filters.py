"""Hard filters: a contender that cannot serve is dropped, with the reason.

What is unknown is not held against a contender; only evidence drops it.
"""

from __future__ import annotations

from arbiter.inference import Limits
from arbiter.selection.contender import LEAST_SAMPLES, Seen, Situation

MB = 1_000_000


def _engine(seen: Seen, limits: Limits, situation: Situation) -> str | None:  # noqa: ARG001  # one shape for all filters
    return seen.contender.unavailable


def _capabilities(seen: Seen, limits: Limits, situation: Situation) -> str | None:  # noqa: ARG001  # one shape for all filters
    missing = sorted(limits.needs - seen.contender.capabilities)
    return f"cannot do {', '.join(missing)}" if missing else None


def _memory(seen: Seen, limits: Limits, situation: Situation) -> str | None:
    need = seen.contender.memory_bytes
    if need is None:
        return None
    how = "needs" if seen.contender.memory_measured else "is estimated to need"
    if limits.max_memory_mb is not None and need > limits.max_memory_mb * MB:
        return f"{how} {need / MB:.0f} MB, the limit is {limits.max_memory_mb:.0f} MB"
    if situation.budget_bytes is not None and need > situation.budget_bytes:
        return f"{how} {need / MB:.0f} MB, the house has {situation.budget_bytes / MB:.0f} MB"
    return None


def _latency(seen: Seen, limits: Limits, situation: Situation) -> str | None:  # noqa: ARG001  # one shape for all filters
    profile = seen.profile
    mean = profile.mean_latency_ms
    if limits.max_latency_ms is None or mean is None or profile.timed < LEAST_SAMPLES:
        return None
    if mean > limits.max_latency_ms:
        return (
            f"takes {mean:.0f} ms on average ({profile.timed} samples), "
            f"the limit is {limits.max_latency_ms:.0f} ms"
        )
    return None


def _quality(seen: Seen, limits: Limits, situation: Situation) -> str | None:  # noqa: ARG001  # one shape for all filters
    profile = seen.profile
    mean = profile.mean_quality
    if limits.threshold is None or mean is None or profile.graded < LEAST_SAMPLES:
        return None
    if mean < limits.threshold:
        return (
            f"quality {mean:.2f} ({profile.graded:.0f} graded) is below the threshold "
            f"{limits.threshold:.2f}"
        )
    return None


FILTERS = (_engine, _capabilities, _memory, _latency, _quality)


def drop_reason(seen: Seen, limits: Limits, situation: Situation) -> str | None:
    """Why this contender cannot serve, or None when it can."""
    for test in FILTERS:
        reason = test(seen, limits, situation)
        if reason is not None:
            return reason
    return None
