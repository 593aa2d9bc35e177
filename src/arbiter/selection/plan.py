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
    nothing_left,
    preferred_of,
)
from arbiter.selection.filters import drop_reason
from arbiter.selection.utility import Worth, explained, usual_latency, what_would_change, worth


class Plan:
    """What `auto` does at a task. One writer: the selector that owns it."""

    def __init__(self, table: Table, *, task: Task, limits: Limits, situation: Situation) -> None:
        self._table = table
        self._task = task
        self._limits = limits
        self._situation = situation
        self._weights = task.weights or situation.weights
        self._revision: tuple[int, int] | None = None
        self._seen: list[Seen] = []
        self._found: list[Worth | Dropped] = []
        self._usual = usual_latency(())
        self._able: list[Worth] = []
        self._names: list[VersionId] = []
        self._vector: list[float] | None = None
        self._order: list[int] = []
        self._told: dict[int, Choice] = {}
        self._words: dict[VersionId, tuple[Worth, Scored]] = {}

    def is_about(self, task: Task, situation: Situation) -> bool:
        """Whether the plan was made for this very task and situation."""
        return self._task is task and self._situation is situation

    def look(self, contenders: Sequence[Seen]) -> None:
        """Take in what changed."""
        revision = self._table.revision(self._task.name)
        if revision != self._revision or len(contenders) != len(self._seen):
            self._seen = list(contenders)
            self._found = [self._judge(one) for one in contenders]
            timed = [
                w.latency for w in self._found if isinstance(w, Worth) and w.latency is not None
            ]
            usual = usual_latency(timed)
            if usual != self._usual:
                self._usual = usual
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
            self._weigh()

    def pick(self, rule: Preference | None, conversation: str | None) -> Choice:
        """Whom this conversation gets, and why. Raises `NothingCapable`."""
        if not self._able or self._vector is None:
            raise nothing_left(self._task, [one for one in self._found if isinstance(one, Dropped)])
        if rule is not None:
            return self._ruled(rule, conversation)
        if conversation is None:
            place = self._order[0]
        else:
            place = drawn(self._names, self._vector, conversation)
        choice = self._told.get(place)
        if choice is None:
            choice = self._told[place] = self._choice(place)
        return choice

    def _judge(self, seen: Seen) -> Worth | Dropped:
        reason = drop_reason(seen, self._limits, self._situation)
        contender = seen.contender
        if reason is not None:
            return Dropped(name=contender.name, version=contender.version, reason=reason)
        return worth(
            seen,
            self._table.get(self._task.name, contender.version),
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
        vector = chances([one.arm for one in self._able])
        self._vector = vector
        keys = [
            (-chance, -one.arm.mean, one.seen.contender.name)
            for chance, one in zip(vector, self._able, strict=True)
        ]
        self._order = sorted(range(len(keys)), key=keys.__getitem__)

    def _scored(self, first: int) -> tuple[Scored, ...]:
        """The words for each contender, kept until what they say changes."""
        vector, able, names, words = self._vector or [], self._able, self._names, self._words
        told: list[Scored] = []
        for place in [first, *(place for place in self._order if place != first)]:
            one, probability = able[place], vector[place]
            known = words.get(names[place])
            if known is None or known[0] is not one or known[1].probability != probability:
                known = words[names[place]] = (one, explained(one, probability))
            told.append(known[1])
        return tuple(told)

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

    def _ruled(self, rule: Preference, conversation: str | None) -> Choice:
        """The rule decides as long as its version is able; otherwise the plan, which says so."""
        choice = self.pick(None, conversation)
        preferred = preferred_of(choice.scored, rule)
        if preferred is None:
            note = f"; the rule prefers {rule.rule.prefer}, which cannot serve it now"
            return replace(choice, reason=choice.reason + note)
        rest = tuple(one for one in choice.scored if one is not preferred)
        why = f" ({rule.rule.why})" if rule.rule.why else ""
        return Choice(
            alias=rule.rule.prefer,
            primary=preferred,
            fallback=rest[0] if rest else None,
            scored=(preferred, *rest),
            dropped=choice.dropped,
            reason=f"rule: {self._task.name} prefers {rule.rule.prefer}{why}",
            probability=1.0,
        )
