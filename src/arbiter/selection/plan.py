"""A task's contenders with their probabilities, kept until the evidence changes.

A plan belongs to one task under one set of limits. Looking again costs what changed: a contender
whose evidence is another value, or all of them when the table says so. Only the pick itself is
done for every request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from heapq import nlargest
from math import inf
from operator import is_

from arbiter.inference import Dropped, Limits
from arbiter.knowledge.rules import Rule
from arbiter.knowledge.tasks import Task
from arbiter.refs import ModelName, VersionId
from arbiter.selection.bandit import Table
from arbiter.selection.chances import chances, drawn
from arbiter.selection.contender import (
    Choice,
    Preference,
    Seen,
    Situation,
)
from arbiter.selection.energy import Scale, scale_of
from arbiter.selection.filters import drop_reason
from arbiter.selection.ruled import (
    nobody_left,
    not_followed,
    ruled_out,
    ruled_reason,
    what_would_change_it,
)
from arbiter.selection.utility import Worth, explained, usual_latency, what_would_change, worth

NOTICEABLE = 0.01
"""A change of the usual latency's part below this is none."""


FRONT = 8
"""Contenders whose probabilities are worked out and who are told: the most promising ones."""

TOLD = 4
"""Of those that are not picked at all, so many are told, and may serve when the pick fails."""

FEW = 16
"""So few contenders are all judged again whenever something was learned elsewhere."""

AT_ONCE = 3
"""Contenders that one look judges again because of what was learned elsewhere."""


SLIGHT = 0.03
"""A part of what an arm is unsure by; what moves by less is left until it moves by more.

That holds for what is learned elsewhere, for neglect and for what an answer took. A score of its
own moves a contender at once, however little."""


