"""The control API's addresses about a decision: why it was made, and how good its answer was."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import Field

from arbiter.errors import UnknownDecision
from arbiter.gateway import views
from arbiter.gateway.control_base import ControlBody, Plain
from arbiter.gateway.control_rooms import ControlRooms
from arbiter.gateway.security import Access, caller_of
from arbiter.knowledge.outcome import Feedback
from arbiter.refs import DecisionId


class GiveFeedback(ControlBody):
    """A judgement of an answer: 0 is bad, 1 is good."""

    score: float = Field(description="From 0, bad, to 1, good.")
    source: str = Field(
        "person", description="Who judges; how far each source is believed is learned."
    )
    kind: str = Field(
        "quality",
        description="What is judged; the latest of a kind by the same source counts.",
    )
    comment: str | None = Field(None, description="What to remember of it.")


def decisions_router(rooms: ControlRooms) -> APIRouter:
    """The addresses."""
    router = APIRouter(tags=["decisions"])

    @router.get("/decisions/{decision}")
    async def why(decision: str) -> Plain:
        """All that is known of a decision: who was asked, who else could be, how it ended."""
        found = await rooms.outcomes.find(decision)
        examined = rooms.calibrating.examining.of(found.decided.version)
        return {
            **views.record_view(found),
            "examined": None if examined is None else examined.told,
        }

    @router.post("/decisions/{decision}/feedback")
    async def feedback(decision: str, body: GiveFeedback, request: Request) -> Plain:
        """Judge an answer. A key that may not change things judges its own answers alone."""
        caller = caller_of(request.scope)
        if Access.ADMIN not in caller.access:
            record = await rooms.outcomes.find(decision)
            if record.caller != caller.id:
                # not even whether there is such a decision is anybody else's business
                raise UnknownDecision(param="decision")
        changed = await rooms.outcomes.give(
            Feedback(
                decision=DecisionId(decision),
                score=body.score,
                source=body.source,
                kind=body.kind,
                comment=body.comment,
                caller=caller.id,
            )
        )
        await rooms.controller.judged(DecisionId(decision))
        return {"decision": decision, "stored": True, "changed": changed}

    return router
