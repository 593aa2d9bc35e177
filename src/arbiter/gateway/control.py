"""The control API: everything that a person may look at or change, under ``/control/v1``.

FastAPI is used here and nowhere on the request path. Errors have the same shape as at the other
doors. What takes long answers line by line (newline-delimited JSON) with its progress, and goes
on to its end even when nobody listens any more.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Body, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import Field
from starlette.exceptions import HTTPException

from arbiter.clock import Clock
from arbiter.config import RolloutSettings
from arbiter.errors import (
    ArbiterError,
    InvalidField,
    MethodNotAllowed,
    UnknownDecision,
    UnknownRoute,
)
from arbiter.events import Announcer
from arbiter.gateway import views
from arbiter.gateway.control_base import WHO, ControlBody, Plain, Say, streamed, telling
from arbiter.gateway.control_calibration import calibration_router
from arbiter.gateway.control_costs import CostRooms, costs_router
from arbiter.gateway.control_discovery import discovery_router
from arbiter.gateway.control_instances import instances_router
from arbiter.gateway.control_keys import keys_router
from arbiter.gateway.control_knowledge import knowledge_router
from arbiter.gateway.control_ledger import ledger_router
from arbiter.gateway.control_models import models_router
from arbiter.gateway.control_prompts import prompts_router
from arbiter.gateway.control_rollouts import looking_router
from arbiter.gateway.keyring import Keyring
from arbiter.gateway.rendering import error_body
from arbiter.gateway.security import Access, caller_of
from arbiter.inference import Limits
from arbiter.knowledge.carrier import Carrier
from arbiter.knowledge.learning import Learning
from arbiter.knowledge.outcome import Feedback
from arbiter.knowledge.outcomes import Outcomes
from arbiter.knowledge.profiles import Profiles
from arbiter.knowledge.prompts import Prompts
from arbiter.knowledge.rules import Rule, Rules, knowledge_digest
from arbiter.knowledge.tasks import Tasks, parse_cases, task_from_spec
from arbiter.ledger import Ledger
from arbiter.pool.instance import State
from arbiter.pool.pool import Pool
from arbiter.pool.reloading import Reloaded
from arbiter.refs import (
    GENERAL,
    DecisionId,
    ModelName,
    RolloutId,
    TaskName,
    parse_name,
    parse_task,
)
from arbiter.registry.registry import Registry
from arbiter.selection.contender import Choice
from arbiter.storage.database import Database
from arbiter.swap.admission import Admission
from arbiter.swap.adoption import Adoption
from arbiter.swap.calibrating import Calibrating
from arbiter.swap.comparing import paired
from arbiter.swap.controller import Controller
from arbiter.swap.harvest import Harvesting
from arbiter.swap.plan import Plan
from arbiter.swap.planning import plan_of
from arbiter.swap.pulling import Pulling
from arbiter.swap.records import Stored
from arbiter.swap.scouting import Scout


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRooms:
    """What the control API is handed."""

    ledger: Ledger
    keyring: Keyring
    registry: Registry
    tasks: Tasks
    rules: Rules
    profiles: Profiles
    learning: Learning
    outcomes: Outcomes
    carrier: Carrier
    folder: Path
    pool: Pool
    reload: Callable[[], Awaitable[Reloaded]]
    clock: Clock
    controller: Controller
    admission: Admission
    adoption: Adoption
    scout: Scout
    pulling: Pulling
    calibrating: Calibrating
    prompts: Prompts
    harvesting: Harvesting
    choose: Callable[[TaskName, Limits], Choice]
    announcer: Announcer
    database: Database
    rollout: RolloutSettings
    status: Callable[[], Plain]
    costs: CostRooms

    def plan(self, **changes: object) -> Plan:
        """The plan of a new rollout: the settings, what the request changes, today's tasks.

        Raises `InvalidField` when the numbers do not fit together.
        """
        graded = [task.name for task in self.tasks.in_force() if task.grading is not None]
        return plan_of(self.rollout, graded, changes)

    def knowledge(self) -> str:
        """The digest of every task and rule."""
        return knowledge_digest(self.tasks.all(), self.rules.all())


class SetAlias(ControlBody):
    """What an alias is to point at."""

    target: str


class LimitsBody(ControlBody):
    """Demands of a task or a request."""

    needs: tuple[str, ...] = ()
    threshold: float | None = Field(None, ge=0, le=1)
    max_latency_ms: float | None = Field(None, gt=0)
    max_memory_mb: float | None = Field(None, gt=0)

    def limits(self) -> Limits:
        """As the house's own value."""
        return Limits(
            needs=frozenset(self.needs),
            threshold=self.threshold,
            max_latency_ms=self.max_latency_ms,
            max_memory_mb=self.max_memory_mb,
        )


