"""The control API's addresses about kept requests: how many, made into cases, forgotten."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from arbiter.gateway.control_base import ControlBody, Plain
from arbiter.knowledge.prompts import Prompts
from arbiter.refs import parse_task
from arbiter.swap.harvest import Harvest, Harvesting


class HarvestBody(ControlBody):
    """Make cases of kept requests. decisions: only these. dry_run: show them, add none."""

    limit: int = Field(50, ge=1, le=2000, description="Most cases to make.")
    decisions: tuple[str, ...] = Field(
        (), max_length=2000, description="Only the requests of these decisions."
    )
    dry_run: bool = Field(False, description="Show them and add none.")


def prompts_router(prompts: Prompts, harvesting: Harvesting) -> APIRouter:
    """The addresses."""
    router = APIRouter(tags=["tasks"])

    @router.get("/prompts")
    async def show_prompts() -> Plain:
        """How many requests are kept, task by task, and for how long."""
        return {
            "stored": prompts.settings.store_prompts,
            "most": prompts.settings.most_prompts,
            "keep_days": prompts.settings.keep_days,
            "tasks": [
                {"task": one.task, "count": one.count, "oldest": one.oldest, "newest": one.newest}
                for one in await prompts.kept()
            ],
        }

    @router.delete("/prompts")
    async def forget_prompts(task: Annotated[str | None, Query(max_length=128)] = None) -> Plain:
        """Forget the kept requests of a task, or all of them."""
        return {"forgotten": await prompts.forget(None if task is None else parse_task(task))}

    @router.post("/tasks/{name:path}/harvest")
    async def harvest_task(name: str, body: HarvestBody) -> Plain:
        """Make graded cases of kept requests whose right answer is known."""
        done = await harvesting.harvest(
            parse_task(name), limit=body.limit, decisions=body.decisions, dry_run=body.dry_run
        )
        return harvest_view(done)

    return router


def harvest_view(done: Harvest) -> Plain:
    """What was gathered and what was left, with reasons."""
    return {
        "task": done.task,
        "added": len(done.taken) if done.is_added else 0,
        "taken": [
            {"decision": one.decision, "why": one.why, **one.case.to_plain()} for one in done.taken
        ],
        "left": [{"decision": one.decision, "why": one.why} for one in done.left],
        "cases": done.cases,
        "run_at_most": done.run_at_most,
        "before": done.before,
        "after": done.after,
    }
