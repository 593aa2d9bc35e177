"""Rules: what people decided about who serves a task, whatever the scores say.

A rule names an alias, never a version: that is why a swap keeps every rule by construction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from arbiter.clock import Clock
from arbiter.errors import NotFound
from arbiter.knowledge.tasks import Task
from arbiter.refs import ModelName, TaskName, digest
from arbiter.storage.database import Database, Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """For this task, take this alias as long as it is able to."""

    task: TaskName
    prefer: ModelName
    why: str = ""

    @property
    def digest(self) -> str:
        """Identity of the decision."""
        return digest(
            "arbiter.rule.v1", {"task": self.task, "prefer": self.prefer, "why": self.why}
        )


class Rules:
    """Every rule, in memory and in the database. The only writer of both."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._rules: dict[TaskName, Rule] = {}

    async def load(self) -> None:
        """Read what is kept."""
        for task, prefer, why in await self._database.read("list_rules"):
            rule = Rule(task=TaskName(str(task)), prefer=ModelName(str(prefer)), why=str(why))
            self._rules[rule.task] = rule

    def get(self, task: TaskName) -> Rule | None:
        """The rule for a task, if somebody made one."""
        return self._rules.get(task)

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
        return Statement(query="add_rule", parameters=(rule.task, rule.prefer, rule.why, now))

    def written(self, rule: Rule) -> None:
        """Hold what is durable now."""
        self._rules[rule.task] = rule

    async def remove(self, task: TaskName) -> None:
        """Forget the rule of a task. Raises `NotFound`."""
        written = await self._database.write(
            Statement(query="remove_rule", parameters=(task,), must_change=True)
        )
        if not written.applied:
            raise NotFound(f"No rule stands for task {task!r}.")
        del self._rules[task]


def knowledge_digest(tasks: Iterable[Task], rules: Iterable[Rule]) -> str:
    """One digest over everything that people decided: it must outlive every swap unchanged."""
    return digest(
        "arbiter.knowledge.v1",
        {"tasks": [task.digest for task in tasks], "rules": [rule.digest for rule in rules]},
    )
