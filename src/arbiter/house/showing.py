"""What is seen of an open house from outside."""

from __future__ import annotations

import os
from dataclasses import asdict

from arbiter.hardware.machine import Snapshot
from arbiter.house.rooms import HouseRooms
from arbiter.telemetry import Loaded, Watched


def readiness(rooms: HouseRooms) -> dict[str, object]:
    """What ``/readyz`` tells: ok, while requests are taken and none stands still in a queue."""
    return {
        "ok": rooms.dispatch.is_open and rooms.watch.is_well,
        "models": len(rooms.registry.names()),
    }


def watched_of(rooms: HouseRooms) -> Watched:
    """What can be seen of this house now, as ``/metrics`` shows it."""
    return Watched(
        requests=rooms.outcomes.tally,
        events=dict(rooms.announcer.counts),
        swaps=dict(rooms.announcer.swaps),
        instances=tuple(
            Loaded(
                version=one.version,
                number=one.number,
                engine=one.engine,
                state=one.state.value,
                in_flight=one.leases,
                waiting=one.waiting,
                loads=one.loads,
                reloads_avoided=one.reloads_avoided,
                predicted_bytes=one.predicted_bytes,
                measured_bytes=one.measured_bytes,
                probes=one.probes,
                is_slow=one.slow is not None,
            )
            for one in rooms.pool.views()
        ),
        rollouts=rooms.controller.going(),
        retried=rooms.pool.again.allowance().retried,
        retries_refused=rooms.pool.again.allowance().refused,
    )


def status_of(rooms: HouseRooms) -> dict[str, object]:
    """What a person is told first of the house: where it is, what it has, and who stands still."""
    return {
        "ok": True,
        "pid": os.getpid(),
        "data_dir": str(rooms.settings.data_dir),
        "versions": len(rooms.registry.versions()),
        "tasks": len(rooms.tasks.all()),
        "rollouts": sorted(rooms.controller.aliases()),
        "retries": asdict(rooms.pool.again.allowance()),
        "stuck": [{"version": one.version, "reason": one.reason} for one in rooms.watch.stuck],
    }


def machine_of(rooms: HouseRooms) -> Snapshot:
    """The machine as it is now, by what its meter reads."""
    return rooms.meter.hardware.snapshot(rooms.on_battery)
