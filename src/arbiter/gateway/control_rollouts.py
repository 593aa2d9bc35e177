"""The control API's addresses that move a rollout: check, start, say, undo."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Response
from pydantic import Field

from arbiter.config import RolloutSettings
from arbiter.errors import InvalidField
from arbiter.gateway import views
from arbiter.gateway.control_base import WHO, ControlBody, Lines, Plain, Say, streamed, telling
from arbiter.gateway.control_rooms import ControlRooms
from arbiter.gateway.etags import If, alias_tag, rollout_tag
from arbiter.gateway.paging import Wanted
from arbiter.pool.instance import State
from arbiter.refs import ModelName, RolloutId, parse_name
from arbiter.swap.comparing import paired
from arbiter.swap.plan import Plan
from arbiter.swap.records import Stored


def _set(name: str) -> Any:  # noqa: ANN401  # as what it calls
    """A field in place of the setting of the same name."""
    return Field(None, description=RolloutSettings.model_fields[name].description)


class StartRollout(ControlBody):
    """Replace what an alias points at by a model, step by step. why: the reason, for the record."""

    alias: str = Field(description="The alias.")
    model: str = Field(description="The model that it is to point at.")
    why: str = Field("", max_length=500, description="The reason, for the record.")
    soak_s: float | None = _set("soak_s")
    steps: tuple[float, ...] | None = _set("steps")
    min_units: int | None = _set("min_units")
    alpha_rollback: float | None = _set("alpha_rollback")
    alpha_promote: float | None = _set("alpha_promote")
    margin: float | None = _set("margin")
    expiry_s: float | None = _set("expiry_s")
    keep_s: float | None = _set("keep_s")
    holdback: float | None = _set("holdback")
    alpha_drift: float | None = _set("alpha_drift")
    on_drift: Literal["undo", "ask"] | None = _set("on_drift")
    schedule: Literal["proved", "clock"] | None = _set("schedule")
    budget: float | None = _set("budget")
    over_budget: Literal["ask", "abort"] | None = _set("over_budget")
    judge_share: float | None = _set("judge_share")
    judge_within_s: float | None = _set("judge_within_s")
    shadow: float | None = _set("shadow")
    quality: Literal["critical", "dry_run"] | None = _set("quality")
    reliability: Literal["critical", "dry_run", "off"] | None = _set("reliability")
    latency: Literal["critical", "dry_run", "off"] | None = _set("latency")
    apart: Literal["no", "replay", "slices"] | None = Field(
        None,
        description="One model loaded at a time. replay: recorded cases decide; slices: they take "
        "turns, a window of time each.",
    )
    slice_s: float | None = _set("slice_s")


class Why(ControlBody):
    """The reason for what a person does to a rollout."""

    why: str = Field("", max_length=500, description="The reason, for the record.")


class SayRollout(Why):
    """What a person does to a rollout, and why. to: the step to take, for the verb step."""

    to: int | None = Field(None, ge=1, description="The step to take, for the verb step.")


def _meant(rooms: ControlRooms, body: StartRollout) -> tuple[ModelName, ModelName, Plan]:
    """The alias, the model and the plan of a rollout that somebody wants, or wants to check."""
    changes = body.model_dump(exclude={"alias", "model", "why"})
    if body.steps is not None:
        changes["steps"] = list(body.steps)
    alias, model = parse_name(body.alias, what="alias"), parse_name(body.model, what="model")
    return alias, model, rooms.plan(**changes)


def checking_router(rooms: ControlRooms) -> APIRouter:
    """The address that starts nothing."""
    router = APIRouter(tags=["rollouts"])

    @router.post("/check", response_class=Lines)
    async def check(body: StartRollout) -> Lines:
        """Compare a model with what an alias points at, before any traffic; nothing is replaced."""
        alias, model, plan = _meant(rooms, body)
        paired(rooms.registry, alias, model)  # refused before anything is run

        async def work(say: Say) -> Plain:
            report = await rooms.controller.check(
                alias, model, apart=plan.apart, progress=telling(say)
            )
            return views.check_view(report, plan)

        return streamed(work)

    return router


def rollouts_router(rooms: ControlRooms) -> APIRouter:
    """The addresses."""
    router = APIRouter(tags=["rollouts"])
    controller, registry = rooms.controller, rooms.registry

    def told(stored: Stored, response: Response) -> Plain:
        response.headers["etag"] = rollout_tag(stored.rollout)
        return views.stored_view(stored, registry)

    @router.get("/rollouts")
    async def list_rollouts(page: Wanted) -> Plain:
        """Every rollout."""
        read = await controller.list(before=page.after, limit=page.limit + 1)
        found, after = page.cut([*read], key=lambda one: one.rollout.id)
        return {"rollouts": [views.stored_view(one, registry) for one in found], "next": after}

    @router.post("/rollouts", status_code=201)
    async def start(body: StartRollout, response: Response) -> Plain:
        """Replace what an alias points at, step by step."""
        alias, model, plan = _meant(rooms, body)
        return told(await controller.start(alias, model, plan, who=WHO, why=body.why), response)

    @router.get("/rollouts/{rollout}")
    async def show(rollout: str, response: Response) -> Plain:
        """A rollout: its plan, its step, its evidence."""
        view = await controller.view(RolloutId(rollout))
        response.headers["etag"] = rollout_tag(view.stored.rollout)
        return views.rollout_view(view, registry)

    @router.post("/rollouts/{rollout}/{verb}")
    async def say(
        rollout: str,
        verb: Literal["pause", "resume", "step", "promote", "abort", "retry"],
        body: SayRollout,
        *,
        still: If,
        response: Response,
    ) -> Plain:
        """Pause, resume, step, promote, abort or retry a rollout."""
        if (verb == "step") is (body.to is None):
            raise InvalidField("The verb step takes `to`, the step to take.", param="to")
        verbs: dict[str, Callable[..., Awaitable[Stored]]] = {
            "pause": controller.pause,
            "resume": controller.resume,
            "promote": controller.promote,
            "abort": controller.abort,
            "retry": controller.retry,
            "step": partial(controller.step, to=body.to or 0),
        }
        stored = await verbs[verb](
            RolloutId(rollout),
            who=WHO,
            why=body.why,
            still=lambda found: still.check(rollout_tag(found)),
        )
        return told(stored, response)

    @router.post("/undo/{alias:path}")
    async def undo(alias: str, body: Annotated[Why, Body()], still: If) -> Plain:
        """Take back the latest rollout of an alias."""
        name = parse_name(alias, what="alias")
        found = next((one for one in registry.names() if one.name == name), None)
        still.check(None if found is None else alias_tag(found))
        stored = await controller.undo(name, who=WHO, why=body.why)
        state = rooms.pool.states().get(stored.rollout.stable)
        return {**views.stored_view(stored, registry), "loaded": state is State.READY}

    return router
