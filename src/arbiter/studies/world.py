"""A house without models: the production selector over a pool whose rates are known.

Only quality counts here, because a table of rates knows nothing else: the weights are quality 1 and
the rest 0. The world draws; the selector and its table decide as they do in a house.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from arbiter.errors import InvalidField
from arbiter.inference import Limits
from arbiter.knowledge.profiles import NOTHING, Profile
from arbiter.knowledge.scores import GRADES, Again, Fall
from arbiter.knowledge.tasks import Task, Weights
from arbiter.refs import ModelName, TaskName, VersionId
from arbiter.selection.bandit import Table
from arbiter.selection.contender import Choice, Contender, Seen, Situation
from arbiter.selection.selector import Selector
from arbiter.studies.pools import Pool

STRATEGIES = ("learned", "static")
QUALITY_ALONE = Weights(quality=1.0, latency=0.0, memory=0.0, reliability=0.0)
_NO_LIMITS = Limits()

Heard = tuple[int, int, float]
"""A score as it came: the places of its task and its version, and what it was."""


def contender(version: str) -> Contender:
    """A version that can serve everything and of which nothing else is known."""
    return Contender(
        name=ModelName(version),
        version=VersionId(version),
        capabilities=frozenset({"chat"}),
        context=None,
        memory_bytes=None,
    )


def checked(strategy: str) -> str:
    """The strategy, if there is one of that name. Raises `InvalidField`."""
    if strategy not in STRATEGIES:
        raise InvalidField(
            f"There is no strategy {strategy!r:.40}.",
            hint=f"Strategies are {', '.join(STRATEGIES)}.",
            param="strategy",
        )
    return strategy


@dataclass(slots=True, kw_only=True)
class World:
    """A selector with its evidence. `told` and `chosen` are all that happens to it."""

    tasks: tuple[TaskName, ...]
    versions: Sequence[str]
    table: Table | None
    situation: Situation = field(
        default_factory=lambda: Situation(budget_bytes=None, weights=QUALITY_ALONE)
    )
    heard: list[Heard] = field(default_factory=list)
    falls: list[Fall] = field(default_factory=list)
    _selector: Selector = field(init=False)
    _tasks: list[Task] = field(init=False)
    _seen: list[list[Seen]] = field(init=False)
    _chances: dict[int, tuple[Choice, Sequence[tuple[int, float]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._selector = Selector(self.table)
        self._tasks = [Task(name=name) for name in self.tasks]
        who = [contender(version) for version in self.versions]
        self._seen = [[Seen(contender=one, profile=NOTHING) for one in who] for _ in self.tasks]

    @classmethod
    def new(cls, pool: Pool, strategy: str) -> World:
        """A world that has learned nothing yet."""
        table = Table() if checked(strategy) == "learned" else None
        return cls(tasks=pool.tasks, versions=pool.versions, table=table)

    def told(self, task: int, version: int, score: float) -> None:
        """Take in a score, as the house does."""
        self.heard.append((task, version, score))
        row = self._seen[task]
        seen = row[version]
        sample = Profile(samples=1, graded=1, quality=score, successes=1)
        row[version] = Seen(contender=seen.contender, profile=seen.profile.plus(sample))
        if self.table is not None:
            fall = self.table.update(self.tasks[task], seen.contender.version, score, mark=self.now)
            self.falls += [] if fall is None else [fall]

    @property
    def now(self) -> str:
        """A mark for this moment, later than all before it."""
        return f"{len(self.heard):09d}"

    def examined(self, version: int, results: Mapping[int, Sequence[Again]]) -> bool:
        """Take cases that were run again, as the house does; whether they show a fall."""
        if self.table is None:
            return False
        name = VersionId(self.versions[version])
        named = {self.tasks[task]: again for task, again in results.items()}
        fall = self.table.shown(name, named, began=self.now)
        self.table.examined(name, named, fall=fall, source=GRADES)
        self.falls += [] if fall is None else [fall]
        return fall is not None

    def chosen(self, task: int, conversation: str | None) -> Choice:
        """Whom the selector picks."""
        return self._selector.pick(
            self._seen[task],
            task=self._tasks[task],
            limits=_NO_LIMITS,
            rule=None,
            situation=self.situation,
            conversation=conversation,
        )

    @property
    def contenders(self) -> Sequence[Contender]:
        """Who may be picked, in the order of `versions`."""
        return [seen.contender for seen in self._seen[0]]

    def chances(self, task: int, choice: Choice) -> Sequence[tuple[int, float]]:
        """Who would have been picked with what probability: the vector that was drawn from."""
        if self.table is None:
            return ((self.place(choice), 1.0),)
        known = self._chances.get(task)
        if known is None or known[0] is not choice:
            vector = [
                (self.versions.index(one.contender.version), one.probability)
                for one in choice.scored
                if one.probability > 0.0
            ]
            known = self._chances[task] = (choice, vector)
        return known[1]

    def place(self, choice: Choice) -> int:
        """Where the version stands that was picked."""
        return self.versions.index(choice.primary.contender.version)

    def replaced(self, version: int, by: str) -> Sequence[Profile]:
        """Put another version in a version's place, with no evidence; what the old one leaves."""
        names = list(self.versions)
        names[version] = by
        self.versions = tuple(names)
        who = contender(by)
        left = [row[version].profile for row in self._seen]
        for row in self._seen:
            row[version] = Seen(contender=who, profile=NOTHING)
        return left

    def follows(self, new: str, old: str) -> None:
        """Tell the table who succeeds whom, as the house does."""
        if self.table is not None:
            self.table.relate(predecessors={VersionId(new): VersionId(old)}, parents={})

    def given(self, task: int, version: int, *, count: float, total: float) -> None:
        """Put scores into the table that the version did not earn: what a fixed policy does."""
        if self.table is not None:
            name = VersionId(self.versions[version])
            self.table.add(self.tasks[task], name, count=count, total=total)


@dataclass(frozen=True, slots=True)
class Request:
    """One request that is about to happen, drawn before anybody decides: the same for all."""

    task: int
    conversation: str
    luck: float
    is_judged: bool


def requests(pool: Pool, count: int, *, feedback: float, dice: Random, name: str) -> list[Request]:
    """A stream of requests: tasks in proportion to their traffic, feedback by a coin."""
    tasks = dice.choices(range(len(pool.tasks)), pool.shares, k=count)
    return [
        Request(task, f"{name}/{number}", dice.random(), dice.random() < feedback)
        for number, task in enumerate(tasks)
    ]


Ran = dict[tuple[int, int], list[float]]
"""What came of graded cases, by the places of their task and version."""


def calibrate(world: World, pool: Pool, cases: int, dice: Random) -> Ran:
    """Run so many graded cases a task on every version: they cost no request."""
    ran: Ran = {}
    for task, row in enumerate(pool.rates):
        for version, rate in enumerate(row):
            scores = ran[task, version] = [float(dice.random() < rate) for _ in range(cases)]
            for score in scores:
                world.told(task, version, score)
    return ran


def serve(world: World, pool: Pool, request: Request) -> tuple[float, float]:
    """One request: picked, served, perhaps judged. The regret and the chance of a best pick."""
    choice = world.chosen(request.task, request.conversation)
    rates = pool.rates[request.task]
    best = max(rates)
    regret = right = 0.0
    for version, chance in world.chances(request.task, choice):
        regret += chance * (best - rates[version])
        right += chance * (rates[version] >= best)
    if request.is_judged:
        served = world.place(choice)
        world.told(request.task, served, float(request.luck < rates[served]))
    return regret, right
