"""Tasks: kinds of work, what they demand, and the graded cases that tell a good answer.

A task may be a finer kind of another one, its parent, and takes from it what it does not say
itself. A task knows no model. Its digest covers everything that people decided about it, so that a
swap can show that it changed nothing here. Grading itself lives in `arbiter.judge`; here a grader
is only named.
"""

from __future__ import annotations

from arbiter.knowledge.tasks.case import CASES_BYTES, Case, parse_case, parse_cases
from arbiter.knowledge.tasks.inheriting import in_force, parents_of
from arbiter.knowledge.tasks.spec import task_from_spec
from arbiter.knowledge.tasks.task import LEAST_CASES, Grading, Task, Weights, check_cases, no_check
from arbiter.knowledge.tasks.tasks import Tasks

__all__ = [
    "CASES_BYTES",
    "LEAST_CASES",
    "Case",
    "Grading",
    "Task",
    "Tasks",
    "Weights",
    "check_cases",
    "in_force",
    "no_check",
    "parents_of",
    "parse_case",
    "parse_cases",
    "task_from_spec",
]
