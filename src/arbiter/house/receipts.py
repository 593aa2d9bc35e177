"""What an answer cost, put together."""

from __future__ import annotations

from arbiter.hardware.machine import usable_cores
from arbiter.house.rooms import HouseRooms
from arbiter.knowledge.receipt import Receipt, receipt_of


async def receipt_for(rooms: HouseRooms, decision: str) -> Receipt:
    """What an answer cost, each figure with how it was come by. Raises `UnknownDecision`.

    Energy and memory are known a moment after its end; until then `is_complete` is False.
    """
    record = await rooms.outcomes.find(decision)
    id_ = record.decided.decision
    return receipt_of(
        record,
        await rooms.costs.find(id_),
        tries=await rooms.costs.tries(id_),
        threads=usable_cores(),
        is_complete=record.outcome is not None and not rooms.costs.is_expected(id_),
    )
