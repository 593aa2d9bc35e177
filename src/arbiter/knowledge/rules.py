"""Rules: what people decided about who serves a task, whatever the scores say.

A rule names aliases, never a version: that is why a swap keeps every rule by construction. It
holds for its task and for what stands below it; the rule of `general` holds for every task.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from arbiter.clock import Clock
from arbiter.errors import InvalidField, NotFound
from arbiter.knowledge.tasks import Task
from arbiter.refs import ModelName, TaskName, digest
from arbiter.storage.database import Database, Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Who serves a task.

    prefer: this alias as long as it is able to. only: this alias, or nobody. never: none of these,
    in the order of their names, each once.
    """

    task: TaskName
    prefer: ModelName | None = None
    only: ModelName | None = None
    never: tuple[ModelName, ...] = ()
    why: str = ""

    def __post_init__(self) -> None:
        """Refuse a rule that says nothing, or two things that cannot both be."""
        object.__setattr__(self, "never", tuple(sorted(set(self.never))))
        if not self.names:
            raise InvalidField(
                "This rule names nobody.", hint="Give --prefer, --only or --never.", param="prefer"
            )
        if self.prefer is not None and self.only is not None:
            raise InvalidField(
                "A rule prefers an alias or takes no other, not both.",
                hint="--only alone is the stricter one.",
                param="only",
            )
        if self.takes in self.never:
            raise InvalidField(
                f"The rule would take {self.takes} and never take it.",
                hint="Name it once.",
                param="never",
            )

    @property
    def takes(self) -> ModelName | None:
        """The alias that it prefers, or takes no other than."""
        return self.prefer if self.only is None else self.only

    @property
    def names(self) -> frozenset[ModelName]:
        """Every alias that it names."""
        return frozenset(self.never) | ({self.takes} if self.takes is not None else frozenset())

    @property
    def digest(self) -> str:
        """Identity of the decision."""
        # what a rule does not say is no part of it: plain ones keep the digest they always had
        said = {"prefer": self.prefer, "only": self.only, "never": list(self.never)}
        return digest(
            "arbiter.rule.v1",
            {"task": self.task, "why": self.why, **{k: v for k, v in said.items() if v}},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What all rules say to one task.

    takes: the rule whose alias is preferred, or is the only one. never: the aliases that are never
    taken, each with the rule that says so.
    """

    takes: Rule | None = None
    never: Mapping[ModelName, Rule] = field(default_factory=dict)


def ruling(line: Sequence[TaskName], rules: Mapping[TaskName, Rule]) -> Ruling | None:
    """What the rules say to the first task of a line; None when none says anything.

    line: the task and those above it, the nearest first. The nearest rule that prefers somebody or
    takes no other decides whom. Nevers add up. Where two rules differ about an alias, the nearer
    one has its way.

    >>> fast, sums = ModelName("fast"), TaskName("sums")
    >>> rules = {TaskName("general"): Rule(task=TaskName("general"), never=(fast,))}
    >>> sorted(ruling([sums, TaskName("general")], rules).never)
    ['fast']
    >>> rules[sums] = Rule(task=sums, prefer=fast)
    >>> sorted(ruling([sums, TaskName("general")], rules).never)
    []
    """
    found = [rules[task] for task in line if task in rules]
    if not found:
        return None
    taken: set[ModelName] = set()
    never: dict[ModelName, Rule] = {}
    takes: Rule | None = None
    for rule in found:
        if rule.takes is not None:
            if not taken and rule.takes not in never:
                takes = rule
            taken.add(rule.takes)
        for alias in rule.never:
            if alias not in taken:
                never.setdefault(alias, rule)
    return Ruling(takes=takes, never=never)


class Rules:
    """Every rule, in memory and in the database. The only writer of both."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._rules: dict[TaskName, Rule] = {}
        self.revision = 0
        """Grows with every change, so that what was derived from the rules can be kept."""

    async def load(self) -> None:
        """Read what is kept."""
        for task, prefer, only, never, why in await self._database.read("list_rules"):
            rule = Rule(
                task=TaskName(str(task)),
                prefer=None if prefer is None else ModelName(str(prefer)),
                only=None if only is None else ModelName(str(only)),
                never=tuple(map(ModelName, json.loads(str(never)))),
                why=str(why),
            )
            self.written(rule)

    def get(self, task: TaskName) -> Rule | None:
        """The rule of this very task, if somebody made one."""
        return self._rules.get(task)

    def ruling(self, line: Sequence[TaskName]) -> Ruling | None:
        """What they say to the first task of a line, as `ruling` does."""
        return ruling(line, self._rules)

    def all(self) -> tuple[Rule, ...]:
        """Every rule, by task."""
        return tuple(self._rules[task] for task in sorted(self._rules))

    async def add(self, rule: Rule) -> Rule:
        """Keep a rule, or replace the one for the same task. Durable when it returns."""
        await self._database.write(self.writing(rule))
        self.written(rule)
        return rule

    def writing(self, rule: Rule) -> Statement:
        """What keeps a rule, for a write that holds more; `written` follows it."""
        now = self._clock.now().isoformat()
        never = json.dumps(rule.never)
        return Statement(
            query="add_rule",
            parameters=(rule.task, rule.prefer, rule.only, never, rule.why, now),
        )

    def written(self, rule: Rule) -> None:
        """Hold what is durable now."""
        self._rules[rule.task] = rule
        self.revision += 1

    async def remove(self, task: TaskName) -> None:
        """Forget the rule of a task. Raises `NotFound`."""
        written = await self._database.write(
            Statement(query="remove_rule", parameters=(task,), must_change=True)
        )
        if not written.applied:
            raise NotFound(f"No rule stands for task {task!r}.")
        del self._rules[task]
        self.revision += 1


def knowledge_digest(tasks: Iterable[Task], rules: Iterable[Rule]) -> str:
    """One digest over everything that people decided: it must outlive every swap unchanged."""
    return digest(
        "arbiter.knowledge.v1",
        {"tasks": [task.digest for task in tasks], "rules": [rule.digest for rule in rules]},
    )