class GraderBody(ControlBody):
    """A grader by kind, with its options."""

    kind: str
    options: dict[str, object] = Field(default_factory=dict)


class AddTask(LimitsBody):
    """A task. parent: what it is a finer kind of. cases: JSON lines, one case a line."""

    parent: str | None = None
    grader: GraderBody | None = None
    cases: str = Field("", max_length=16 * 1024 * 1024)
    weights: dict[str, float] | None = None


class AddRule(ControlBody):
    """Who serves a task: an alias to prefer or to take alone, and aliases never to take."""

    prefer: str | None = None
    only: str | None = None
    never: tuple[str, ...] = ()
    why: str = Field("", max_length=500)


class GiveFeedback(ControlBody):
    """A judgement of an answer: 0 is bad, 1 is good."""

    score: float
    source: str = "person"
    kind: str = "quality"
    comment: str | None = None


class StartRollout(ControlBody):
    """Replace what an alias points at by a model, step by step."""

    alias: str
    model: str
    soak_s: float | None = None
    steps: tuple[float, ...] | None = None
    min_units: int | None = None
    alpha_rollback: float | None = None
    alpha_promote: float | None = None
    margin: float | None = None
    expiry_s: float | None = None
    keep_s: float | None = None
    holdback: float | None = None
    alpha_drift: float | None = None
    on_drift: Literal["undo", "ask"] | None = None
    schedule: Literal["proved", "clock"] | None = None
    budget: float | None = None
    over_budget: Literal["ask", "abort"] | None = None
    judge_share: float | None = None
    judge_within_s: float | None = None
    shadow: float | None = None
    quality: Literal["critical", "dry_run"] | None = None
    reliability: Literal["critical", "dry_run", "off"] | None = None
    latency: Literal["critical", "dry_run", "off"] | None = None
    apart: Literal["no", "replay", "slices"] | None = None
    slice_s: float | None = None


class Why(ControlBody):
    """The reason for what a person does to a rollout."""

    why: str = Field("", max_length=500)


class SayRollout(Why):
    """What a person does to a rollout, and why. to: the step to take, for the verb step."""

    to: int | None = Field(None, ge=1)


class Select(LimitsBody):
    """Ask whom `auto` would pick."""

    task: str = "general"


def control_app(rooms: ControlRooms) -> FastAPI:
    """The application to be mounted at ``/control``."""
    app = FastAPI(
        title="Arbiter control",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
    )
    for router in (
        discovery_router(rooms.scout, rooms.pulling, rooms.registry),
        calibration_router(rooms.calibrating),
        prompts_router(rooms.prompts, rooms.harvesting),
        costs_router(rooms.costs),
        models_router(
            registry=rooms.registry,
            admission=rooms.admission,
            adoption=rooms.adoption,
            pool=rooms.pool,
            learning=rooms.learning,
            examining=rooms.calibrating.examining,
        ),
        instances_router(pool=rooms.pool, registry=rooms.registry, clock=rooms.clock),
        ledger_router(rooms.ledger),
        keys_router(rooms.keyring),
        knowledge_router(
            carrier=rooms.carrier,
            profiles=rooms.profiles,
            registry=rooms.registry,
            admission=rooms.admission,
            folder=rooms.folder,
        ),
        _aliases(rooms),
        _tasks(rooms),
        _rules(rooms),
        _decisions(rooms),
        _checking(rooms),
        _rollouts(rooms),
        looking_router(
            controller=rooms.controller,
            registry=rooms.registry,
            database=rooms.database,
            ledger=rooms.ledger,
        ),
        _house(rooms),
    ):
        app.include_router(router, prefix="/v1")
    app.add_exception_handler(ArbiterError, _render)
    app.add_exception_handler(RequestValidationError, _render_invalid)
    app.add_exception_handler(HTTPException, _render_http)
    return app


