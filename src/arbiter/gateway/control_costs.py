"""Receipts, what requests cost together, and the machine: their part of the control API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from msgspec import structs

from arbiter.clock import Clock
from arbiter.config import PoolSettings
from arbiter.cost import Figure
from arbiter.engines.base import Engine, ServerEngine
from arbiter.errors import UnknownDecision
from arbiter.gateway.control_base import Plain
from arbiter.gateway.security import Access, caller_of
from arbiter.hardware.machine import Snapshot, usable_cores
from arbiter.hardware.uses import could_use
from arbiter.knowledge.cost_sums import By, Total, is_cut, total, totals
from arbiter.knowledge.costs import MOST_ROWS, Costs
from arbiter.knowledge.outcome import Record
from arbiter.knowledge.receipt import Receipt, TryView
from arbiter.knowledge.spare import suggestions
from arbiter.metering.account import Sums
from arbiter.refs import ModelName, VersionId, parse_task
from arbiter.registry.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRooms:
    """What this part of the control API is handed."""

    costs: Costs
    registry: Registry
    clock: Clock
    record: Callable[[str], Awaitable[Record]]
    receipt: Callable[[str], Awaitable[Receipt]]
    hardware: Callable[[], Snapshot]
    energy: Callable[[], Mapping[str, Sums]]
    engines: Sequence[Engine]
    settings: Callable[[], PoolSettings]


def costs_router(rooms: CostRooms) -> APIRouter:
    """Its routes."""
    router = APIRouter(tags=["costs"])

    @router.get("/decisions/{decision}/receipt")
    async def receipt(decision: str, request: Request) -> Plain:
        """What an answer cost, each figure with its method. A key sees its own answers."""
        caller = caller_of(request.scope)
        is_admin = Access.ADMIN in caller.access
        if not is_admin and (await rooms.record(decision)).caller != caller.id:
            # not even whether there is such a decision is anybody else's business
            raise UnknownDecision(param="decision")
        names = rooms.registry.arms()
        return receipt_view(await rooms.receipt(decision), names, to_admin=is_admin)

    @router.get("/costs")
    async def costs(
        by: Literal["model", "task", "alias", "caller", "day"] = "model",
        days: Annotated[float | None, Query(gt=0, le=36_500)] = None,
        task: Annotated[str | None, Query(max_length=200)] = None,
    ) -> Plain:
        """What answers cost in sum, by model, task, alias, caller or day."""
        since = ""
        if days is not None:
            since = (rooms.clock.now() - timedelta(days=days)).isoformat()
        found = await rooms.costs.spent(since=since)
        only = None if task is None else parse_task(task)
        spent = [one for one in found if only is None or one.task == only]
        now = rooms.settings()
        names = {str(version): str(label) for version, label in rooms.registry.arms().items()}
        return {
            "by": by,
            "since": since or None,
            "groups": [total_view(one, names) for one in totals(spent, By(by))],
            "total": total_view(total("all", spent), {}),
            "task": only,
            "suggestions": [
                {"name": names.get(one.version, one.version), **structs.asdict(one)}
                for one in suggestions(
                    spent,
                    slots=now.slots,
                    server_slots=now.server_slots,
                    outside={
                        one.version
                        for one in rooms.registry.versions()
                        if one.artifact.identity is None
                    },
                    threads=usable_cores(),
                )
            ],
            "is_cut": is_cut(found, most=MOST_ROWS),
            "energy": {name: sums_view(sums) for name, sums in rooms.energy().items()},
        }

    @router.get("/hardware")
    def hardware() -> Plain:
        """What this machine is, what is in use of it, and what can be measured of it."""
        # no coroutine: it reads files and calls libraries, so it gets a thread of its own
        machine = rooms.hardware()
        return {**asdict(machine), "engines": [_engine(machine, one) for one in rooms.engines]}

    return router


def sums_view(sums: Sums) -> Plain:
    """Joules of a counter since the house opened, by where they went."""
    return {
        "grown_j": sums.grown,
        "attributed_j": sums.attributed,
        "idle_j": sums.idle,
        "resting_j": sums.resting,
        "unattributed_j": sums.unattributed,
        "gaps": sums.gaps,
    }


def figure_view(figure: Figure) -> Plain:
    """A figure with how it was come by."""
    return {
        "value": figure.value,
        "method": figure.method.value,
        "error_pct": figure.error_pct,
        "note": figure.note,
    }


def receipt_view(
    receipt: Receipt, names: Mapping[VersionId, ModelName] = {}, *, to_admin: bool = True
) -> Plain:
    """A receipt as plain JSON. names: what people call versions.

    to_admin: else processes and addresses of servers are left out.
    """
    if not to_admin:
        hidden = tuple(replace(one, place=None) for one in receipt.attempts)
        receipt = replace(receipt, attempts=hidden)
    view: Plain = {}
    for field in fields(receipt):
        view[field.name] = _plain(getattr(receipt, field.name))
    view["attempts"] = [_attempt(one, names) for one in receipt.attempts]
    return view


def _attempt(one: TryView, names: Mapping[VersionId, ModelName]) -> Plain:
    own = {field.name: _plain(getattr(one, field.name)) for field in fields(one)}
    return {"name": names.get(VersionId(one.version)), **own}


def _plain(value: object) -> object:
    if isinstance(value, Figure):
        return figure_view(value)
    return dict(value) if isinstance(value, Mapping) else value


def total_view(one: Total, names: Mapping[str, str]) -> Plain:
    """What a group cost together. name: what the group is called by people."""
    return {"name": names.get(one.key, one.key), **asdict(one)}


def _engine(machine: Snapshot, engine: Engine) -> Plain:
    found = engine.availability()
    return asdict(
        could_use(
            machine,
            engine=engine.name,
            available=found.available,
            why=found.reason,
            is_server=isinstance(engine, ServerEngine),
            computes="script" not in engine.formats,
        )
    )
