"""Hard filters: a contender that cannot serve is dropped, with the reason.

What is unknown is not held against a contender; only evidence drops it. A limit on latency is one
that most answers keep to (9 of 10 by default), not their mean; a contender is dropped when so many
would not, with 95 %, however lucky or unlucky the timed ones were.
"""

from __future__ import annotations

from arbiter.inference import GPU, Limits
from arbiter.selection.belief import Belief
from arbiter.selection.contender import LEAST_SAMPLES, Seen, Situation
from arbiter.selection.room import too_small

MB = 1_000_000

ENOUGH_GRADED = 100
"""Grades at a task after which a learned quality below the threshold is no longer excused.

A version that is dropped is tried no more, so a floor must not be missed by luck. But one that
stays just below it would stay for ever, if only the interval counted.
"""


def _engine(seen: Seen, limits: Limits, situation: Situation) -> str | None:  # noqa: ARG001  # one shape for all filters
    return seen.contender.unavailable


def _capabilities(seen: Seen, limits: Limits, situation: Situation) -> str | None:  # noqa: ARG001  # one shape for all filters
    missing = sorted(limits.abilities - seen.contender.capabilities)
    return f"cannot do {', '.join(missing)}" if missing else None


def _accelerator(seen: Seen, limits: Limits, situation: Situation) -> str | None:
    """Of a need for an accelerator: there has to be one, and room in it for the whole model."""
    if GPU not in limits.needs:
        return None
    one, there = seen.contender, situation.accelerator_bytes
    if one.no_accelerator is not None or one.is_outside:
        return one.no_accelerator
    if one.memory_bytes is None or there is None or one.memory_bytes <= there:
        return None
    how = "needs" if one.memory_measured else "is estimated to need"
    need, room = one.memory_bytes / MB, there / MB
    return f"{how} {need:.0f} MB, the accelerators of this host have {room:.0f} MB"


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


def _room(seen: Seen, limits: Limits, situation: Situation) -> str | None:  # noqa: ARG001  # one shape for all filters
    return too_small(seen.contender.context, limits, seen.speed.chars_per_token)


def _latency(seen: Seen, limits: Limits, situation: Situation) -> str | None:  # noqa: ARG001  # one shape for all filters
    speed, limit = seen.speed, limits.max_latency_ms
    least, slow = speed.slow_least_ms, speed.slow_ms
    if limit is None or slow is None or least is None or speed.timed < LEAST_SAMPLES:
        return None
    if least > limit:
        return (
            f"takes up to {slow:,.0f} ms in {_share(speed.share)} answers ({speed.timed} timed), "
            f"the limit is {limit:,.0f} ms"
        )
    return None


def _share(share: float) -> str:
    """A share in words.

    >>> _share(0.9), _share(0.95)
    ('9 of 10', '95 of 100')
    """
    tenths = round(share * 10, 6)
    return f"{tenths:.0f} of 10" if tenths == int(tenths) else f"{share * 100:.0f} of 100"


def _quality(seen: Seen, limits: Limits) -> str | None:
    """By the static rule: the mean of ten grades decides."""
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


def _believed(belief: Belief, limits: Limits) -> str | None:
    """By what the learner believes, once it rests on grades of the version at this very task.

    Few grades drop it when even the upper end of the interval is below; many, when the mean is.
    """
    if limits.threshold is None or belief.samples < LEAST_SAMPLES:
        return None
    if belief.mean >= limits.threshold:
        return None
    low, high = belief.interval()
    if high < limits.threshold or belief.samples >= ENOUGH_GRADED:
        return (
            f"quality {belief.mean:.2f} (90 % credible {low:.2f} to {high:.2f}, "
            f"{belief.samples:.0f} graded) is below the threshold {limits.threshold:.2f}"
        )
    return None


FILTERS = (_engine, _capabilities, _accelerator, _memory, _room, _latency)


def drop_reason(
    seen: Seen, limits: Limits, situation: Situation, belief: Belief | None = None
) -> str | None:
    """Why this contender cannot serve, or None when it can.

    belief: of its quality at the task; None: the mean of its grades is taken.
    """
    for test in FILTERS:
        reason = test(seen, limits, situation)
        if reason is not None:
            return reason
    return _quality(seen, limits) if belief is None else _believed(belief, limits)
