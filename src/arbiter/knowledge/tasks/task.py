"""A task: what it demands, what grades it, and its digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from arbiter.errors import InvalidField
from arbiter.inference import NO_LIMITS, Limits
from arbiter.knowledge.tasks.case import Case
from arbiter.refs import TaskName, digest

LEAST_CASES = 10
"""Fewer graded cases than this say next to nothing about a version."""


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


def no_check(task: Task) -> None:
    """Find nothing wrong with a task."""