class Plan:
    """What `auto` does at a task. One writer: the selector that owns it.

    Whoever has evidence of its own is judged again at once. What is learned elsewhere moves all of
    them a little: then a few are judged again with each look, the most promising first, so that no
    single request waits for hundreds.
    """

    def __init__(self, table: Table, *, task: Task, limits: Limits, situation: Situation) -> None:
        self._table = table
        self._task = task
        self._limits = limits
        self._situation = situation
        self._weights = task.weights or situation.weights
        self._rule: Preference | None = None
        self._revision: tuple[int, int] | None = None
        self._seen: list[Seen] = []
        self._versions: list[VersionId] = []
        self._found: list[Worth | Dropped] = []
        self._judged: list[Seen] = []
        """What each was when it was last worked out, if only to find that little had moved."""
        self._promise: list[float] = []
        self._means: list[float] = []
        self._pending: list[int] = []
        self._behind = 0
        self._cursor = 0
        self._usual = usual_latency(None)
        self._scale: Scale | None = None
        self._has_stirred = False
        self._untimed: set[int] = set()
        self._timed = (0, 0.0)
        self._dropped: dict[int, Dropped] = {}
        self._front: list[int] = []
        self._vector: dict[int, float] | None = None
        self._vital: set[int] = set()
        self._bar = self._best = -inf
        self._places: dict[VersionId, int] = {}
        self._told: dict[int, Choice] = {}

    def is_about(self, task: Task, situation: Situation) -> bool:
        """Whether the plan was made for this very task and situation."""
        return self._task is task and self._situation is situation

    def look(self, contenders: Sequence[Seen], rule: Preference | None = None) -> None:
        """Take in what changed. rule: what the rules say to the task now."""
        is_same = len(contenders) == len(self._seen) and all(map(is_, contenders, self._seen))
        if rule is not self._rule or not (is_same or self._is_of(contenders)):
            self._begin(contenders, rule)
        elif not is_same:
            for place, (new, old) in enumerate(zip(contenders, self._seen, strict=True)):
                if new is not old:
                    self._seen[place] = new
                    self._catch_up(place, its_own=True)
        revision = self._table.revision(self._task.name)
        if revision != self._revision:
            self._revision = revision
            if len(self._seen) <= FEW:
                for place in range(len(self._seen)):
                    self._judge(place)
            else:
                self._pending, self._behind = self._front[::-1], len(self._seen)
        if self._vector is not None and (self._pending or self._behind):
            self._go_on()
        self._expect()
        self._balance()
        if self._vector is None:
            self._weigh()

    def look_again(self, contenders: Sequence[Seen]) -> None:
        """Take in what changed, between two requests."""
        if self._is_of(contenders):
            self.look(contenders, self._rule)

    def _is_of(self, contenders: Sequence[Seen]) -> bool:
        """Whether these are the versions that the plan is about, each in its place."""
        return [one.contender.version for one in contenders] == self._versions

    def _begin(self, contenders: Sequence[Seen], rule: Preference | None) -> None:
        self._rule = rule
        self._seen = list(contenders)
        self._found = [_NOT_YET] * len(contenders)
        self._judged = list(contenders)
        self._promise = [-inf] * len(contenders)
        self._means = [-inf] * len(contenders)
        self._front, self._pending, self._behind, self._cursor = [], [], 0, 0
        self._untimed, self._timed, self._dropped = set(), (0, 0.0), {}
        self._versions = [one.contender.version for one in contenders]
        self._places = {version: at for at, version in enumerate(self._versions)}
        self._revision = self._table.revision(self._task.name)
        self._vector, self._vital = None, set()
        for place in range(len(contenders)):
            self._judge(place)

    def _go_on(self) -> None:
        """Judge some of those again that were judged before the table changed."""
        for _ in range(AT_ONCE):
            if self._pending:
                self._catch_up(self._pending.pop())
            elif self._behind:
                self._behind -= 1
                self._cursor = (self._cursor + 1) % len(self._seen)
                self._catch_up(self._cursor)

    def _catch_up(self, place: int, *, its_own: bool = False) -> None:
        """Judge a contender again, and leave it at that where nothing noticeable has moved.

        its_own: whether it has new evidence of its own; then a new score is always noticeable, and
        so is another state of the contender itself.
        """
        before, seen = self._found[place], self._seen[place]
        if its_own and isinstance(before, Worth) and _is_as_before(self._judged[place], seen):
            return
        self._judged[place] = seen
        found = self._verdict(seen)
        if isinstance(before, Worth) and isinstance(found, Worth):
            near = found.arm.is_near(before.arm, SLIGHT)
            if near and not (its_own and _is_told_otherwise(before, found)):
                return
        self._take(place, found)

    def pick(self, conversation: str | None, held: VersionId | None = None) -> Choice:
        """Whom this conversation gets, and why. Raises `NothingCapable`."""
        if not self._vector:
            dropped = [self._dropped[place] for place in sorted(self._dropped)]
            raise nobody_left(self._task, dropped, self._rule)
        choice = self._drawn(self._vector, conversation, held)
        if self._rule is None or self._rule.rule is None:
            return choice
        return self._ruled(choice, self._rule, self._rule.rule)

    def _drawn(
        self, vector: Mapping[int, float], conversation: str | None, held: VersionId | None
    ) -> Choice:
        """Whom the evidence gives it to."""
        kept = self._places.get(held) if held is not None else None
        if kept is not None and vector.get(kept, 0.0) > 0.0:
            place = kept
        elif conversation is None or len(self._front) == 1:
            place = self._front[0]
        else:
            names = [self._seen[at].contender.version for at in self._front]
            shares = [vector[at] for at in self._front]
            place = self._front[drawn(names, shares, conversation)]
        choice = self._told.get(place)
        if choice is None:
            choice = self._told[place] = self._choice(place)
        return choice

    def _judge(self, place: int) -> None:
        """Work out again what a contender is worth, or why it is dropped."""
        seen = self._judged[place] = self._seen[place]
        self._take(place, self._verdict(seen))

    def _take(self, place: int, found: Worth | Dropped) -> None:
        before = self._found[place]
        self._found[place] = found
        self._has_stirred = True
        if place in self._vital or self._matters(before, found):
            self._vector = None
        elif place in self._front:
            self._told = {}
        self._dropped.pop(place, None)
        self._untimed.discard(place)
        count, total = self._timed
        if isinstance(before, Worth) and before.latency is not None:
            count, total = count - 1, total - before.latency
        if isinstance(found, Dropped):
            self._promise[place] = self._means[place] = -inf
            self._dropped[place] = found
        else:
            self._promise[place], self._means[place] = found.arm.promise, found.arm.mean
            if found.latency is None:
                self._untimed.add(place)
            else:
                count, total = count + 1, total + found.latency
        self._timed = (count, total)

    def _matters(self, before: Worth | Dropped, found: Worth | Dropped) -> bool:
        """Whether a contender that had no part in the probabilities may have one now."""
        if isinstance(found, Dropped) or isinstance(before, Dropped):
            return found != before
        return found.arm.promise >= self._bar or found.arm.mean >= self._best

    def _verdict(self, seen: Seen) -> Worth | Dropped:
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
            scale=self._scale,
        )

    def _expect(self) -> None:
        """Take whoever was never timed to be as quick as the others are now."""
        count, total = self._timed
        usual = usual_latency(total / count if count else None)
        if self._untimed and abs(usual - self._usual) > NOTICEABLE:
            self._usual = usual
            for place in sorted(self._untimed):
                self._judge(place)

    def _balance(self) -> None:
        """Measure everybody's energy against the best of those who are able, where it counts."""
        if not self._weights.energy or not self._has_stirred:
            return
        scale = scale_of(one.mwh for one in self._found if isinstance(one, Worth))
        if scale != self._scale and (scale is None or not scale.is_near(self._scale)):
            self._scale = scale
            for place in range(len(self._seen)):
                self._judge(place)
        self._has_stirred = False

    def _weigh(self) -> None:
        """The probabilities of the most promising of those that are able."""
        front, least = self._compared()
        worths = [one for one in map(self._found.__getitem__, front) if isinstance(one, Worth)]
        shares = chances([one.arm for one in worths]) if worths else []
        ranked = sorted(
            zip(front, worths, shares, strict=True),
            key=lambda one: (-one[2], -one[1].arm.mean, one[1].seen.contender.name),
        )
        self._front = [at for at, _, _ in ranked]
        self._vector = {at: share for at, _, share in ranked}
        self._told = {}
        self._bar, self._best = least, max((one.arm.mean for one in worths), default=inf)
        self._vital = set(front)

    def _compared(self) -> tuple[Sequence[int], float]:
        """Who is compared, and below what promise nobody is: everybody, if they are few."""
        if len(self._seen) - len(self._dropped) <= FRONT:
            return [at for at in range(len(self._seen)) if at not in self._dropped], -inf
        least, best = nlargest(FRONT, self._promise)[-1], max(self._means)
        return [
            at
            for at, promise in enumerate(self._promise)
            if promise >= least or self._means[at] >= best
        ], least

    def _choice(self, place: int) -> Choice:
        vector, task = self._vector or {}, self._task.name
        others = [at for at in self._front if at != place]
        told = [
            (one, vector.get(at, 0.0))
            for number, at in enumerate((place, *others))
            if (number <= TOLD or vector.get(at, 0.0) > 0.0)
            and isinstance(one := self._found[at], Worth)
        ]
        scored = tuple([explained(one, chance) for one, chance in told])
        best = scored[0]
        text = f"{best.contender.name} is worth {best.score:.3f} on {task}: {best.explanation}"
        change = None
        if len(scored) > 1:
            second = scored[1]
            text += (
                f"; next {second.contender.name} {second.score:.3f}, "
                f"picked {second.probability:.0%} of the time"
            )
            change = what_would_change(told[0][0], told[1][0], self._weights, task)
        else:
            text += "; nothing else can serve it"
        return Choice(
            alias=best.contender.name,
            primary=best,
            fallback=scored[1] if len(scored) > 1 else None,
            scored=scored,
            dropped=tuple([self._dropped[at] for at in sorted(self._dropped)]),
            reason=text,
            probability=best.probability,
            would_change=change,
            rest=self._rest({one.contender.version for one in scored}),
        )

    def _rest(self, told: set[VersionId]) -> tuple[VersionId, ...]:
        """Who could serve besides: when all that were told are gone, nobody else may be missing."""
        dropped = self._dropped
        return tuple(
            [v for at, v in enumerate(self._versions) if v not in told and at not in dropped]
        )

    def _ruled(self, choice: Choice, preference: Preference, rule: Rule) -> Choice:
        """The rule decides as long as its version is able; otherwise the plan, which says so."""
        place = None if preference.version is None else self._places.get(preference.version)
        worth_of = None if place is None else self._found[place]
        if place is None or not isinstance(worth_of, Worth):
            return replace(choice, reason=choice.reason + not_followed(preference))
        preferred = explained(worth_of, (self._vector or {}).get(place, 0.0))
        rest = tuple([one for one in choice.scored if one.contender is not preferred.contender])
        return Choice(
            alias=rule.takes or choice.alias,
            primary=preferred,
            fallback=rest[0] if rest else None,
            scored=(preferred, *rest),
            dropped=choice.dropped,
            reason=ruled_reason(rule, self._task.name),
            probability=1.0,
            would_change=what_would_change_it(rule),
            by_rule=True,
            rest=tuple([one for one in choice.rest if one != preferred.contender.version]),
        )


def _is_as_before(old: Seen, new: Seen) -> bool:
    """Whether all that came are answers like those before, so that nothing is to be worked out.

    They make less than `SLIGHT` of difference to what is unsure: that goes by the root of a count.
    """
    was, now = old.profile, new.profile
    few = 1.0 + 2.0 * SLIGHT
    return (
        old.contender is new.contender
        and now.samples > was.samples  # else it is not known what came
        and old.spend == new.spend
        and was.graded == now.graded
        and was.quality == now.quality
        and now.samples - was.samples == now.successes - was.successes
        and now.samples <= few * was.samples
        and old.speed.median_ms == new.speed.median_ms
        and old.speed.slow_least_ms == new.speed.slow_least_ms
        and old.speed.timed <= new.speed.timed <= few * old.speed.timed
    )


def _is_told_otherwise(before: Worth, found: Worth) -> bool:
    """Whether what is told of a contender is not true any more, but for how long it takes."""
    old, new = before.belief, found.belief
    is_same_belief = old.samples == new.samples and old.mean == new.mean
    return not is_same_belief or before.seen.contender is not found.seen.contender


_NOT_YET = Dropped(name=ModelName(""), version=VersionId(""), reason="not judged yet")
