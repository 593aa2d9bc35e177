"""The control API's addresses about rules, and whom `auto` would pick by them."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import Field

from arbiter.gateway import views
from arbiter.gateway.control_base import ControlBody, LimitsBody, Plain
from arbiter.gateway.control_rooms import ControlRooms
from arbiter.knowledge.rules import Rule
from arbiter.refs import ModelName, parse_name, parse_task


class AddRule(ControlBody):
    """Who serves a task: an alias to prefer or to take alone, and aliases never to take."""

    prefer: str | None = None
    only: str | None = None
    never: tuple[str, ...] = ()
    why: str = Field("", max_length=500)


class Select(LimitsBody):
    """Ask whom `auto` would pick."""

    task: str = "general"


def rules_router(rooms: ControlRooms) -> APIRouter:
    """The addresses."""
    router = APIRouter(tags=["rules and selection"])

    @router.get("/rules")
    async def list_rules() -> Plain:
        return {
            "rules": [views.rule_view(rule) for rule in rooms.rules.all()],
            "knowledge": rooms.knowledge(),
        }

    @router.put("/rules/{task:path}")
    async def add_rule(task: str, body: AddRule) -> Plain:
        def meant(alias: str) -> ModelName:
            return rooms.registry.meant(parse_name(alias, what="alias"))

        name = rooms.tasks.get(parse_task(task)).name
        before = rooms.rules.get(name)
        rule = await rooms.rules.add(
            Rule(
                task=name,
                prefer=None if body.prefer is None else meant(body.prefer),
                only=None if body.only is None else meant(body.only),
                never=tuple(meant(alias) for alias in body.never),
                why=body.why,
            )
        )
        replaced = None if before is None else views.rule_view(before)
        return {**views.rule_view(rule), "replaced": replaced}

    @router.delete("/rules/{task:path}")
    async def remove_rule(task: str) -> Plain:
        await rooms.rules.remove(parse_task(task))
        return {"removed": task}

    @router.post("/select")
    async def select(body: Select) -> Plain:
        task = rooms.tasks.get(parse_task(body.task))
        return views.choice_view(rooms.choose(task.name, body.limits()))

    return router
