"""Requests with their answers, kept only when the user said so, to make cases of.

Off by default: then nothing here is ever written. What is kept has a bound in rows and in age and
can be deleted for good. Nothing of it goes into a log or an event. Only what a case can say again
is kept: a chat in plain text, of a task that the caller named.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from arbiter.clock import Clock
from arbiter.config import PrivacySettings
from arbiter.errors import ArbiterError
from arbiter.inference import Ask, Chat, Decided, Message
from arbiter.knowledge.tasks import Case, parse_case
from arbiter.refs import DecisionId, TaskName
from arbiter.storage.database import Database, Statement

LOG = logging.getLogger(__name__)

LARGEST = 200_000
"""Bytes of a request with its answer; a larger one is not kept."""

TRIM_EVERY = 64
"""Requests between two looks at the bound in rows: so many more than it may be kept."""

EXPIRE_EVERY_S = 3600.0
"""How often the bound in age is looked at."""

RIGHT = 0.99
"""A score from which on an answer counts as right."""

MOST_READ = 2_000
"""Requests looked at for one harvest, the newest first."""

_ROLES = frozenset({"system", "user", "assistant"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A kept request of which a right answer may be known.

    case: its prompt, with the right answer if that came along. answer: what a model said. grade:
    what the task's rule said of that; judged: what a person did. None: nothing.
    """

    decision: DecisionId
    case: Case
    answer: str
    grade: float | None
    judged: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How much is kept of a task, and from when."""

    task: TaskName
    count: int
    oldest: str
    newest: str


class Prompts:
    """Every kept request. The only writer of them."""

    def __init__(self, database: Database, clock: Clock, settings: PrivacySettings) -> None:
        self.settings = settings
        self._database = database
        self._clock = clock
        self._added = 0
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Delete what is too old, and go on doing so while anything may be kept."""
        await self._expire()
        if self.settings.store_prompts or await self.kept():
            self._task = asyncio.create_task(self._run(), name="old requests")
            self._task.add_done_callback(_report)

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def statements(
        self, ask: Ask, decided: Decided, pieces: Sequence[str]
    ) -> tuple[Statement, ...]:
        """What to write of an answered request, together with its outcome; mostly nothing."""
        if not self.settings.store_prompts or ask.task != decided.task:
            return ()
        messages = _plain_chat(ask)
        if messages is None:
            return ()
        case = Case(messages=messages, expected=ask.expected)
        said, answer = json.dumps(case.to_plain()["messages"]), "".join(pieces)
        if not answer or not _can_be_kept(said, answer, ask.expected or ""):
            return ()
        kept = Statement(
            query="add_prompt",
            parameters=(
                decided.decision,
                decided.task,
                said,
                ask.expected,
                answer,
                self._clock.now().isoformat(),
            ),
        )
        self._added += 1
        if self._added % TRIM_EVERY:
            return (kept,)
        return kept, self._trim()

    def _trim(self) -> Statement:
        return Statement(query="trim_prompts", parameters=(self.settings.most_prompts,))

    async def kept(self) -> tuple[Kept, ...]:
        """How much is kept, by task."""
        await self._database.settle()
        return tuple(
            Kept(task=TaskName(str(task)), count=int(count or 0), oldest=str(old), newest=str(new))
            for task, count, old, new in await self._database.read("count_prompts")
        )

    async def answered(self, task: TaskName) -> tuple[Answered, ...]:
        """Kept requests of a task for which a right answer may be known, the newest first."""
        await self._expire()
        rows = await self._database.read("list_answered_prompts", (task, RIGHT, RIGHT, MOST_READ))
        return tuple(
            Answered(
                decision=DecisionId(str(decision)),
                case=parse_case({"messages": json.loads(str(said)), "expected": expected}),
                answer=str(answer),
                grade=_real(grade),
                judged=_real(judged),
            )
            for decision, said, expected, answer, grade, judged in rows
        )

    async def forget(self, task: TaskName | None = None) -> int:
        """Delete what is kept, of one task or all of it, for good; how many there were."""
        written = await self._database.write(
            Statement(query="forget_all_prompts")
            if task is None
            else Statement(query="forget_prompts", parameters=(task,))
        )
        await self._database.scrub()
        return len(written.rows[0])

    async def _expire(self) -> None:
        before = self._clock.now() - timedelta(days=self.settings.keep_days)
        await self._database.write(
            Statement(query="expire_prompts", parameters=(before.isoformat(),)), self._trim()
        )

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(EXPIRE_EVERY_S)
            try:
                await self._expire()
            except ArbiterError as error:
                LOG.warning("old requests could not be deleted: %s", error.sentence)


def _plain_chat(ask: Ask) -> tuple[Message, ...] | None:
    """The messages of a request that a case can say again; None when none can."""
    work = ask.work
    if not isinstance(work, Chat) or work.tools is not None or work.shape is not None:
        return None
    if not work.messages or work.messages[-1].role != "user":
        return None
    plain = all(m.role in _ROLES and m.content and not (m.calls or m.parts) for m in work.messages)
    return work.messages if plain else None


def _can_be_kept(*texts: str) -> bool:
    """Whether a database takes these; an outcome must not be lost because of an odd answer."""
    whole = "".join(texts)
    try:
        return "\0" not in whole and len(whole.encode()) <= LARGEST
    except UnicodeEncodeError:
        return False


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _report(task: asyncio.Task[None]) -> None:
    """A fault of ours in the background must not pass in silence."""
    if not task.cancelled() and task.exception() is not None:
        LOG.error("%s are no longer deleted", task.get_name(), exc_info=task.exception())
