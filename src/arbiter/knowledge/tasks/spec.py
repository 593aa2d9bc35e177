"""A task from plain JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from arbiter.errors import InvalidField
from arbiter.inference import Limits
from arbiter.knowledge.tasks.case import Case
from arbiter.knowledge.tasks.task import Grading, Task, Weights
from arbiter.refs import TaskName, parse_task


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
