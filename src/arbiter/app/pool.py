"""Where models run, and who measures them."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from arbiter.app.ground import Ground
from arbiter.app.machine import budget, watts
from arbiter.metering.meter import Meter
from arbiter.metering.process import ProcessReader
from arbiter.pool.footprints import Machine
from arbiter.pool.pool import Pool
from arbiter.registry.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """The pool and its meter."""

    meter: Meter
    pool: Pool


def build_pool(ground: Ground, registry: Registry) -> Pooled:
    """Build them. Nothing is read, loaded or measured yet."""
    settings = ground.settings
    meter = Meter(
        ground.hardware, clock=ground.clock, reader=ProcessReader(), watts=watts(settings.metering)
    )
    pool = Pool(
        engines=ground.engines,
        settings=settings.pool,
        budget_bytes=budget(settings, ground.memory),
        database=ground.database,
        clock=ground.clock,
        announcer=ground.announcer,
        machine=Machine(name=platform.node(), meter=meter, memory=ground.memory),
        registry=registry,
        dice=ground.dice,
    )
    return Pooled(meter=meter, pool=pool)
