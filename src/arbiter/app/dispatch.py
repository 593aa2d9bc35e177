"""Who answers requests."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from arbiter.app.ground import Ground
from arbiter.app.knowledge import Known, build_guesser
from arbiter.dispatch.behind import Behind
from arbiter.dispatch.dispatch import Dispatch
from arbiter.judge.grading import TaskGrader
from arbiter.knowledge.guesser import Guesser
from arbiter.knowledge.tasks import Weights
from arbiter.pool.accelerators import accelerators_of
from arbiter.pool.pool import Pool
from arbiter.registry.registry import Registry
from arbiter.selection.contender import Situation
from arbiter.selection.selector import Selector
from arbiter.swap.controller import Controller
from arbiter.swap.shadowing import Copies


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """The journey of a request, and the parts of it that others need too."""

    grader: TaskGrader
    copies: Copies
    guesser: Guesser | None
    dispatch: Dispatch


async def build_dispatch(
    ground: Ground, *, registry: Registry, known: Known, pool: Pool, controller: Controller
) -> Answering:
    """Build it, on what was loaded."""
    settings, weights = ground.settings, ground.settings.selection
    accelerators = await asyncio.to_thread(accelerators_of, ground.hardware)
    grader, copies = TaskGrader(), Copies()
    guesser = await build_guesser(ground, known.tasks)
    dispatch = Dispatch(
        Behind(
            registry=registry,
            tasks=known.tasks,
            rules=known.rules,
            profiles=known.profiles,
            outcomes=known.outcomes,
            costs=known.costs,
            prompts=known.prompts,
            guesser=guesser,
            pool=pool,
            presence=ground.presence,
            controller=controller,
            copies=copies,
            learning=known.learning,
            selector=Selector(known.table if settings.selection.strategy == "learned" else None),
            situation=Situation(
                budget_bytes=pool.budget_bytes,
                weights=Weights(
                    quality=weights.quality,
                    latency=weights.latency,
                    memory=weights.memory,
                    reliability=weights.reliability,
                    energy=weights.energy,
                ),
                accelerator_bytes=accelerators.memory_bytes,
            ),
            accelerators=accelerators,
            grader=grader,
            clock=ground.clock,
            dice=ground.dice,
            traces=ground.traces,
        )
    )
    return Answering(grader=grader, copies=copies, guesser=guesser, dispatch=dispatch)
