"""The control API's addresses about tasks: add, list, show, remove."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import Field

from arbiter.gateway import views
from arbiter.gateway.control_base import ControlBody, LimitsBody, Plain, Say, streamed, telling
from arbiter.gateway.control_rooms import ControlRooms
from arbiter.knowledge.tasks import parse_cases, task_from_spec
from arbiter.refs import GENERAL, parse_task


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


def tasks_router(rooms: ControlRooms) -> APIRouter:
    """The addresses."""
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
