"""From the ground to an open house: every room is built here once, and in this order."""

from __future__ import annotations

from arbiter.app.behind import begin
from arbiter.app.discovery import build_discovery
from arbiter.app.dispatch import build_dispatch
from arbiter.app.ground import Ground
from arbiter.app.knowledge import build_knowledge
from arbiter.app.machine import budget
from arbiter.app.pool import build_pool
from arbiter.app.registry import build_registry
from arbiter.app.swap import build_controller, build_hooks, build_validator
from arbiter.house import House
from arbiter.knowledge.carrier import Carrier
from arbiter.pool.reloading import Reloading
from arbiter.swap.admission import Admission, fits
from arbiter.swap.harvest import Harvesting


async def build(ground: Ground) -> House:
    """Build every room, load what is written, and let begin what goes on by itself."""
    written = await build_registry(ground)
    ledger, registry = written.ledger, written.registry
    known = build_knowledge(ground)
    pooled = build_pool(ground, registry)
    pool = pooled.pool
    for part in (
        ledger,
        registry,
        known.tasks,
        known.rules,
        known.profiles,
        known.learning,
        pool,
        known.costs,
    ):
        await part.load()
    controller = build_controller(ground, registry=registry, known=known, pool=pool)
    answering = await build_dispatch(
        ground, registry=registry, known=known, pool=pool, controller=controller
    )
    validator = build_validator(
        ground, registry=registry, known=known, pool=pool, dispatch=answering.dispatch
    )
    admission = Admission(
        registry=registry,
        tasks=known.tasks,
        rules=known.rules,
        learning=known.learning,
        validator=validator,
        controller=controller,
        guesser=answering.guesser,
    )
    finding = build_discovery(ground, registry=registry, pool=pool, controller=controller)
    answering.grader.prepare(known.tasks.in_force())
    await controller.open(validator, build_hooks(ground))
    going = await begin(
        ground,
        registry=registry,
        known=known,
        pool=pool,
        controller=controller,
        answering=answering,
        validator=validator,
    )
    await known.prompts.open()
    pooled.meter.open()
    return House(
        settings=ground.settings,
        clock=ground.clock,
        database=ground.database,
        ledger=ledger,
        keyring=written.keyring,
        registry=registry,
        tasks=known.tasks,
        rules=known.rules,
        profiles=known.profiles,
        learning=known.learning,
        outcomes=known.outcomes,
        costs=known.costs,
        meter=pooled.meter,
        on_battery=ground.on_battery,
        prompts=known.prompts,
        carrier=Carrier(
            database=ground.database,
            ledger=ledger,
            clock=ground.clock,
            dice=ground.dice,
            tasks=known.tasks,
            rules=known.rules,
            learning=known.learning,
            energies=known.costs.energies,
            fits=fits,
        ),
        guesser=answering.guesser,
        pool=pool,
        controller=controller,
        keeping=going.keeping,
        watch=going.watch,
        probing=going.probing,
        reloading=Reloading(
            ground.settings,
            reread=ground.reread,
            budget=lambda found: budget(found, ground.memory),
            pool=pool,
            announcer=ground.announcer,
            clock=ground.clock,
        ),
        calibrating=going.calibrating,
        shadowing=going.shadowing,
        admission=admission,
        intake=finding.intake,
        adoption=finding.adoption,
        harvesting=Harvesting(
            prompts=known.prompts,
            tasks=known.tasks,
            admission=admission,
            run_at_most=max(ground.most_in_idle_time, ground.settings.rollout.calibration_cases),
        ),
        scout=finding.scout,
        pulling=finding.pulling,
        dispatch=answering.dispatch,
        announcer=ground.announcer,
    )
