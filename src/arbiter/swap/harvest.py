"""Cases from what was really asked: kept requests of a task with a known right answer.

`gather` is pure and says for every request why it becomes a case or does not; `Harvesting` adds
what it found. A case is never taken from another task, and never twice.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from arbiter.errors import InvalidField
from arbiter.inference import Message
from arbiter.judge.graders import (
    GraderSpec,
    check_expected,
    grade,
    needs_expected,
    parse_grader,
)
from arbiter.knowledge.prompts import RIGHT, Answered, Prompts
from arbiter.knowledge.tasks import Case, Task, Tasks, check_cases
from arbiter.refs import DecisionId, TaskName
from arbiter.swap.admission import Admission

BY_ANSWER = frozenset({"exact", "choice", "number", "json-fields"})
"""Graders for which an answer that was right is an expected answer. A whole answer is no text that
every other one must contain, and no pattern."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A request that becomes a case, and how its right answer is known."""

    decision: DecisionId
    case: Case
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A request that does not, and why."""

    decision: DecisionId
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Harvest:
    """What was gathered. before, after: the task's digest without it and with it.

    cases: how many the task has with it, of which the first `run_at_most` are run. is_added:
    False when it was only shown.
    """

    task: TaskName
    taken: tuple[Taken, ...]
    left: tuple[Left, ...]
    before: str
    after: str
    cases: int
    run_at_most: int
    is_added: bool


class Unusable(Exception):
    """Why a request cannot become a case."""


def gather(
    task: Task, found: Sequence[Answered], *, limit: int
) -> tuple[tuple[Taken, ...], tuple[Left, ...]]:
    """What of the found requests becomes cases of a task, in their order, and what does not.

    Raises `InvalidField` when the task has no grader.
    """
    if task.grading is None:
        raise InvalidField(
            f"Task {task.name} has no grader, so no answer to a case could be told right.",
            hint=f"Add one: arbiter tasks add {task.name} --grader KIND.",
            param="task",
        )
    spec = parse_grader(task.grading.kind, task.grading.options)
    known = {case.messages for case in task.cases}
    taken: list[Taken] = []
    left: list[Left] = []
    for one in found:
        try:
            found_one = _taken(spec, one, known)
        except Unusable as error:
            left.append(Left(decision=one.decision, why=str(error)))
            continue
        if len(taken) == limit:
            left.append(Left(decision=one.decision, why=f"{limit} others were newer"))
            continue
        known.add(one.case.messages)
        taken.append(found_one)
    return tuple(taken), tuple(left)


def _taken(spec: GraderSpec, one: Answered, known: Collection[tuple[Message, ...]]) -> Taken:
    """The request as a case. Raises `Unusable`."""
    expected, why = _expected(spec, one)
    if one.case.messages in known:
        # with the same expected answer it is the same case, with another one of them is wrong
        raise Unusable("a case with this prompt is there already")
    return Taken(decision=one.decision, case=replace(one.case, expected=expected), why=why)


def _expected(spec: GraderSpec, one: Answered) -> tuple[str | None, str]:
    """The expected answer of the case, and how it is known. Raises `Unusable`."""
    if one.case.expected is not None and needs_expected(spec):
        _check(spec, one.case.expected)
        return one.case.expected, "the right answer came along"
    if one.judged is not None and one.judged < RIGHT:
        raise Unusable("a person did not judge the answer right")
    if not needs_expected(spec):
        # its rule judges every answer by itself: the prompt is all that a case needs
        return None, "the rule needs no expected answer"
    why = "a person judged the answer right"
    if one.judged is None:
        raise Unusable("nobody judged the answer, and no right one came along")
    if spec.kind not in BY_ANSWER:
        raise Unusable(f"a whole answer is not what {spec.kind} compares with")
    answer = one.answer.strip()
    _check(spec, answer)
    if grade(spec, answer=answer, expected=answer).score < RIGHT:
        raise Unusable("the answer would not be right by the task's own rule")
    return answer, why


def _check(spec: GraderSpec, expected: str) -> None:
    try:
        check_expected(spec, expected)
    except InvalidField as error:
        raise Unusable(error.message) from error


class Harvesting:
    """Adds kept requests to the cases of their task, when a person says so.

    run_at_most: how many cases of a task are run, from the first on.
    """

    def __init__(
        self, *, prompts: Prompts, tasks: Tasks, admission: Admission, run_at_most: int
    ) -> None:
        self.run_at_most = run_at_most
        self._prompts = prompts
        self._tasks = tasks
        self._admission = admission

    async def harvest(
        self,
        name: TaskName,
        *,
        limit: int,
        decisions: Collection[str] = (),
        dry_run: bool = False,
    ) -> Harvest:
        """Gather the newest first, and add them unless they are only to be shown.

        decisions: only these requests. Raises `UnknownTask`, and `InvalidField` when the task has
        no grader, when nothing is kept at all, or when it would have too few cases.
        """
        task = self._tasks.decided(name)
        found = await self._found(task)
        asked = [one for one in found if not decisions or one.decision in decisions]
        taken, left = gather(self._tasks.get(name), asked, limit=limit)
        there = {one.decision for one in asked}
        missing = tuple(
            Left(
                decision=DecisionId(one),
                why=f"it is not kept as a request of {name} with a known right answer",
            )
            for one in dict.fromkeys(decisions)
            if one not in there
        )
        wider = replace(task, cases=(*task.cases, *(one.case for one in taken)))
        is_added = bool(taken) and not dry_run
        if taken:
            check_cases(replace(wider, grading=self._tasks.get(name).grading))
        if is_added:
            await self._admission.add_task(wider)
        return Harvest(
            task=name,
            taken=taken,
            left=(*left, *missing),
            before=task.digest,
            after=wider.digest,
            cases=len(wider.cases),
            run_at_most=self.run_at_most,
            is_added=is_added,
        )

    async def _found(self, task: Task) -> tuple[Answered, ...]:
        kept = await self._prompts.kept()
        if not any(one.task == task.name for one in kept):
            on = self._prompts.settings.store_prompts
            raise InvalidField(
                f"No request of task {task.name} is kept.",
                hint="Requests that name this task are kept from now on."
                if on
                else "Requests are kept only when you say so: store_prompts = true under "
                "[privacy].",
                param="task",
            )
        return await self._prompts.answered(task.name)