def _answer(error: ArbiterError) -> Response:
    headers = {} if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)}
    return Response(
        error_body(error, to_admin=True),
        status_code=error.status,
        media_type="application/json",
        headers=headers,
    )


async def _render(request: Request, error: Exception) -> Response:  # noqa: ARG001  # the framework's shape
    if not isinstance(error, ArbiterError):
        raise error
    return _answer(error)


async def _render_invalid(request: Request, error: Exception) -> Response:  # noqa: ARG001  # the framework's shape
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"] if part not in {"body", "query", "path"})
    return _answer(InvalidField(f"{field or 'The body'}: {first['msg']}.", param=field or None))


async def _render_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 404:
        return _answer(UnknownRoute(f"There is nothing at {request.url.path}."))
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        return _answer(MethodNotAllowed(allowed=allowed.split(", ")))
    return JSONResponse(
        {"error": {"message": str(error.detail), "type": "invalid_request_error", "code": None}},
        status_code=error.status_code,
        headers=dict(error.headers or {}),
    )


def _aliases(rooms: ControlRooms) -> APIRouter:
    router = APIRouter(tags=["aliases"])
    registry = rooms.registry

    @router.get("/aliases")
    async def list_aliases() -> Plain:
        return {"aliases": [views.name_view(name, registry) for name in registry.names()]}

    @router.get("/aliases/{alias:path}/moves")
    async def list_moves(alias: str) -> Plain:
        moves = await registry.moves(parse_name(alias, what="alias"))
        return {"moves": [views.move_view(move) for move in moves]}

    @router.put("/aliases/{alias:path}")
    async def set_alias(alias: str, body: SetAlias) -> Plain:
        name = parse_name(alias, what="alias")
        await rooms.admission.set_alias(name, parse_name(body.target), who=WHO)
        found = next(one for one in registry.names() if one.name == name)
        return views.name_view(found, registry)

    return router


def _tasks(rooms: ControlRooms) -> APIRouter:
    router = APIRouter(tags=["tasks"])

    @router.get("/tasks")
    async def list_tasks() -> Plain:
        return {
            "tasks": [
                views.task_view(task, rooms.tasks.get(task.name)) for task in rooms.tasks.all()
            ],
            "knowledge": rooms.knowledge(),
        }

    @router.put("/tasks/{name:path}")
    async def add_task(name: str, body: AddTask) -> StreamingResponse:
        spec = body.model_dump(exclude={"cases", "needs"})
        given = task_from_spec(
            parse_task(name), {**spec, "needs": list(body.needs)}, parse_cases(body.cases)
        )
        task = await rooms.admission.add_task(given)

        async def work(say: Say) -> Plain:
            await rooms.admission.calibrate_task(task, progress=telling(say))
            return views.task_view(task, rooms.tasks.get(task.name))

        return streamed(work)

    @router.get("/tasks/{name:path}")
    async def show_task(name: str) -> Plain:
        task = rooms.tasks.decided(parse_task(name))
        speeds = rooms.profiles.speeds
        return {
            **views.task_view(task, rooms.tasks.get(task.name), cases=True),
            "profiles": {
                str(label): views.profile_view(
                    rooms.profiles.get(version, task.name),
                    speeds.overall(version)
                    if task.name == GENERAL
                    else speeds.measured(version, task.name),
                )
                for version, label in rooms.registry.arms().items()
            },
        }

    @router.delete("/tasks/{name:path}")
    async def remove_task(name: str) -> Plain:
        await rooms.admission.remove_task(parse_task(name))
        return {"removed": name}

    return router


def _rules(rooms: ControlRooms) -> APIRouter:
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


def _decisions(rooms: ControlRooms) -> APIRouter:
    router = APIRouter(tags=["decisions"])

    @router.get("/decisions/{decision}")
    async def why(decision: str) -> Plain:
        found = await rooms.outcomes.find(decision)
        examined = rooms.calibrating.examining.of(found.decided.version)
        return {
            **views.record_view(found),
            "examined": None if examined is None else examined.told,
        }

    @router.post("/decisions/{decision}/feedback")
    async def feedback(decision: str, body: GiveFeedback, request: Request) -> Plain:
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


