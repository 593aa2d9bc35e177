"""What requests cost together: by model, task, alias, caller or day. From values alone.

Sums are as exact as the counters they come from, also where requests ran at the same time; a
single request's share is not, so what is told per token or per solved task is a quotient of sums,
over the requests of which both are known. Counted energy and estimated energy are never added.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from arbiter.cost import Method

COUNTED = frozenset({Method.MEASURED.value, Method.SHARED.value, Method.ENGINE.value})


class By(StrEnum):
    """What requests are put together by."""

    MODEL = "model"
    TASK = "task"
    ALIAS = "alias"
    CALLER = "caller"
    DAY = "day"


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What one request cost. None: not known.

    day: in UTC. served_ms: from its slot to its end. tokens_per_s: while it was written.
    slot_wait_ms: until it had its slot, without what a load took. concurrency: among how many it
    ran. is_try: it is no request but a try of one, which gave no answer.
    """

    version: str
    task: str
    alias: str
    caller: str
    day: str
    is_success: bool
    served_ms: float | None = None
    wait_ms: float | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int | None = None
    tokens_per_s: float | None = None
    cpu_ms: float | None = None
    gpu_ms: float | None = None
    energy_mwh: float | None = None
    energy_method: str | None = None
    peak_bytes: int | None = None
    grade: float | None = None
    slot_wait_ms: float | None = None
    concurrency: float | None = None
    is_try: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How a figure is spread over so many requests."""

    samples: int
    mean: float
    p50: float
    p95: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """What a group of requests cost together. None: known of none of them.

    tries: how often somebody tried in vain before another try answered, or none did; what those
    used is in the sums, at the version that used it.
    with_energy: of how many requests the energy was counted; estimated_mwh: what was estimated of
    others. wh_per_mtok: watt-hours for a million tokens written; mwh_per_solved: for each that was
    solved, by the grades.
    """

    key: str
    requests: int
    failed: int
    tries: int
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    cpu_s: float | None
    gpu_s: float | None
    energy_mwh: float | None
    with_energy: int
    estimated_mwh: float | None
    wh_per_mtok: float | None
    mwh_per_solved: float | None
    solved: float | None
    served_ms: Spread | None
    wait_ms: Spread | None
    tokens_per_s: Spread | None
    peak_bytes: Spread | None


def key_of(one: Spent, by: By) -> str:
    """The group that a request belongs to."""
    match by:
        case By.MODEL:
            return one.version
        case By.TASK:
            return one.task
        case By.ALIAS:
            return one.alias
        case By.CALLER:
            return one.caller
        case By.DAY:
            return one.day


def is_cut(spent: Sequence[Spent], *, most: int) -> bool:
    """Whether there may be more requests than these; tries in vain come on top of them.

    >>> one = Spent(version="v", task="t", alias="a", caller="c", day="d", is_success=True)
    >>> from msgspec import structs
    >>> is_cut([one], most=2), is_cut([one, structs.replace(one, is_try=True)], most=2)
    (False, False)
    >>> is_cut([one, one, structs.replace(one, is_try=True)], most=2)
    True
    """
    return sum(not one.is_try for one in spent) >= most


def totals(spent: Iterable[Spent], by: By) -> tuple[Total, ...]:
    """One total a group: days in their order, everything else by what was spent on it."""
    groups: dict[str, list[Spent]] = {}
    for one in spent:
        groups.setdefault(key_of(one, by), []).append(one)
    found = [total(key, group) for key, group in groups.items()]
    if by is By.DAY:
        return tuple(sorted(found, key=lambda one: one.key))
    return tuple(sorted(found, key=lambda one: (-(one.cpu_s or 0.0), one.key)))


def total(key: str, group: Sequence[Spent]) -> Total:
    """What these cost together."""
    counted = [one for one in group if one.energy_method in COUNTED]
    requests = [one for one in group if not one.is_try]
    graded = [one for one in requests if one.grade is not None]
    return Total(
        key=key,
        requests=len(requests),
        failed=sum(not one.is_success for one in requests),
        tries=len(group) - len(requests),
        tokens_in=sum(one.tokens_in or 0 for one in group),
        tokens_out=sum(one.tokens_out or 0 for one in group),
        tokens_cached=sum(one.tokens_cached or 0 for one in group),
        cpu_s=_sum(one.cpu_ms for one in group) if _any(group, "cpu_ms") else None,
        gpu_s=_sum(one.gpu_ms for one in group) if _any(group, "gpu_ms") else None,
        energy_mwh=sum(one.energy_mwh or 0.0 for one in counted) if counted else None,
        with_energy=sum(not one.is_try for one in counted),
        estimated_mwh=_estimated(group),
        wh_per_mtok=_quotient(
            [(one.energy_mwh, one.tokens_out) for one in counted], scale=1_000_000 / 1_000
        ),
        mwh_per_solved=_quotient([(one.energy_mwh, one.grade) for one in counted]),
        solved=sum(one.grade or 0.0 for one in graded) if graded else None,
        served_ms=spread([one.served_ms for one in group if one.is_success]),
        wait_ms=spread([one.wait_ms for one in group]),
        tokens_per_s=spread([one.tokens_per_s for one in group]),
        peak_bytes=spread([one.peak_bytes for one in group]),
    )


def spread(values: Iterable[float | None]) -> Spread | None:
    """Mean, median and 95th percentile of what is known: the smallest value that so many reach.

    >>> spread([3.0, None, 1.0, 2.0])
    Spread(samples=3, mean=2.0, p50=2.0, p95=3.0)
    """
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    count = len(known)
    return Spread(
        samples=count,
        mean=sum(known) / count,
        p50=known[-(-count * 50 // 100) - 1],
        p95=known[-(-count * 95 // 100) - 1],
    )


def _any(group: Sequence[Spent], field: str) -> bool:
    return any(getattr(one, field) is not None for one in group)


def _sum(milliseconds: Iterable[float | None]) -> float:
    return sum(value or 0.0 for value in milliseconds) / 1e3


def _estimated(group: Sequence[Spent]) -> float | None:
    found = [one.energy_mwh for one in group if one.energy_method == Method.ESTIMATED.value]
    return sum(value or 0.0 for value in found) if found else None


def _quotient(
    pairs: Sequence[tuple[float | None, float | None]], *, scale: float = 1.0
) -> float | None:
    """A sum over a sum, of those of whom both are known."""
    both = [(above, below) for above, below in pairs if above is not None and below is not None]
    below = sum(one for _, one in both)
    return scale * sum(one for one, _ in both) / below if below else None
