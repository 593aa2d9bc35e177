"""The control API's addresses about tasks: add, list, show, remove."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response
from pydantic import Field

from arbiter.gateway import views
from arbiter.gateway.control_base import (
    ControlBody,
    LimitsBody,
    Lines,
    Plain,
    Say,
    streamed,
    telling,
)
from arbiter.gateway.control_rooms import ControlRooms
from arbiter.gateway.etags import If, task_tag
from arbiter.gateway.paging import Wanted
from arbiter.knowledge.tasks import Task, parse_cases, task_from_spec
from arbiter.refs import GENERAL, TaskName, parse_task


class GraderBody(ControlBody):
    """A grader by kind, with its options."""

    kind: str = Field(
        description="exact, choice, contains, regex, number, json-schema or json-fields."
    )
    options: dict[str, object] = Field(
        default_factory=dict, description="What its kind takes, such as a tolerance for numbers."
    )


class AddTask(LimitsBody):
    """A task. parent: what it is a finer kind of. cases: JSON lines, one case a line."""

    parent: str | None = Field(None, description="The task that it is a finer kind of.")
    grader: GraderBody | None = Field(None, description="What grades an answer; cases need one.")
    cases: str = Field(
        "",
        max_length=16 * 1024 * 1024,
        description="Graded cases, as JSON, one object a line: prompt and expected.",
    )
    weights: dict[str, float] | None = Field(
        None,
        description="How much quality, latency, memory, reliability and energy count here.",
    )


def tasks_router(rooms: ControlRooms) -> APIRouter:
    """The addresses."""
    router = APIRouter(tags=["tasks"])
    tasks = rooms.tasks
    one_at_a_time = asyncio.Lock()  # from looking at a task until it is changed

    def tag(name: TaskName) -> str | None:
        return next((task_tag(task) for task in tasks.all() if task.name == name), None)

    @router.get("/tasks")
    async def list_tasks(page: Wanted) -> Plain:
        """Every task, with its demands."""
        found, after = page.of(tasks.all(), key=lambda task: task.name)
        return {
            "tasks": [views.task_view(task, tasks.get(task.name)) for task in found],
            "knowledge": rooms.knowledge(),
            "next": after,
        }

    @router.put("/tasks/{name:path}", response_class=Lines)
    async def add_task(name: str, body: AddTask, still: If) -> Lines:
        """Set a task with its graded cases, and run them with every model."""
        spec = body.model_dump(exclude={"cases", "needs"})
        given = task_from_spec(
            parse_task(name), {**spec, "needs": list(body.needs)}, parse_cases(body.cases)
        )
        async with one_at_a_time:
            still.check(tag(given.name))
            task = await rooms.admission.add_task(given)

        async def work(say: Say) -> Plain:
            await rooms.admission.calibrate_task(task, progress=telling(say))
            return views.task_view(task, tasks.get(task.name))

        return streamed(work, etag=task_tag(task))

    @router.get("/tasks/{name:path}")
    async def show_task(name: str, response: Response) -> Plain:
        """A task with its cases, and how every version does at it."""
        task = tasks.decided(parse_task(name))
        response.headers["etag"] = task_tag(task)
        return {
            **views.task_view(task, tasks.get(task.name), cases=True),
            "profiles": _profiles(task, rooms),
        }

    @router.delete("/tasks/{name:path}")
    async def remove_task(name: str, still: If) -> Plain:
        """Forget a task and its cases."""
        async with one_at_a_time:
            still.check(tag(parse_task(name)))
            await rooms.admission.remove_task(parse_task(name))
        return {"removed": name}

    return router


def _profiles(task: Task, rooms: ControlRooms) -> Plain:
    """How every version does at a task."""
    speeds = rooms.profiles.speeds
    return {
        str(label): views.profile_view(
            rooms.profiles.get(version, task.name),
            speeds.overall(version)
            if task.name == GENERAL
            else speeds.measured(version, task.name),
        )
        for version, label in rooms.registry.arms().items()
    }
