"""What the control API is handed, and what its parts make of that together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from arbiter.clock import Clock
from arbiter.config import RolloutSettings
from arbiter.events import Announcer
from arbiter.gateway.control_base import Plain
from arbiter.gateway.control_costs import CostRooms
from arbiter.gateway.keyring import Keyring
from arbiter.inference import Limits
from arbiter.knowledge.carrier import Carrier
from arbiter.knowledge.learning import Learning
from arbiter.knowledge.outcomes import Outcomes
from arbiter.knowledge.profiles import Profiles
from arbiter.knowledge.prompts import Prompts
from arbiter.knowledge.rules import Rules, knowledge_digest
from arbiter.knowledge.tasks import Tasks
from arbiter.ledger import Ledger
from arbiter.pool.pool import Pool
from arbiter.pool.reloading import Reloaded
from arbiter.refs import (
    TaskName,
)
from arbiter.registry.registry import Registry
from arbiter.selection.contender import Choice
from arbiter.storage.database import Database
from arbiter.swap.admission import Admission
from arbiter.swap.adoption import Adoption
from arbiter.swap.calibrating import Calibrating
from arbiter.swap.controller import Controller
from arbiter.swap.harvest import Harvesting
from arbiter.swap.plan import Plan
from arbiter.swap.planning import plan_of
from arbiter.swap.pulling import Pulling
from arbiter.swap.scouting import Scout


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRooms:
    """What the control API is handed."""

    ledger: Ledger
    keyring: Keyring
    registry: Registry
    tasks: Tasks
    rules: Rules
    profiles: Profiles
    learning: Learning
    outcomes: Outcomes
    carrier: Carrier
    folder: Path
    pool: Pool
    reload: Callable[[], Awaitable[Reloaded]]
    clock: Clock
    controller: Controller
    admission: Admission
    adoption: Adoption
    scout: Scout
    pulling: Pulling
    calibrating: Calibrating
    prompts: Prompts
    harvesting: Harvesting
    choose: Callable[[TaskName, Limits], Choice]
    announcer: Announcer
    database: Database
    rollout: RolloutSettings
    status: Callable[[], Plain]
    costs: CostRooms

    def plan(self, **changes: object) -> Plan:
        """The plan of a new rollout: the settings, what the request changes, today's tasks.

        Raises `InvalidField` when the numbers do not fit together.
        """
        graded = [task.name for task in self.tasks.in_force() if task.grading is not None]
        return plan_of(self.rollout, graded, changes)

    def knowledge(self) -> str:
        """The digest of every task and rule."""
        return knowledge_digest(self.tasks.all(), self.rules.all())
