"""A task's contenders with their probabilities, kept until the evidence changes.

A plan belongs to one task under one set of limits. Looking again costs what changed: a contender
whose evidence is another value, or all of them when the table says so. Only the pick itself is
done for every request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import is_

from arbiter.inference import Dropped, Limits
from arbiter.knowledge.rules import Rule
from arbiter.knowledge.tasks import Task
from arbiter.refs import VersionId
from arbiter.selection.bandit import Table
from arbiter.selection.chances import chances, drawn
from arbiter.selection.contender import (
    Choice,
    Preference,
    Scored,
    Seen,
    Situation,
    preferred_of,
)
from arbiter.selection.filters import drop_reason
from arbiter.selection.ruled import nobody_left, not_followed, ruled_out, ruled_reason
from arbiter.selection.utility import Worth, explained, usual_latency, what_would_change, worth

NOTICEABLE = 0.01
"""A change of the usual latency's part below this is none."""


class Plan:
    """What `auto` does at a task. One writer: the selector that owns it."""

    def __init__(self, table: Table, *, task: Task, limits: Limits, situation: Situation) -> None:
        self._table = table
        self._task = task
        self._limits = limits
        self._situation = situation
        self._weights = task.weights or situation.weights
        self._rule: Preference | None = None
        self._revision: tuple[int, int] | None = None
        self._seen: list[Seen] = []
        self._found: list[Worth | Dropped] = []
        self._usual = usual_latency(())
        self._able: list[Worth] = []
        self._names: list[VersionId] = []
        self._places: dict[VersionId, int] = {}
        self._vector: list[float] | None = None
        self._order: list[int] = []
        self._told: dict[int, Choice] = {}
        self._words: dict[VersionId, tuple[Worth, Scored]] = {}

    def is_about(self, task: Task, situation: Situation) -> bool:
        """Whether the plan was made for this very task and situation."""
        return self._task is task and self._situation is situation

    def look(self, contenders: Sequence[Seen], rule: Preference | None = None) -> None:
        """Take in what changed. rule: what the rules say to the task now."""
        if rule is not self._rule:
            self._rule = rule
            self._revision = None
        revision = self._table.revision(self._task.name)
        if revision != self._revision or len(contenders) != len(self._seen):
            self._seen = list(contenders)
            self._found = [self._judge(one) for one in contenders]
            self._revision = revision
            self._vector = None
        elif not all(map(is_, contenders, self._seen)):
            for place, one in enumerate(contenders):
                if one is not self._seen[place]:
                    self._seen[place] = one
                    self._found[place] = self._judge(one)
            self._vector = None
        if self._vector is None:
            self._expect()
            self._weigh()

    def _expect(self) -> None:
        """Take whoever was never timed to be as quick as the others are now."""
        able = [one for one in self._found if isinstance(one, Worth)]
        usual = usual_latency([one.latency for one in able if one.latency is not None])
        if abs(usual - self._usual) > NOTICEABLE:
            self._usual = usual
            for place, one in enumerate(self._found):
                if isinstance(one, Worth) and one.latency is None:
                    self._found[place] = self._judge(self._seen[place])

    def pick(self, conversation: str | None, held: VersionId | None = None) -> Choice:
        """Whom this conversation gets, and why. Raises `NothingCapable`."""
        if not self._able or self._vector is None:
            dropped = [one for one in self._found if isinstance(one, Dropped)]
            raise nobody_left(self._task, dropped, self._rule)
        choice = self._drawn(self._vector, conversation, held)
        if self._rule is None or self._rule.rule is None:
            return choice
        return self._ruled(choice, self._rule, self._rule.rule)

    def _drawn(
        self, vector: Sequence[float], conversation: str | None, held: VersionId | None
    ) -> Choice:
        """Whom the evidence gives it to."""
        kept = self._places.get(held) if held is not None else None
        if kept is not None and vector[kept] > 0.0:
            place = kept
        elif conversation is None:
            place = self._order[0]
        else:
            place = drawn(self._names, vector, conversation)
        choice = self._told.get(place)
        if choice is None:
            choice = self._told[place] = self._choice(place)
        return choice

    def _judge(self, seen: Seen) -> Worth | Dropped:
        contender = seen.contender
        belief = self._table.get(self._task.name, contender.version)
        reason = ruled_out(contender, self._task.name, self._rule) or drop_reason(
            seen, self._limits, self._situation, belief
        )
        if reason is not None:
            return Dropped(name=contender.name, version=contender.version, reason=reason)
        if contender.absent is not None:
            # asked last: what is dropped for this alone may serve another time
            return Dropped(
                name=contender.name,
                version=contender.version,
                reason=contender.absent,
                is_absent=True,
            )
        return worth(
            seen,
            belief,
            limits=self._limits,
            situation=self._situation,
            weights=self._weights,
            others=self._usual,
        )

    def _weigh(self) -> None:
        """The probabilities of those that are able."""
        self._able = [one for one in self._found if isinstance(one, Worth)]
        self._told = {}
        if not self._able:
            return
        self._names = [one.seen.contender.version for one in self._able]
        self._places = {version: place for place, version in enumerate(self._names)}
        vector = chances([one.arm for one in self._able])
        self._vector = vector
        able = self._able
        self._order = sorted(
            range(len(able)),
            key=lambda k: (-vector[k], -able[k].arm.mean, able[k].seen.contender.name),
        )

    def _scored(self, first: int) -> tuple[Scored, ...]:
        vector = self._vector or []
        order = [first, *(place for place in self._order if place != first)]
        return tuple(self._explained(self._able[place], vector[place]) for place in order)

    def _explained(self, one: Worth, probability: float) -> Scored:
        """The words for a contender, kept until what they say changes."""
        version = one.seen.contender.version
        known = self._words.get(version)
        if known is None or known[0] is not one or known[1].probability != probability:
            known = self._words[version] = (one, explained(one, probability))
        return known[1]

    def _choice(self, place: int) -> Choice:
        scored = self._scored(place)
        best, task = scored[0], self._task.name
        text = f"{best.contender.name} is worth {best.score:.3f} on {task}: {best.explanation}"
        change = None
        if len(scored) > 1:
            second = scored[1]
            text += (
                f"; next {second.contender.name} {second.score:.3f}, "
                f"picked {second.probability:.0%} of the time"
            )
            runner = next(p for p in self._order if p != place)
            change = what_would_change(self._able[place], self._able[runner], self._weights, task)
        else:
            text += "; nothing else can serve it"
        return Choice(
            alias=best.contender.name,
            primary=best,
            fallback=scored[1] if len(scored) > 1 else None,
            scored=scored,
            dropped=tuple(one for one in self._found if isinstance(one, Dropped)),
            reason=text,
            probability=best.probability,
            would_change=change,
        )

    def _ruled(self, choice: Choice, preference: Preference, rule: Rule) -> Choice:
        """The rule decides as long as its version is able; otherwise the plan, which says so."""
        preferred = preferred_of(choice.scored, preference)
        if preferred is None:
            return replace(choice, reason=choice.reason + not_followed(preference))
        rest = tuple(one for one in choice.scored if one is not preferred)
        return Choice(
            alias=rule.takes or choice.alias,
            primary=preferred,
            fallback=rest[0] if rest else None,
            scored=(preferred, *rest),
            dropped=choice.dropped,
            reason=ruled_reason(rule, self._task.name),
            probability=1.0,
            by_rule=True,
        )
