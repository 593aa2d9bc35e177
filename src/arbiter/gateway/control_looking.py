"""The control API's addresses to look at a rollout: in sentences, as a course, and repeated."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from fastapi import APIRouter
from msgspec import structs

from arbiter.gateway import views
from arbiter.gateway.control_base import Plain
from arbiter.ledger import Ledger
from arbiter.refs import RolloutId
from arbiter.registry.registry import Registry
from arbiter.storage.database import Database
from arbiter.swap.audit import Audit, audit, read_record
from arbiter.swap.controller import Controller
from arbiter.swap.course import course
from arbiter.swap.looking import RolloutView
from arbiter.swap.retrying import record_of
from arbiter.swap.telling import explain


def looking_router(
    *, controller: Controller, registry: Registry, database: Database, ledger: Ledger
) -> APIRouter:
    """The addresses."""
    router = APIRouter(tags=["rollouts"])

    @router.get("/rollouts/{rollout}/explain")
    async def in_sentences(rollout: str) -> Plain:
        """How a rollout stands and why, in sentences."""
        return explained_view(await controller.view(RolloutId(rollout)), registry)

    @router.get("/rollouts/{rollout}/verify")
    async def verify(rollout: str) -> Plain:
        """Compute a rollout's verdicts again from its record, and compare."""
        record = await read_record(RolloutId(rollout), database, ledger)
        return audit_view(rollout, await asyncio.to_thread(audit, record))

    @router.get("/rollouts/{rollout}/course")
    async def shown(rollout: str) -> Plain:
        """How the evidence of a rollout grew, point by point, for a picture."""
        view = await controller.view(RolloutId(rollout))
        record = await record_of(database, view.stored.rollout)
        points = await asyncio.to_thread(course, record.evidence, view.stored.rollout.plan)
        return {
            **explained_view(view, registry),
            "course": [asdict(point) for point in points],
        }

    return router


def explained_view(view: RolloutView, registry: Registry) -> Plain:
    """A rollout with everything about it in sentences."""
    told = explain(
        view.stored.rollout,
        view.judgement,
        tasks=view.tasks,
        log=view.log,
        interval=view.interval,
        agreement=view.agreement,
        turn=view.turn,
    )
    plain = asdict(told)
    if view.watch is not None:
        plain["now"] = (*told.now, *view.watch.in_words)
    return {**views.rollout_view(view, registry), "explained": plain}


def audit_view(rollout: str, found: Audit) -> Plain:
    """What became of repeating a rollout."""
    return {
        "rollout": rollout,
        "as_recorded": found.differs is None,
        "sentence": found.sentence,
        "differs": found.differs,
        "entries": found.entries,
        "units": found.units,
        "pairs": found.pairs,
        "later": found.later,
        "since": found.since,
        "judgement": structs.asdict(found.judgement),
    }
