"""Hardware that stands idle while requests wait, noticed from what they cost. From values alone.

Nothing is changed: a suggestion names the setting and the evidence, and a person decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

import msgspec

from arbiter.knowledge.cost_sums import Spent

LEAST = 30
"""Answers of a version below which nothing is said of it."""

WAITED = 0.1
"""Waiting for a slot is noticed from this part of the time it was served."""

SPARE = 0.7
"""Hardware threads are spare where a model's process uses less than this part of them."""


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """What could be used better. setting: what to change; why: the evidence, as a sentence."""

    version: str
    setting: str
    why: str


def suggestions(spent: Iterable[Spent], *, slots: int, threads: int) -> tuple[Suggestion, ...]:
    """What requests and their costs suggest.

    slots: how many an instance serves at once. threads: the hardware threads that may be used.

    >>> one = Spent(version="v", task="t", alias="a", caller="c", day="d", is_success=True,
    ...             served_ms=100.0, slot_wait_ms=80.0, cpu_ms=50.0, concurrency=4.0)
    >>> suggestions([one] * 40, slots=4, threads=16)[0].setting
    'pool.slots'
    """
    groups: dict[str, list[Spent]] = {}
    for one in spent:
        if one.is_success and one.served_ms:
            groups.setdefault(one.version, []).append(one)
    found = (_of(version, group, slots, threads) for version, group in sorted(groups.items()))
    return tuple(one for one in found if one is not None)


def _of(version: str, group: Sequence[Spent], slots: int, threads: int) -> Suggestion | None:
    known = [
        (one.slot_wait_ms, one.served_ms, one.cpu_ms, one.concurrency)
        for one in group
        if one.slot_wait_ms is not None and one.cpu_ms is not None and one.concurrency is not None
    ]
    if len(known) < LEAST:
        return None
    waited = median(wait for wait, _, _, _ in known)
    served = median(served or 0.0 for _, served, _, _ in known)
    # what one request had of the process, times those who shared it: what the process used
    used = median((cpu or 0.0) / (took or 1.0) * (many or 1.0) for _, took, cpu, many in known)
    if waited < WAITED * served or used >= SPARE * threads:
        return None
    return Suggestion(
        version=version,
        setting="pool.slots",
        why=f"requests waited {waited:.0f} ms for one of {slots} slots (median of {len(known)}; "
        f"they were served in {served:.0f} ms), while its process used {used:.1f} of {threads} "
        f"hardware threads: more slots would use them, for more memory",
    )
