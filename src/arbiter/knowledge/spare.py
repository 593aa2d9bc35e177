"""Hardware that stands idle while requests wait, noticed from what they cost. From values alone.

Nothing is changed: a suggestion names the setting and the evidence, and a person decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from statistics import median

import msgspec

from arbiter.knowledge.cost_sums import Spent

LEAST = 30
"""Answers of a version below which nothing is said of it."""

WAITED = 0.1
"""Waiting for a slot is noticed from this part of the time it was served."""

NOTICED_MS = 20.0
"""A shorter wait bothers nobody, whatever part of the answer's time it is."""

SPARE = 0.7
"""Hardware threads are spare where a model's process uses less than this part of them, and an
accelerator where it is busy with it for less than this part of the time."""


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """What could be used better. setting: what to change; why: the evidence, as a sentence."""

    version: str
    setting: str
    why: str


def suggestions(
    spent: Iterable[Spent],
    *,
    slots: int,
    threads: int,
    server_slots: int = 1,
    outside: Collection[str] = (),
) -> tuple[Suggestion, ...]:
    """What requests and their costs suggest.

    slots: how many an instance serves at once; server_slots: how many are sent to a version that
    another program runs, which are those of `outside`. threads: the hardware threads that may be
    used.

    >>> one = Spent(version="v", task="t", alias="a", caller="c", day="d", is_success=True,
    ...             served_ms=100.0, slot_wait_ms=80.0, cpu_ms=50.0, concurrency=4.0)
    >>> suggestions([one] * 40, slots=4, threads=16)[0].setting
    'pool.slots'
    """
    groups: dict[str, list[Spent]] = {}
    for one in spent:
        if one.is_success and one.served_ms:
            groups.setdefault(one.version, []).append(one)
    own, other = ("pool.slots", slots), ("pool.server_slots", server_slots)
    found = (
        _of(version, group, other if version in outside else own, threads)
        for version, group in sorted(groups.items())
    )
    return tuple(one for one in found if one is not None)


def _of(
    version: str, group: Sequence[Spent], slots: tuple[str, int], threads: int
) -> Suggestion | None:
    known = [
        one
        for one in group
        if one.slot_wait_ms is not None and one.cpu_ms is not None and one.concurrency is not None
    ]
    if len(known) < LEAST:
        return None
    waited = median(one.slot_wait_ms or 0.0 for one in known)
    served = median(one.served_ms or 0.0 for one in known)
    if waited < max(NOTICED_MS, WAITED * served):
        return None
    spare = _spare(known, threads)
    if spare is None:
        return None
    return Suggestion(
        version=version,
        setting=slots[0],
        why=f"requests waited {waited:.0f} ms for one of {slots[1]} slots (median of {len(known)}; "
        f"they were served in {served:.0f} ms), while {spare}: more slots would use them, in "
        "larger batches, for more memory",
    )


def _spare(known: Sequence[Spent], threads: int) -> str | None:
    """What stood idle meanwhile, in words; None: nothing that would help.

    A model that runs on an accelerator is held up by that one and not by idle hardware threads.
    """
    on_device = [one for one in known if one.gpu_ms]
    if len(on_device) * 2 > len(known):
        busy = median(_used(one.gpu_ms, one) for one in on_device)
        if busy >= SPARE:
            return None
        return f"it kept its accelerator busy for {busy:.0%} of that time"
    # what one request had of the process, times those who shared it: what the process used
    used = median(_used(one.cpu_ms, one) for one in known)
    if used >= SPARE * threads:
        return None
    return f"its process used {used:.1f} of {threads} hardware threads"


def _used(spent_ms: float | None, one: Spent) -> float:
    return (spent_ms or 0.0) / (one.served_ms or 1.0) * (one.concurrency or 1.0)
