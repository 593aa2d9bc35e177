"""Everything that is in an open house."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from arbiter.clock import Clock
from arbiter.config import Settings
from arbiter.dispatch.dispatch import Dispatch
from arbiter.events import Announcer
from arbiter.gateway.keyring import Keyring
from arbiter.knowledge.carrier import Carrier
from arbiter.knowledge.costs import Costs
from arbiter.knowledge.guesser import Guesser
from arbiter.knowledge.learning import Learning
from arbiter.knowledge.outcomes import Outcomes
from arbiter.knowledge.profiles import Profiles
from arbiter.knowledge.prompts import Prompts
from arbiter.knowledge.rules import Rules
from arbiter.knowledge.tasks import Tasks
from arbiter.ledger import Ledger
from arbiter.metering.meter import Meter
from arbiter.pool.keeping import Keeping
from arbiter.pool.pool import Pool
from arbiter.pool.probing import Probing
from arbiter.pool.reloading import Reloading
from arbiter.pool.watch import Watch
from arbiter.registry.registry import Registry
from arbiter.storage.database import Database
from arbiter.swap.admission import Admission
from arbiter.swap.adoption import Adoption
from arbiter.swap.calibrating import Calibrating
from arbiter.swap.controller import Controller
from arbiter.swap.harvest import Harvesting
from arbiter.swap.intake import Intake
from arbiter.swap.pulling import Pulling
from arbiter.swap.scouting import Scout
from arbiter.swap.shadowing import Shadowing


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseRooms:
    """What was built, and lives as long as the house is open."""

    settings: Settings
    clock: Clock
    database: Database
    ledger: Ledger
    keyring: Keyring
    registry: Registry
    tasks: Tasks
    rules: Rules
    profiles: Profiles
    learning: Learning
    outcomes: Outcomes
    costs: Costs
    meter: Meter
    on_battery: Callable[[], bool | None]
    prompts: Prompts
    carrier: Carrier
    guesser: Guesser | None
    pool: Pool
    controller: Controller
    keeping: Keeping
    watch: Watch
    probing: Probing
    reloading: Reloading
    calibrating: Calibrating
    shadowing: Shadowing
    admission: Admission
    intake: Intake
    adoption: Adoption
    scout: Scout
    pulling: Pulling
    harvesting: Harvesting
    dispatch: Dispatch
    announcer: Announcer
