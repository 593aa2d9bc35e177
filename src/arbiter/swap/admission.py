"""Taking in a model or a task: examined, written down, and run on graded cases.

A version's first samples at every task come from here, before any request depends on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from arbiter.errors import InvalidField, StillInUse
from arbiter.judge.graders import check_expected, parse_grader
from arbiter.knowledge.guesser import Guesser
from arbiter.knowledge.learning import Learning
from arbiter.knowledge.rules import Rules
from arbiter.knowledge.tasks import Grading, Task, Tasks
from arbiter.refs import ModelName, TaskName, parse_name
from arbiter.registry.artifact import examine
from arbiter.registry.provenance import Claim
from arbiter.registry.registry import Registry, Standing, Version
from arbiter.swap.controller import Controller
from arbiter.swap.validation import Progress, Validator, no_progress


class Admission:
    """Registers models and tasks, and keeps both sides' samples complete."""

    def __init__(
        self,
        *,
        registry: Registry,
        tasks: Tasks,
        rules: Rules,
        learning: Learning,
        validator: Validator,
        controller: Controller,
        guesser: Guesser | None = None,
    ) -> None:
        self._registry = registry
        self._tasks = tasks
        self._rules = rules
        self._profiles = learning.profiles
        self._learning = learning
        self._validator = validator
        self._controller = controller
        self._guesser = guesser

    async def register(
        self,
        path: Path,
        name: ModelName,
        *,
        predecessor: ModelName | None = None,
        options: Mapping[str, str] | None = None,
        claim: Claim | None = None,
        who: str = "user",
    ) -> Version:
        """Examine a file and register it under a name.

        claim: what a person says of its making.

        Raises `ModelFileError` when the file cannot be trusted, `NameTaken`, `UnknownModel`.
        """
        parse_name(name)
        before = None if predecessor is None else self._registry.resolve(predecessor).version
        artifact = await asyncio.to_thread(examine, path, options=options or {})
        return await self._registry.add(artifact, name, predecessor=before, claim=claim, who=who)

    async def calibrate(
        self, version: Version, name: ModelName, *, progress: Progress = no_progress
    ) -> None:
        """Run every task's cases on a version. Raises what `Validator.validate` raises."""
        tasks = self._tasks.in_force()
        await self._validator.validate(version.version, name, tasks, progress=progress)

    async def add_task(self, task: Task) -> Task:
        """Keep a task whose grader and cases fit each other, and those below it.

        Raises `InvalidField`.
        """
        task = with_labels(task)
        before = self._tasks.gradings()
        await self._tasks.add(task, check=fits)
        if self._guesser is not None:
            self._guesser.take(task)
        await self._regrade(before)
        return task

    async def _regrade(self, before: Mapping[TaskName, str | None]) -> None:
        """Let the cases count as they are graded now, also of tasks below the one that changed."""
        after = self._tasks.gradings()
        changed = [
            await self._profiles.regrade(name, before=before.get(name), after=after.get(name))
            for name in sorted({*before, *after})
        ]
        if any(changed):
            await self._learning.load()

    async def calibrate_task(self, task: Task, *, progress: Progress = no_progress) -> None:
        """Run a new task's cases on every active version; and of those below it, what is new."""
        tasks = self._tasks.family(task.name)
        for version in self._registry.versions():
            names = self._registry.names_of(version.version)
            if version.standing is Standing.ACTIVE and names:
                await self._validator.validate(version.version, names[0], tasks, progress=progress)

    async def remove_model(self, name: ModelName, *, who: str = "user") -> None:
        """Forget a name. Raises `StillInUse` while a rule or a rollout needs it."""
        rule = next((rule for rule in self._rules.all() if name in rule.names), None)
        if rule is not None:
            raise StillInUse(
                f"The rule for task {rule.task} names {name}.",
                hint=f"Remove it first: arbiter rules remove {rule.task}.",
            )
        active = self._controller.active(name)
        if active is not None:
            raise StillInUse(f"{name} has a rollout going on: {active.id}.")
        await self._registry.remove(name, who=who)

    async def remove_task(self, name: TaskName) -> None:
        """Forget a task and its cases. Raises `StillInUse` while something needs it."""
        if self._rules.get(name) is not None:
            raise StillInUse(
                f"A rule stands for task {name}.",
                hint=f"Remove it first: arbiter rules remove {name}.",
            )
        judging = self._controller.judges(name)
        if judging is not None:
            raise StillInUse(
                f"The rollout {judging} judges task {name}.",
                hint=f"Wait for its end, or: arbiter rollouts abort {judging}.",
            )
        before = self._tasks.gradings()
        await self._tasks.remove(name)
        if self._guesser is not None:
            self._guesser.forget(name)
        await self._regrade(before)

    async def set_alias(self, alias: ModelName, target: ModelName, *, who: str) -> None:
        """Point an alias at a model by a person's word. Raises `StillInUse` during a rollout."""
        active = self._controller.active(alias)
        if active is not None:
            raise StillInUse(
                f"{alias} has a rollout going on: {active.id}.",
                hint=f"Abort it first: arbiter rollouts abort {active.id}.",
            )
        await self._registry.set_alias(alias, target, who=who)


def fits(task: Task) -> None:
    """Raise `InvalidField` unless the grader that counts for a task fits its cases."""
    if task.grading is not None:
        spec = parse_grader(task.grading.kind, task.grading.options)
        for number, case in enumerate(task.cases, start=1):
            try:
                check_expected(spec, case.expected)
            except InvalidField as error:
                raise InvalidField(f"Case {number}: {error.sentence}", param="cases") from error


def with_labels(task: Task) -> Task:
    """A choice whose labels nobody named has those that its cases expect."""
    grading = task.grading
    if grading is None or grading.kind != "choice" or "labels" in grading.options:
        return task
    labels = sorted({case.expected.strip() for case in task.cases if case.expected})
    return replace(task, grading=Grading(kind="choice", options={"labels": labels}))
