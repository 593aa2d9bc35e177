"""The rooms that the control API needs."""

from __future__ import annotations

from arbiter.gateway.control_costs import CostRooms
from arbiter.gateway.control_rooms import ControlRooms
from arbiter.house.receipts import receipt_for
from arbiter.house.rooms import HouseRooms
from arbiter.house.showing import machine_of, status_of


def controls_of(rooms: HouseRooms) -> ControlRooms:
    """The rooms that the control API needs."""
    return ControlRooms(
        ledger=rooms.ledger,
        keyring=rooms.keyring,
        registry=rooms.registry,
        tasks=rooms.tasks,
        rules=rooms.rules,
        profiles=rooms.profiles,
        learning=rooms.learning,
        outcomes=rooms.outcomes,
        carrier=rooms.carrier,
        folder=rooms.settings.data_dir,
        pool=rooms.pool,
        reload=rooms.reloading.reload,
        clock=rooms.clock,
        controller=rooms.controller,
        admission=rooms.admission,
        adoption=rooms.adoption,
        scout=rooms.scout,
        pulling=rooms.pulling,
        calibrating=rooms.calibrating,
        prompts=rooms.prompts,
        harvesting=rooms.harvesting,
        choose=rooms.dispatch.choose,
        announcer=rooms.announcer,
        database=rooms.database,
        rollout=rooms.settings.rollout,
        status=lambda: status_of(rooms),
        costs=CostRooms(
            costs=rooms.costs,
            registry=rooms.registry,
            clock=rooms.clock,
            record=rooms.outcomes.find,
            receipt=lambda decision: receipt_for(rooms, decision),
            hardware=lambda: machine_of(rooms),
            energy=rooms.meter.sums,
            engines=rooms.pool.engines,
            settings=lambda: rooms.pool.settings,
        ),
    )
