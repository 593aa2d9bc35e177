"""What a task takes from those above it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from arbiter.knowledge.families import check_family, line
from arbiter.knowledge.tasks.task import Task
from arbiter.refs import TaskName


def parents_of(tasks: Iterable[Task]) -> dict[TaskName, TaskName]:
    """The parent of each task that has one."""
    return {task.name: task.parent for task in tasks if task.parent is not None}


def in_force(tasks: Iterable[Task]) -> dict[TaskName, Task]:
    """Every task as it counts: with what it takes from those above it.

    What is demanded above is demanded here too, a task can only demand more. Its grader and its
    weights are its parent's where it has none of its own. Its cases are its own. Raises
    `InvalidField` as `check_family` does.

    >>> from arbiter.inference import Limits
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
