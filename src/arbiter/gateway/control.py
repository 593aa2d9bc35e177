"""The control API: everything that a person may look at or change, under ``/control/v1``.

FastAPI is used here and nowhere on the request path. Errors have the same shape as at the other
doors. What takes long answers line by line (newline-delimited JSON) with its progress, and goes
on to its end even when nobody listens any more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from arbiter.errors import (
    ArbiterError,
    InvalidField,
    MethodNotAllowed,
    UnknownRoute,
)
from arbiter.gateway.control_aliases import aliases_router
from arbiter.gateway.control_calibration import calibration_router
from arbiter.gateway.control_costs import costs_router
from arbiter.gateway.control_decisions import decisions_router
from arbiter.gateway.control_description import describing
from arbiter.gateway.control_discovery import discovery_router
from arbiter.gateway.control_events import events_router
from arbiter.gateway.control_house import house_router
from arbiter.gateway.control_instances import instances_router
from arbiter.gateway.control_keys import keys_router
from arbiter.gateway.control_knowledge import knowledge_router
from arbiter.gateway.control_ledger import ledger_router
from arbiter.gateway.control_looking import looking_router
from arbiter.gateway.control_models import models_router
from arbiter.gateway.control_page import ADDRESS, showing
from arbiter.gateway.control_prompts import prompts_router
from arbiter.gateway.control_rollouts import checking_router, rollouts_router
from arbiter.gateway.control_rooms import ControlRooms
from arbiter.gateway.control_rules import rules_router
from arbiter.gateway.control_tasks import tasks_router
from arbiter.gateway.rendering import error_body

_OURS: Final = {"ours": True, "decision": None}


def control_app(rooms: ControlRooms) -> FastAPI:
    """The application to be mounted at ``/control``."""
    app = FastAPI(
        title="Arbiter control",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        description="Everything that a person may look at or change. The command line uses it.",
    )
    describe = describing(app)
    app.add_route(ADDRESS, showing(describe), include_in_schema=False)
    app.openapi = describe  # type: ignore[method-assign]  # as the framework's docs have it
    routers = (
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
        aliases_router(rooms),
        tasks_router(rooms),
        rules_router(rooms),
        decisions_router(rooms),
        checking_router(rooms),
        rollouts_router(rooms),
        looking_router(
            controller=rooms.controller,
            registry=rooms.registry,
            database=rooms.database,
            ledger=rooms.ledger,
        ),
        house_router(rooms),
        events_router(rooms.announcer),
    )
    for router in routers:
        app.include_router(router, prefix="/v1")
    app.add_exception_handler(ArbiterError, _render)
    app.add_exception_handler(RequestValidationError, _render_invalid)
    app.add_exception_handler(HTTPException, _rendering(routers))
    return app


def _answer(error: ArbiterError) -> Response:
    headers = {} if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)}
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = error.allowed
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
    # the first part says where it stands: in the body, the query or the address
    field = ".".join(map(str, first["loc"][1:]))
    return _answer(InvalidField(f"{field or 'The body'}: {first['msg']}.", param=field or None))


def _rendering(
    routers: Sequence[APIRouter],
) -> Callable[[Request, Exception], Awaitable[Response]]:
    """What tells of the framework's own refusals.

    It names one route's methods where several share an address, so they are put together here.
    """
    routes = [r for router in routers for r in router.routes if isinstance(r, APIRoute)]

    async def render(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        path = str(request.scope["path"])
        if error.status_code == 404:
            hint = "/control/v1/docs shows what there is."
            return _answer(UnknownRoute(f"There is nothing at {path!r:.120}.", hint=hint))
        if error.status_code == 405:
            inner = path.removeprefix("/control").removeprefix("/v1")
            there = [r.methods or set() for r in routes if r.path_regex.match(inner)]
            return _answer(MethodNotAllowed(allowed=frozenset().union(*there)))
        detail = {"message": str(error.detail), "type": "invalid_request_error"}
        return JSONResponse(
            {"error": {**detail, "param": None, "code": None}, "arbiter": _OURS},
            status_code=error.status_code,
            headers=dict(error.headers or {}),
        )

    return render
