"""The rooms that a request passes through, as they are handed to it."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from arbiter.clock import Clock
from arbiter.judge.grading import TaskGrader
from arbiter.knowledge.costs import Costs
from arbiter.knowledge.guesser import Guesser
from arbiter.knowledge.learning import Learning
from arbiter.knowledge.outcomes import Outcomes
from arbiter.knowledge.profiles import Profiles
from arbiter.knowledge.prompts import Prompts
from arbiter.knowledge.rules import Rules
from arbiter.knowledge.tasks import Tasks
from arbiter.pool.accelerators import Accelerators
from arbiter.pool.pool import Pool
from arbiter.pool.presence import Presence
from arbiter.registry.registry import Registry
from arbiter.selection.contender import (
    Situation,
)
from arbiter.selection.selector import Selector
from arbiter.swap.controller import Controller
from arbiter.swap.shadowing import Copies

if TYPE_CHECKING:
    # needs the extra otel
    from arbiter.tracing.request import Traces


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """The rooms that a request passes through."""

    registry: Registry
    tasks: Tasks
    rules: Rules
    profiles: Profiles
    learning: Learning
    outcomes: Outcomes
    costs: Costs
    prompts: Prompts
    guesser: Guesser | None
    """None where tasks are not to be guessed."""
    pool: Pool
    presence: Presence
    controller: Controller
    copies: Copies
    selector: Selector
    situation: Situation
    accelerators: Accelerators
    grader: TaskGrader
    clock: Clock
    dice: Random
    traces: Traces | None = None
    """None where no traces are wanted."""
