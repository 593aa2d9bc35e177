"""Which task is a finer kind of which: lines of names, and what they may not be. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from arbiter.errors import InvalidField
from arbiter.refs import GENERAL, TaskName

DEEPEST = 4
"""Levels of tasks. What is finer than that has too little evidence of its own to be told apart."""


def line(name: TaskName, parents: Mapping[TaskName, TaskName]) -> tuple[TaskName, ...]:
    """A task and everything above it, the nearest first; each once, also where there is a ring.

    >>> line(TaskName("c"), {TaskName("c"): TaskName("b"), TaskName("b"): TaskName("a")})
    ('c', 'b', 'a')
    """
    found: dict[TaskName, None] = {}
    above: TaskName | None = name
    while above is not None and above not in found:
        found[above] = None
        above = parents.get(above)
    return tuple(found)


def check_family(parents: Mapping[TaskName, TaskName], known: Collection[TaskName]) -> None:
    """Raise `InvalidField` when these tasks cannot stand above each other as they are to.

    parents: the parent of each task that has one. known: every task that is there; `general`
    always is.
    """
    if GENERAL in parents:
        raise InvalidField(
            f"{GENERAL} is the task of every request that names none; it has no parent.",
            hint="Leave --parent out.",
            param="parent",
        )
    for name in sorted(parents):
        _check_line(line(name, parents), parents, known)


def _check_line(
    chain: tuple[TaskName, ...],
    parents: Mapping[TaskName, TaskName],
    known: Collection[TaskName],
) -> None:
    name, top = chain[0], chain[-1]
    if parents[name] == name:
        raise InvalidField(
            f"Task {name} cannot be its own parent.",
            hint="Name another task with --parent, or none.",
            param="parent",
        )
    if top in parents:
        ring = " -> ".join((*chain, parents[top]))
        raise InvalidField(
            f"These tasks would be above each other: {ring}.",
            hint="Add one of them without --parent.",
            param="parent",
        )
    if top not in known and top != GENERAL:
        raise InvalidField(
            f"The parent of task {chain[-2]} is not there: {top}.",
            hint=f"Add it first: arbiter tasks add {top}.",
            param="parent",
        )
    if len(chain) > DEEPEST:
        raise InvalidField(
            f"Task {name} would stand {len(chain)} levels deep: {' -> '.join(chain)}.",
            hint=f"{DEEPEST} levels are the most; choose a parent higher up.",
            param="parent",
        )
