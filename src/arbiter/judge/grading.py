"""Grading a request by its task's own rule."""

from __future__ import annotations

from collections.abc import Iterable

from arbiter.judge.graders import (
    Grade,
    GraderSpec,
    check_expected,
    grade,
    needs_expected,
    parse_grader,
)
from arbiter.knowledge.tasks import Grading, Task


class TaskGrader:
    """Scores answers by the grader that their task names; parses each grader once."""

    def __init__(self) -> None:
        self._specs: dict[int, tuple[Grading, GraderSpec]] = {}

    def __call__(self, task: Task, answer: str, expected: str | None) -> Grade | None:
        """The grade of an answer; None when no rule applies.

        A rule applies when the task has a grader, and either the grader judges an answer by
        itself (a schema, a pattern) or the known right answer came along with the request.
        """
        if task.grading is None:
            return None
        spec = self._spec(task.grading)
        if expected is None and needs_expected(spec):
            return None
        return grade(spec, answer=answer, expected=expected)

    def prepare(self, tasks: Iterable[Task]) -> None:
        """Parse graders beforehand: the first request must not wait for a schema library."""
        for task in tasks:
            if task.grading is not None:
                self._spec(task.grading)

    def check(self, task: Task, expected: str | None) -> None:
        """Raise `InvalidField` when answers to this task cannot be compared with this one."""
        if task.grading is not None and expected is not None:
            check_expected(self._spec(task.grading), expected)

    def _spec(self, grading: Grading) -> GraderSpec:
        known = self._specs.get(id(grading))
        if known is None or known[0] is not grading:
            known = (grading, parse_grader(grading.kind, grading.options))
            self._specs[id(grading)] = known
        return known[1]
