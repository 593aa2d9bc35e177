"""Tasks: kinds of work, what they demand, and the graded cases that tell a good answer.

A task may be a finer kind of another one, its parent, and takes from it what it does not say
itself. A task knows no model. Its digest covers everything that people decided about it, so that a
swap can show that it changed nothing here. Grading itself lives in `arbiter.judge`; here a grader
is only named.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from arbiter.clock import Clock
from arbiter.errors import InvalidField, StillInUse, UnknownTask
from arbiter.inference import NO_LIMITS, Limits, Message, Role
from arbiter.knowledge.families import check_family, line
from arbiter.refs import GENERAL, TaskName, digest, parse_task
from arbiter.storage.database import Database, Statement

LEAST_CASES = 10
"""Fewer graded cases than this say next to nothing about a version."""

CASES_BYTES = 16 * 1024 * 1024
_ROLES: Mapping[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grading:
    """Which grader scores answers, with its options (plain JSON)."""

    kind: str
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Identity of the grading: scores of another one are other measurements."""
        return digest("arbiter.grading.v1", {"kind": self.kind, "options": dict(self.options)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A stored prompt with its known right answer (None when the grader needs none)."""

    messages: tuple[Message, ...]
    expected: str | None

    def to_plain(self) -> dict[str, object]:
        """As JSON."""
        return {
            "messages": [{"role": m.role, "content": m.content} for m in self.messages],
            "expected": self.expected,
        }

    @property
    def digest(self) -> str:
        """Identity of the case: the same prompt with the same answer is the same case."""
        return digest("arbiter.case.v1", self.to_plain())


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """How much each part of a score counts; only their proportions matter.

    energy: of a solved task; it counts only where somebody gave it a weight.
    """

    quality: float = 0.4
    latency: float = 0.3
    memory: float = 0.2
    reliability: float = 0.1
    energy: float = 0.0

    @property
    def whole(self) -> float:
        """All of them together."""
        return self.quality + self.latency + self.memory + self.reliability + self.energy

    def __post_init__(self) -> None:
        """Refuse weights that cannot be a proportion."""
        parts = (self.quality, self.latency, self.memory, self.reliability, self.energy)
        if min(parts) < 0 or not 0 < sum(parts) < float("inf"):
            raise InvalidField("Weights must be numbers from 0 up, not all 0.", param="weights")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A kind of work. `weights` None means the house's own. parent: what it is a finer kind of."""

    name: TaskName
    parent: TaskName | None = None
    limits: Limits = NO_LIMITS
    grading: Grading | None = None
    cases: tuple[Case, ...] = ()
    weights: Weights | None = None

    def spec(self) -> dict[str, object]:
        """Everything but the name and the cases, as JSON; the parent only where there is one."""
        # a task without a parent keeps the digest that it had before there were any
        parent = {} if self.parent is None else {"parent": self.parent}
        return {
            **parent,
            "needs": sorted(self.limits.needs),
            "threshold": _float(self.limits.threshold),
            "max_latency_ms": _float(self.limits.max_latency_ms),
            "max_memory_mb": _float(self.limits.max_memory_mb),
            "grader": self.grading
            and {"kind": self.grading.kind, "options": dict(self.grading.options)},
            "weights": self.weights
            and {
                "quality": float(self.weights.quality),
                "latency": float(self.weights.latency),
                "memory": float(self.weights.memory),
                "reliability": float(self.weights.reliability),
                # a task that does not weigh it keeps the digest that it had before it could
                **({"energy": float(self.weights.energy)} if self.weights.energy else {}),
            },
        }

    @property
    def digest(self) -> str:
        """Identity of what people decided about this task."""
        return digest(
            "arbiter.task.v1",
            {"name": self.name, "spec": self.spec(), "cases": [c.to_plain() for c in self.cases]},
        )


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)


def _message(value: object, *, line: int) -> Message:
    match value:
        case {"role": str(role), "content": str(content)} if role in _ROLES:
            return Message(role=_ROLES[role], content=content)
    raise InvalidField(
        f"Line {line}: a message needs a role (system, user, assistant) and a text content.",
        param="cases",
    )


def parse_case(value: object) -> Case:
    """A case from what `Case.to_plain` wrote. Raises `InvalidField`."""
    return _case(value, line=1)


def _case(value: object, *, line: int) -> Case:
    if not isinstance(value, dict):
        raise InvalidField(
            f"Line {line} is not a JSON object.", hint="One JSON object a line.", param="cases"
        )
    match value:
        case {"prompt": str(prompt)} if prompt:
            messages: tuple[Message, ...] = (Message(role="user", content=prompt),)
        case {"messages": [_, *_] as found}:
            messages = tuple(_message(message, line=line) for message in found)
        case _:
            raise InvalidField(
                f'Line {line} has neither a "prompt" nor "messages".',
                hint='A case is {"prompt": "...", "expected": "..."}.',
                param="cases",
            )
    expected = value.get("expected")
    if expected is not None and not isinstance(expected, str):
        expected = json.dumps(expected, ensure_ascii=False, separators=(",", ":"))
    return Case(messages=messages, expected=expected)


def parse_cases(text: str) -> tuple[Case, ...]:
    """Cases from JSON lines; blank lines are skipped and repeated cases kept once.

    >>> parse_cases('{"prompt": "2+2", "expected": 4}')[0].expected
    '4'

    Raises `InvalidField` that names the line.
    """
    if len(text) > CASES_BYTES:
        raise InvalidField("The cases are larger than 16 MB.", param="cases")
    found: dict[str, Case] = {}
    for number, one in enumerate(text.split("\n"), start=1):
        if not one.strip():
            continue
        try:
            case = _case(json.loads(one), line=number)
            found.setdefault(case.digest, case)
        except (ValueError, RecursionError) as error:
            raise InvalidField(
                f"Line {number} is not JSON: {error}.",
                hint="One JSON object a line.",
                param="cases",
            ) from error
    return tuple(found.values())


def check_cases(task: Task) -> None:
    """Raise `InvalidField` when a task's cases cannot grade anything."""
    if task.cases and len(task.cases) < LEAST_CASES:
        raise InvalidField(
            f"Task {task.name} has {len(task.cases)} different cases; "
            f"fewer than {LEAST_CASES} say next to nothing.",
            hint="Add more lines; 30 or more are better.",
            param="cases",
        )
    if task.cases and task.grading is None:
        raise InvalidField(
            f"Task {task.name} has cases but no grader.", hint="Add --grader.", param="grader"
        )


def parents_of(tasks: Iterable[Task]) -> dict[TaskName, TaskName]:
    """The parent of each task that has one."""
    return {task.name: task.parent for task in tasks if task.parent is not None}


def in_force(tasks: Iterable[Task]) -> dict[TaskName, Task]:
    """Every task as it counts: with what it takes from those above it.

    What is demanded above is demanded here too, a task can only demand more. Its grader and its
    weights are its parent's where it has none of its own. Its cases are its own. Raises
    `InvalidField` as `check_family` does.

    >>> code = Task(name=TaskName("code"), limits=Limits(threshold=0.7))
    >>> review = Task(name=TaskName("review"), parent=TaskName("code"))
    >>> in_force([code, review])[TaskName("review")].limits.threshold
    0.7
    """
    known = {task.name: task for task in tasks}
    parents = parents_of(known.values())
    check_family(parents, known)
    found: dict[TaskName, Task] = {}
    for name in known:
        above: Task | None = None
        for one in reversed(line(name, parents)):
            if one not in found and one in known:
                found[one] = _taking(known[one], above)
            above = found.get(one)
    return found


def _taking(task: Task, above: Task | None) -> Task:
    if above is None:
        return task
    return replace(
        task,
        limits=above.limits.narrowed(task.limits),
        grading=task.grading or above.grading,
        weights=task.weights or above.weights,
    )


def no_check(task: Task) -> None:
    """Find nothing wrong with a task."""


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
            cases.setdefault(str(name), []).append(_case(json.loads(str(spec)), line=0))
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


def task_from_spec(name: TaskName, spec: Mapping[str, object], cases: Sequence[Case]) -> Task:
    """A task from what `Task.spec` wrote, or from a request's body.

    Raises `InvalidField` that names the field.
    """
    needs = spec.get("needs") or []
    if not isinstance(needs, list) or not all(isinstance(need, str) for need in needs):
        raise InvalidField("needs is a list of words.", param="needs")
    weights, parent = spec.get("weights"), spec.get("parent")
    if parent is not None and not isinstance(parent, str):
        raise InvalidField("parent is the name of a task.", param="parent")
    return Task(
        name=name,
        parent=None if parent is None else parse_task(parent),
        limits=Limits(
            needs=frozenset(needs),
            threshold=_number(spec, "threshold", most=1.0),
            max_latency_ms=_number(spec, "max_latency_ms"),
            max_memory_mb=_number(spec, "max_memory_mb"),
        ),
        grading=_grading(spec.get("grader")),
        cases=tuple(cases),
        weights=_weights(weights) if weights is not None else None,
    )


def _number(spec: Mapping[str, object], field_name: str, *, most: float = 1e12) -> float | None:
    value = spec.get(field_name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise InvalidField(f"{field_name} is a number from 0 to {most:g}.", param=field_name)
    return float(value)


def _grading(value: object) -> Grading | None:
    match value:
        case None:
            return None
        case {"kind": str(kind), **rest}:
            options = rest.get("options", {})
            if isinstance(options, dict):
                return Grading(kind=kind, options=options)
    raise InvalidField("A grader is a kind with options.", param="grader")


def _weights(value: object) -> Weights:
    names = ("quality", "latency", "memory", "reliability", "energy")
    if isinstance(value, dict) and set(value) <= set(names):
        parts = {name: _number(value, name) for name in value}
        if all(part is not None for part in parts.values()):
            return Weights(**{name: part for name, part in parts.items() if part is not None})
    raise InvalidField(f"weights has numbers for {', '.join(names)}.", param="weights")
