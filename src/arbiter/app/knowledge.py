"""What was learned."""

from __future__ import annotations

from dataclasses import dataclass

from arbiter.app.ground import Ground
from arbiter.knowledge.costs import Costs
from arbiter.knowledge.guesser import Guesser
from arbiter.knowledge.judgements import OWNERS
from arbiter.knowledge.learning import Learning
from arbiter.knowledge.outcomes import Outcomes
from arbiter.knowledge.profiles import Profiles
from arbiter.knowledge.prompts import Prompts
from arbiter.knowledge.rules import Rules, knowledge_digest
from arbiter.knowledge.tasks import Tasks
from arbiter.selection.bandit import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Tasks, rules, outcomes, and who learns from them."""

    tasks: Tasks
    rules: Rules
    profiles: Profiles
    table: Table
    learning: Learning
    outcomes: Outcomes
    prompts: Prompts
    costs: Costs

    def digest(self) -> str:
        """The digest of every task and rule."""
        return knowledge_digest(self.tasks.all(), self.rules.all())


def build_knowledge(ground: Ground) -> Known:
    """Build them. Nothing is read yet."""
    settings, base, clock = ground.settings, ground.database, ground.clock
    tasks = Tasks(base, clock)
    # of a house with one key, whoever has it runs the house: a bound would protect nobody
    owners = OWNERS if len(settings.door.keys) > 1 else OWNERS | {"key-1"}
    profiles = Profiles(
        base, tasks.grading, owners=owners, slow_share=settings.selection.limit_share
    )
    table = Table(weigh=profiles.weights)
    learning = Learning(
        database=base, clock=clock, learner=table, profiles=profiles, announcer=ground.announcer
    )
    outcomes = Outcomes(base, clock, learning)
    return Known(
        tasks=tasks,
        rules=Rules(base, clock),
        profiles=profiles,
        table=table,
        learning=learning,
        outcomes=outcomes,
        prompts=Prompts(base, clock, settings.privacy),
        costs=Costs(base, outcomes.tally),
    )


async def build_guesser(ground: Ground, tasks: Tasks) -> Guesser | None:
    """Who guesses tasks, if the settings say so; it has read what it knows."""
    selection = ground.settings.selection
    if not selection.guess_tasks:
        return None
    guesser = Guesser(ground.database, ground.clock, least=selection.guess_confidence)
    await guesser.load(tasks.all())
    return guesser
