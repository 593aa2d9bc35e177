"""Which version a request gets that leaves the choice to the house, and why."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache

from msgspec import structs

from arbiter.dispatch.arms import Arms
from arbiter.dispatch.behind import Behind
from arbiter.dispatch.route import Route
from arbiter.errors import (
    NothingCapable,
    NothingThere,
    PromptTooLong,
    UnknownTask,
)
from arbiter.inference import (
    Ask,
    Considered,
    Limits,
    Work,
    needed,
)
from arbiter.knowledge.tasks import Task
from arbiter.refs import TaskName, VersionId
from arbiter.selection.contender import (
    Choice,
    Seen,
)
from arbiter.selection.conversations import Conversations
from arbiter.selection.room import demanded
from arbiter.selection.ruled import Preferences
from arbiter.selection.too_long import prompt_too_long


class Choosing:
    """Picks by what is known, and says why. The only writer of who has which conversation."""

    def __init__(self, behind: Behind, arms: Arms, preferences: Preferences) -> None:
        self._behind = behind
        self._arms = arms
        self._preferences = preferences
        self._registry = behind.registry
        self._pool = behind.pool
        self._clock = behind.clock
        self._words: dict[TaskName, tuple[Choice, tuple[Considered, ...]]] = {}
        self._conversations = Conversations()

    def choose(self, task: TaskName, limits: Limits) -> Choice:
        """Whom `auto` would pick now, and why; nothing is run."""
        found = self._behind.tasks.get(task)
        return self._pick(found, found.limits.narrowed(limits), conversation=None)

    def among_all(self, ask: Ask, task: Task) -> Route:
        """The route of a request that leaves the choice to the house.

        Raises `NothingCapable`, `NothingThere`, and `PromptTooLong` where the length alone stands
        in the way.
        """
        limits = ask.limits.narrowed(_needing(needed(ask.work)))
        least = self._arms.least_context()
        limits = limits.narrowed(demanded(ask.work, ask.sampling.max_tokens, least))
        return self._guessed(ask, limits) or self._automatic(ask, task, limits)

    def _guessed(self, ask: Ask, limits: Limits) -> Route | None:
        """The route of the task that is guessed, if the caller named none and the guess is sure.

        A guess must not cost anybody an answer: where nobody can serve that task, none is made.
        """
        guesser = self._behind.guesser
        if ask.task is not None or guesser is None:
            return None
        guess = guesser.guess(ask.work, self._behind.tasks.parents())
        if guess is not None:
            with suppress(UnknownTask, NothingCapable, NothingThere, PromptTooLong):
                route = self._automatic(ask, self._behind.tasks.get(guess.task), limits)
                return structs.replace(route, guess=guess, reason=f"{guess}; {route.reason}")
        return None

    def _automatic(self, ask: Ask, task: Task, limits: Limits) -> Route:
        now, talk = self._clock.monotonic(), ask.talk or ask.conversation
        held = None if ask.rehearsal else self._conversations.get(talk, task.name, now=now)
        word = talk if ask.rehearsal else self._conversations.drawn_by(talk, task.name, now=now)
        limits = task.limits.narrowed(limits)
        try:
            choice = self._fitting(
                task, limits, conversation=word, held=None if held is None else held.version
            )
        except NothingCapable as error:
            raise self._too_long(ask.work, task, limits) or error from None
        picked = (one.contender.version for one in choice.scored)
        in_turn = (*picked, *choice.rest, *self._arms.last_resort(choice))
        versions = tuple([self._registry.version(version) for version in in_turn])
        probability = choice.probability
        is_held = held is not None and held.version == versions[0].version and not choice.by_rule
        if held is not None and is_held:
            # what was drawn then is what its later turns are owed to
            probability = held.probability
        elif not ask.rehearsal and not choice.by_rule:
            self._conversations.hold(
                talk, task.name, versions[0].version, probability=probability, now=now
            )
        return Route(
            task=task,
            alias=choice.alias,
            versions=versions,
            reason=choice.reason,
            probability=probability,
            fallback=None if choice.fallback is None else choice.fallback.contender.name,
            considered=self._considered(task.name, choice),
            would_change=choice.would_change,
            is_held=is_held,
            by_rule=choice.by_rule,
            dropped=choice.dropped,
        )

    def _too_long(self, work: Work, task: Task, limits: Limits) -> PromptTooLong | None:
        """What to say instead where nobody lacks anything but room for the prompt, or None."""
        if limits.prompt_chars is None:
            return None
        limits = structs.replace(limits, prompt_chars=None, answer_tokens=None)
        # whose server is away has no more room when it is back
        seen = tuple([_as_if_there(one) for one in self._arms.seen_at(task.name)])
        try:
            choice = self._picked(seen, task, limits, conversation=None, held=None)
        except NothingCapable:
            return None
        able = {one.contender.version for one in choice.scored} | set(choice.rest)
        return prompt_too_long(work, seen, able)

    def _considered(self, task: TaskName, choice: Choice) -> tuple[Considered, ...]:
        """Everybody in words; the same again while the pick and its reasons are the same."""
        known = self._words.get(task)
        if known is None or known[0] is not choice:
            known = self._words[task] = (choice, choice.considered)
        return known[1]

    def _fitting(
        self, task: Task, limits: Limits, *, conversation: str | None, held: VersionId | None
    ) -> Choice:
        """As `_pick`, but room for the longest answer is asked of nobody if nobody has it."""
        try:
            return self._pick(task, limits, conversation=conversation, held=held)
        except (NothingCapable, NothingThere):
            if limits.answer_tokens is None:
                raise
        limits = structs.replace(limits, answer_tokens=None)
        return self._pick(task, limits, conversation=conversation, held=held)

    def _pick(
        self,
        task: Task,
        limits: Limits,
        *,
        conversation: str | None,
        held: VersionId | None = None,
    ) -> Choice:
        seen = self._arms.seen_at(task.name)
        try:
            return self._picked(seen, task, limits, conversation=conversation, held=held)
        except NothingThere:
            if not self._pool.ailing():
                raise
            # a breaker never takes away the last who could serve
            forgiven = tuple([self._arms.forgiven(one) for one in seen])
            return self._picked(forgiven, task, limits, conversation=conversation, held=held)

    def _picked(
        self,
        seen: Sequence[Seen],
        task: Task,
        limits: Limits,
        *,
        conversation: str | None,
        held: VersionId | None,
    ) -> Choice:
        return self._behind.selector.pick(
            seen,
            task=task,
            limits=limits,
            rule=self._preferences.get(task.name),
            situation=self._behind.situation,
            conversation=conversation,
            held=held,
        )


def _as_if_there(seen: Seen) -> Seen:
    one = seen.contender
    return (
        seen if one.absent is None else structs.replace(seen, contender=replace(one, absent=None))
    )


@lru_cache(maxsize=64)
def _needing(needs: frozenset[str]) -> Limits:
    """These needs and nothing else; the same value again, which is quick to look up."""
    return Limits(needs=needs)
