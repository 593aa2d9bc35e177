"""The control API's addresses about rules, and whom `auto` would pick by them."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response
from pydantic import Field

from arbiter.errors import NotFound
from arbiter.gateway import views
from arbiter.gateway.control_base import ControlBody, LimitsBody, Plain
from arbiter.gateway.control_rooms import ControlRooms
from arbiter.gateway.etags import If, rule_tag
from arbiter.gateway.paging import Wanted
from arbiter.knowledge.rules import Rule
from arbiter.refs import ModelName, TaskName, parse_name, parse_task


class AddRule(ControlBody):
    """Who serves a task: an alias to prefer or to take alone, and aliases never to take."""

    prefer: str | None = Field(
        None, description="The alias or model to take if it can serve the task."
    )
    only: str | None = Field(None, description="The alias or model that alone may answer.")
    never: tuple[str, ...] = Field((), description="Aliases or models that are never to answer.")
    why: str = Field("", max_length=500, description="The reason, for the record.")


class Select(LimitsBody):
    """Ask whom `auto` would pick."""

    task: str = Field("general", description="The task.")


def rules_router(rooms: ControlRooms) -> APIRouter:
    """The addresses."""
    router = APIRouter(tags=["rules and selection"])
    rules = rooms.rules
    one_at_a_time = asyncio.Lock()  # from looking at a rule until it is changed

    def tag(task: TaskName) -> str | None:
        found = rules.get(task)
        return None if found is None else rule_tag(found)

    @router.get("/rules")
    async def list_rules(page: Wanted) -> Plain:
        """Every rule."""
        found, after = page.of(rules.all(), key=lambda rule: rule.task)
        return {
            "rules": [views.rule_view(rule) for rule in found],
            "knowledge": rooms.knowledge(),
            "next": after,
        }

    @router.get("/rules/{task:path}")
    async def show_rule(task: str, response: Response) -> Plain:
        """Who serves a task by rule."""
        found = rules.get(parse_task(task))
        if found is None:
            raise NotFound(f"No rule stands for task {task!r:.130}.", param="task")
        response.headers["etag"] = rule_tag(found)
        return views.rule_view(found)

    @router.put("/rules/{task:path}")
    async def add_rule(task: str, body: AddRule, still: If, response: Response) -> Plain:
        """Say who serves a task, whatever the scores say."""
        rule = _rule(task, body, rooms)
        async with one_at_a_time:
            before = rules.get(rule.task)
            still.check(tag(rule.task))
            await rules.add(rule)
        response.headers["etag"] = rule_tag(rule)
        replaced = None if before is None else views.rule_view(before)
        return {**views.rule_view(rule), "replaced": replaced}

    @router.delete("/rules/{task:path}")
    async def remove_rule(task: str, still: If) -> Plain:
        """Let the scores decide again."""
        async with one_at_a_time:
            still.check(tag(parse_task(task)))
            await rules.remove(parse_task(task))
        return {"removed": task}

    @router.post("/select")
    async def select(body: Select) -> Plain:
        """Whom `auto` would pick for a task now, and why; nobody is asked."""
        task = rooms.tasks.get(parse_task(body.task))
        return views.choice_view(rooms.choose(task.name, body.limits()))

    return router


def _rule(task: str, body: AddRule, rooms: ControlRooms) -> Rule:
    def meant(alias: str) -> ModelName:
        return rooms.registry.meant(parse_name(alias, what="alias"))

    return Rule(
        task=rooms.tasks.get(parse_task(task)).name,
        prefer=None if body.prefer is None else meant(body.prefer),
        only=None if body.only is None else meant(body.only),
        never=tuple(meant(alias) for alias in body.never),
        why=body.why,
    )
