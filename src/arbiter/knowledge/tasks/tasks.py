"""Every task of a house. The only writer of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from arbiter.clock import Clock
from arbiter.errors import InvalidField, StillInUse, UnknownTask
from arbiter.knowledge.families import line
from arbiter.knowledge.tasks.case import Case, parse_case
from arbiter.knowledge.tasks.inheriting import in_force, parents_of
from arbiter.knowledge.tasks.spec import task_from_spec
from arbiter.knowledge.tasks.task import Task, check_cases, no_check
from arbiter.refs import GENERAL, TaskName, parse_task
from arbiter.storage.database import Database, Statement


class Tasks:
    """Every task, in memory and in the database. The only writer of both."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._decided: dict[TaskName, Task] = {}
        self._in_force: dict[TaskName, Task] = {}
        self._parents: Mapping[TaskName, TaskName] = {}
        self._lines: dict[TaskName, tuple[TaskName, ...]] = {}
        self._general = Task(name=GENERAL)
        self.revision = 0
        """Another number whenever a task is, or is above, another one than before."""
        self.turn = asyncio.Lock()
        """Held from looking whether tasks fit each other until they are written."""

    async def load(self) -> None:
        """Read what is kept."""
        cases: dict[str, list[Case]] = {}
        for name, spec in await self._database.read("list_cases"):
            cases.setdefault(str(name), []).append(parse_case(json.loads(str(spec)), line=0))
        self._hold(
            task_from_spec(
                TaskName(str(name)), json.loads(str(spec)), tuple(cases.get(str(name), ()))
            )
            for name, spec in await self._database.read("list_tasks")
        )

    def get(self, name: TaskName) -> Task:
        """The task of this name as it counts: with what it takes from those above it.

        `general` always exists. Raises `UnknownTask`.
        """
        return self._one(name, self._in_force)

    def decided(self, name: TaskName) -> Task:
        """The task of this name as somebody added it. Raises `UnknownTask`."""
        return self._one(name, self._decided)

    def _one(self, name: TaskName, tasks: Mapping[TaskName, Task]) -> Task:
        task = tasks.get(name)
        if task is not None:
            return task
        if name == GENERAL:
            return self._general
        known = ", ".join(sorted(tasks)) or "none yet"
        raise UnknownTask(
            f"No task is called {name!r}.", hint=f"Known tasks: {known}.", param="task"
        )

    def grading(self, name: TaskName) -> str | None:
        """The digest of what grades a task now; None when nothing does, or no such task."""
        return self.gradings(name)[name]

    def gradings(self, *names: TaskName) -> dict[TaskName, str | None]:
        """The digest of what grades each of these tasks now; of every task when none is named."""
        found: dict[TaskName, str | None] = {}
        for name in names or self._in_force:
            task = self._in_force.get(name)
            found[name] = None if task is None or task.grading is None else task.grading.digest
        return found

    def all(self) -> tuple[Task, ...]:
        """Every task as somebody added it, by name: what the digest of knowledge covers."""
        return tuple(self._decided[name] for name in sorted(self._decided))

    def in_force(self) -> tuple[Task, ...]:
        """Every task as it counts, by name: what is run, graded and picked for."""
        return tuple(self._in_force[name] for name in sorted(self._in_force))

    def parents(self) -> Mapping[TaskName, TaskName]:
        """The parent of each task that has one. The same value until `revision` changes."""
        return self._parents

    def line(self, name: TaskName) -> tuple[TaskName, ...]:
        """A task and all that stands above it, the nearest first and `general` last."""
        found = self._lines.get(name)
        if found is None:
            above = line(name, self._parents)
            found = above if above[-1] == GENERAL else (*above, GENERAL)
            if name in self._in_force:
                self._lines[name] = found
        return found

    def family(self, name: TaskName) -> tuple[Task, ...]:
        """A task and everything below it as they count, itself first. Raises `UnknownTask`."""
        below = [
            t for t in self.in_force() if t.name != name and name in line(t.name, self._parents)
        ]
        return (self.get(name), *below)

    async def add(self, task: Task, *, check: Callable[[Task], None] = no_check) -> Task:
        """Keep a task, or replace the one of the same name. Durable when it returns.

        check: asked about every task that counts otherwise then. Raises `InvalidField`.
        """
        async with self.turn:
            self.check([task], check)
            await self._database.write(*self.writing(task))
            self.written(task)
        return task

    def check(self, news: Sequence[Task], check: Callable[[Task], None] = no_check) -> None:
        """Raise `InvalidField` when these tasks fit neither each other nor those that are there.

        Those below them take from them, so they are looked at too.
        """
        mine = {task.name for task in news}
        after = in_force({**self._decided, **{task.name: task for task in news}}.values())
        for name, task in after.items():
            if task == self._in_force.get(name):
                continue
            try:
                check_cases(task)
                check(task)
            except InvalidField as error:
                if name in mine:
                    raise
                raise InvalidField(
                    f"Task {name} is below it and would not fit any more: {error.sentence}",
                    param=error.param,
                ) from error

    def writing(self, task: Task) -> tuple[Statement, ...]:
        """What keeps a task that was checked, for a write that holds more; `written` follows."""
        parse_task(task.name)
        now = self._clock.now().isoformat()
        return (
            Statement(query="add_task", parameters=(task.name, json.dumps(task.spec()), now)),
            Statement(query="clear_cases", parameters=(task.name,)),
            *(
                Statement(
                    query="add_case", parameters=(task.name, position, json.dumps(case.to_plain()))
                )
                for position, case in enumerate(task.cases)
            ),
        )

    def written(self, *tasks: Task) -> None:
        """Hold what is durable now."""
        self._hold({**self._decided, **{task.name: task for task in tasks}}.values())

    def _hold(self, tasks: Iterable[Task]) -> None:
        """Hold these tasks and no others. A task that counts as before stays the same value."""
        self._decided = {task.name: task for task in tasks}
        before, after = self._in_force, in_force(self._decided.values())
        self._in_force = {
            name: before[name] if before.get(name) == task else task for name, task in after.items()
        }
        self._parents = MappingProxyType(parents_of(self._decided.values()))
        self._lines = {}
        self.revision += 1

    async def remove(self, name: TaskName) -> None:
        """Forget a task and its cases. What was measured stays.

        Raises `UnknownTask`, and `StillInUse` while other tasks are finer kinds of it.
        """
        async with self.turn:
            finer = sorted(one for one, above in self._parents.items() if above == name)
            if finer:
                raise StillInUse(
                    f"Task {name} is the parent of {', '.join(finer)}.",
                    hint="Remove those first, or add them again with another --parent or none.",
                )
            written = await self._database.write(
                Statement(query="remove_task", parameters=(name,), must_change=True)
            )
            if not written.applied:
                raise UnknownTask(f"No task is called {name!r}.")
            self._hold(task for task in self.all() if task.name != name)