def _meant(rooms: ControlRooms, body: StartRollout) -> tuple[ModelName, ModelName, Plan]:
    """The alias, the model and the plan of a rollout that somebody wants, or wants to check."""
    changes = body.model_dump(exclude={"alias", "model"})
    if body.steps is not None:
        changes["steps"] = list(body.steps)
    alias, model = parse_name(body.alias, what="alias"), parse_name(body.model, what="model")
    return alias, model, rooms.plan(**changes)


def _checking(rooms: ControlRooms) -> APIRouter:
    router = APIRouter(tags=["rollouts"])

    @router.post("/check")
    async def check(body: StartRollout) -> StreamingResponse:
        alias, model, plan = _meant(rooms, body)
        paired(rooms.registry, alias, model)  # refused before anything is run

        async def work(say: Say) -> Plain:
            report = await rooms.controller.check(
                alias, model, apart=plan.apart, progress=telling(say)
            )
            return views.check_view(report, plan)

        return streamed(work)

    return router


def _rollouts(rooms: ControlRooms) -> APIRouter:
    router = APIRouter(tags=["rollouts"])
    controller, registry = rooms.controller, rooms.registry

    @router.get("/rollouts")
    async def list_rollouts() -> Plain:
        return {"rollouts": [views.stored_view(s, registry) for s in await controller.list()]}

    @router.post("/rollouts", status_code=201)
    async def start(body: StartRollout) -> Plain:
        alias, model, plan = _meant(rooms, body)
        stored = await controller.start(alias, model, plan, who=WHO)
        return views.stored_view(stored, registry)

    @router.get("/rollouts/{rollout}")
    async def show(rollout: str) -> Plain:
        return views.rollout_view(await controller.view(RolloutId(rollout)), registry)

    @router.post("/rollouts/{rollout}/{verb}")
    async def say(
        rollout: str,
        verb: Literal["pause", "resume", "step", "promote", "abort", "retry"],
        body: SayRollout,
    ) -> Plain:
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
        stored = await verbs[verb](RolloutId(rollout), who=WHO, why=body.why)
        return views.stored_view(stored, registry)

    @router.post("/undo/{alias:path}")
    async def undo(alias: str, body: Annotated[Why, Body()]) -> Plain:
        stored = await controller.undo(parse_name(alias, what="alias"), who=WHO, why=body.why)
        state = rooms.pool.states().get(stored.rollout.stable)
        return {**views.stored_view(stored, registry), "loaded": state is State.READY}

    return router


def _house(rooms: ControlRooms) -> APIRouter:
    router = APIRouter(tags=["house"])

    @router.get("/status")
    async def status() -> Plain:
        await rooms.database.settle()
        ((count, failures, cpu, prompt, completion),) = await rooms.database.read("count_outcomes")
        return {
            **rooms.status(),
            "knowledge": rooms.knowledge(),
            "requests": {
                "ended": count,
                "failed": failures or 0,
                "cpu_ms": cpu,
                "prompt_tokens": prompt,
                "completion_tokens": completion,
            },
        }

    @router.post("/reload")
    async def reload() -> Plain:
        reloaded = await rooms.reload()
        return {
            "applied": list(reloaded.applied),
            "at_next_start": list(reloaded.at_next_start),
            "loaded_again": list(reloaded.loaded_again),
        }

    @router.get("/events")
    async def events(kinds: Annotated[str, Query(max_length=200)] = "") -> StreamingResponse:
        wanted = tuple(kind for kind in kinds.split(",") if kind)

        async def stream() -> AsyncIterator[bytes]:
            with rooms.announcer.listening() as listener:
                yield b": listening\n\n"
                async for event in listener.stream():
                    if not wanted or event.kind.startswith(wanted):
                        body = {"at": event.at.isoformat(), **event.detail}
                        yield f"event: {event.kind}\ndata: {json.dumps(body)}\n\n".encode()

        return StreamingResponse(stream(), media_type="text/event-stream")

    return router
