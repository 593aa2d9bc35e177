"""The task of a request that names none, guessed; learned from every request that names one.

Learned from are also the stored cases of the tasks: they are prompts whose task is known, so a new
task is recognised before anybody asked for it. What was learned is kept in the database as counts
of hashed traits; no prompt is. Each task's counts are written now and then, when the house closes,
and when its cases were learned: a kill loses the last few requests' lessons, and nobody was told
of any.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from arbiter.clock import Clock
from arbiter.inference import Chat, Embedding, Work
from arbiter.knowledge.guess import Guess, best_guess
from arbiter.knowledge.kinds import Kinds
from arbiter.knowledge.tasks import Task
from arbiter.knowledge.traits import fingerprint, traits
from arbiter.refs import GENERAL, TaskName
from arbiter.storage.database import Database, Statement

MOST_CASES = 128
"""Cases of a task that are learned from."""

ALL_UP_TO = 512
"""Requests of a task that are all learned from; of those after them one in `ONE_IN` is, so that
what learning costs a busy house stays small."""

ONE_IN = 4

SAVE_EVERY = 32
"""Requests of a task between two writes of what it taught."""

REMEMBERED = 4_096
"""Beginnings of conversations that teach no second time while they are remembered: a conversation's
later turns, and what is asked over and over, are no further examples."""

_TRUST = TaskName("")  # the row of what belongs to no task


class Guesser:
    """Guesses tasks. The only writer of what is known of them.

    least: how probable a task must be for it to be guessed.
    """

    def __init__(self, database: Database, clock: Clock, *, least: float) -> None:
        self.least = least
        self._database = database
        self._clock = clock
        self._kinds = Kinds()
        self._cases: dict[TaskName, list[int]] = {}
        self._recent: dict[int, None] = {}
        self._unsaved: dict[TaskName, int] = {}

    async def load(self, tasks: Iterable[Task]) -> None:
        """Read what is kept of these tasks, and learn from those of their cases that are new."""
        known = {task.name: task for task in tasks}
        for name, state in await self._database.read("list_guessing"):
            if name in known or name in {GENERAL, _TRUST}:
                # what another release wrote is learned anew: it is no reason to stay closed
                with suppress(ValueError, LookupError, TypeError):
                    self._restore(TaskName(str(name)), json.loads(str(state)))
        for task in known.values():
            self.take(task)

    def _restore(self, name: TaskName, state: Mapping[str, Any]) -> None:
        if name == _TRUST:
            self._kinds.restore_trust(state["trust"])
            return
        self._kinds.restore_task(name, state)
        self._cases[name] = [int(mark) for mark in state["cases"]]

    def take(self, task: Task) -> None:
        """Learn from a task's cases, each once, also if the task was there before."""
        known = self._cases.get(task.name, [])
        works = [Chat(messages=case.messages) for case in task.cases[:MOST_CASES]]
        prints = [fingerprint(work) for work in works]
        for work, mark in zip(works, prints, strict=True):
            if mark not in known:
                self._kinds.learn_one(traits(work), task.name)
        if prints != known and self._kinds.learned(task.name):
            self._cases[task.name] = prints
            self._save(task.name)

    def learn(self, work: Work, task: TaskName) -> None:
        """Learn from a request whose caller named the task. Its cost is bounded."""
        if isinstance(work, Embedding):
            return
        mark = fingerprint(work)
        if mark in self._recent:
            return
        self._recent[mark] = None
        if len(self._recent) > REMEMBERED:
            del self._recent[next(iter(self._recent))]
        if self._kinds.learned(task) >= ALL_UP_TO and mark % ONE_IN:
            return
        self._kinds.learn_one(traits(work), task)
        if not self._kinds.learned(task):
            return
        self._unsaved[task] = self._unsaved.get(task, 0) + 1
        if self._unsaved[task] >= SAVE_EVERY:
            self._save(task)

    def guess(self, work: Work, parents: Mapping[TaskName, TaskName] | None = None) -> Guess | None:
        """The task that a request is probably of; None when that is not sure enough.

        Texts to make vectors of are never told apart: vectors of two models are of no use.
        parents: the parent of each task that has one.
        """
        if isinstance(work, Embedding) or not self._kinds.tells_apart:
            return None
        return best_guess(self._kinds.predict(traits(work)), least=self.least, parents=parents)

    def forget(self, task: TaskName) -> None:
        """Forget what was learned of a task that is no more."""
        self._kinds.forget(task)
        self._cases.pop(task, None)
        self._unsaved.pop(task, None)
        self._database.enqueue(Statement(query="remove_guessing", parameters=(task,)))

    def save(self) -> None:
        """Have everything written that was learned since the last time."""
        for task in sorted(self._unsaved):
            self._save(task)

    def _save(self, task: TaskName) -> None:
        self._unsaved.pop(task, None)
        state = {**self._kinds.task_state(task), "cases": self._cases.get(task, [])}
        self._put(task, state)
        self._put(_TRUST, {"trust": self._kinds.trust_state()})

    def _put(self, name: TaskName, state: Mapping[str, object]) -> None:
        parameters = (name, json.dumps(state), self._clock.now().isoformat())
        self._database.enqueue(Statement(query="put_guessing", parameters=parameters))
