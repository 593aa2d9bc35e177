"""The control API's address about graded cases in idle time: what is done, and what is left."""

from __future__ import annotations

from fastapi import APIRouter

from arbiter.gateway.control_base import Plain
from arbiter.refs import short
from arbiter.swap.calibrating import Calibrating, CalibrationView, Entry


def calibration_router(calibrating: Calibrating) -> APIRouter:
    """The address."""
    router = APIRouter(tags=["models"])

    @router.get("/calibration")
    async def calibration() -> Plain:
        """How far every version has come with the graded cases of every task."""
        return calibration_view(await calibrating.view())

    return router


def calibration_view(view: CalibrationView) -> Plain:
    """How far every version has come at every task."""
    return {
        "activity": view.activity.value,
        "why": view.why,
        "today": view.today,
        "per_day": view.per_day,
        "left": sum(entry.wish.left for entry in view.entries),
        "entries": [_entry_view(entry) for entry in view.entries],
    }


def _entry_view(entry: Entry) -> Plain:
    wish, standing = entry.wish, entry.wish.standing
    return {
        "model": entry.name,
        "version": standing.version,
        "short": short(standing.version),
        "task": standing.task,
        "stage": wish.stage.value,
        "done": standing.done,
        "upto": wish.upto,
        "cases": standing.cases,
        "left": wish.left,
        "why": wish.why,
        "waits": entry.waits,
    }
