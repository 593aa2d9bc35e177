"""What goes on while nobody asks: looks, probes, graded cases, copies of requests."""

from __future__ import annotations

from dataclasses import dataclass

from arbiter.app.dispatch import Answering
from arbiter.app.ground import Ground
from arbiter.app.knowledge import Known
from arbiter.dispatch.dispatch import Dispatch
from arbiter.pool.keeping import Keeping
from arbiter.pool.pool import Pool
from arbiter.pool.probing import Probing
from arbiter.pool.watch import Watch
from arbiter.registry.registry import Registry
from arbiter.swap.calibrating import Around, Calibrating
from arbiter.swap.controller import Controller
from arbiter.swap.examining import Examining
from arbiter.swap.shadowing import Shadowing
from arbiter.swap.validation import Validator


@dataclass(frozen=True, slots=True, kw_only=True)
class Going:
    """Tasks of their own that run until the house closes."""

    keeping: Keeping
    watch: Watch
    probing: Probing
    calibrating: Calibrating
    shadowing: Shadowing


async def begin(
    ground: Ground,
    *,
    registry: Registry,
    known: Known,
    pool: Pool,
    controller: Controller,
    answering: Answering,
    validator: Validator,
) -> Going:
    """Build them and let each begin, in this order."""
    clock, announcer, presence = ground.clock, ground.announcer, ground.presence
    keeping = Keeping(registry=registry, pool=pool, clock=clock, announcer=announcer)
    keeping.open()
    watch = Watch(pool=pool, clock=clock, announcer=announcer, every_s=ground.settings.pool.look_s)
    watch.open()
    probing = Probing(
        pool=pool, presence=presence, clock=clock, announcer=announcer, on_battery=ground.on_battery
    )
    probing.open()
    calibrating = await _calibrating(
        ground,
        registry=registry,
        known=known,
        pool=pool,
        dispatch=answering.dispatch,
        validator=validator,
    )
    calibrating.open()
    shadowing = Shadowing(
        copies=answering.copies,
        answer=answering.dispatch,
        track=controller.track,
        registry=registry,
        pool=pool,
        presence=presence,
        grader=answering.grader,
        database=ground.database,
        clock=clock,
        announcer=announcer,
        crash=ground.crash,
    )
    shadowing.open()
    return Going(
        keeping=keeping, watch=watch, probing=probing, calibrating=calibrating, shadowing=shadowing
    )


async def _calibrating(
    ground: Ground,
    *,
    registry: Registry,
    known: Known,
    pool: Pool,
    dispatch: Dispatch,
    validator: Validator,
) -> Calibrating:
    clock, announcer = ground.clock, ground.announcer
    examining = Examining(
        registry=registry,
        tasks=known.tasks,
        learning=known.learning,
        validator=validator,
        database=ground.database,
        clock=clock,
        announcer=announcer,
        most=ground.most_in_idle_time,
    )
    await examining.load()
    return Calibrating(
        Around(
            registry=registry,
            tasks=known.tasks,
            pool=pool,
            profiles=known.profiles,
            validator=validator,
            presence=ground.presence,
            database=ground.database,
            clock=clock,
            announcer=announcer,
        ),
        settings=ground.settings.calibration,
        most=ground.most_in_idle_time,
        examining=examining,
        on_battery=ground.on_battery,
        capabilities=dispatch.capabilities,
    )
