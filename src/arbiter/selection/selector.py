"""Filter, score, pick, explain.

The pick is a pure function of what is handed in; the only thing kept between calls is a cache of
verdicts on contenders whose profile is still the very same value.
"""

from __future__ import annotations

from collections.abc import Sequence

from arbiter.errors import NothingCapable, NothingThere
from arbiter.inference import Dropped, Limits
from arbiter.knowledge.profiles import Profile
from arbiter.knowledge.tasks import Task
from arbiter.refs import TaskName, VersionId
from arbiter.selection.contender import (
    Choice,
    Contender,
    Preference,
    Scored,
    Seen,
    Situation,
)
from arbiter.selection.filters import drop_reason
from arbiter.selection.scorers import static_score

_Key = tuple[VersionId, TaskName, Limits]
_CACHE_BOUND = 200_000

RETRY_AFTER_S = 5
"""What a caller is told when everything that could serve is away; a restart takes about as long."""


class Selector:
    """Picks a contender for a task. One per house; `pick` changes nothing that can be seen."""

    def __init__(self) -> None:
        self._cache: dict[_Key, tuple[Profile, Contender, Situation, Task, Scored | Dropped]] = {}

    def pick(
        self,
        contenders: Sequence[Seen],
        *,
        task: Task,
        limits: Limits,
        rule: Preference | None,
        situation: Situation,
    ) -> Choice:
        """The best contender, the next best, and why.

        The rule wins over every score as long as the version it prefers passes the filters. Ties
        go to the first by name. Raises `NothingCapable` that lists every contender with its reason,
        and `NothingThere` when some could serve if only their servers were there.
        """
        scored: list[Scored] = []
        dropped: list[Dropped] = []
        for seen in contenders:
            verdict = self._judge(seen, task=task, limits=limits, situation=situation)
            if isinstance(verdict, Scored):
                scored.append(verdict)
            else:
                dropped.append(verdict)
        if not scored:
            raise nothing_left(task, dropped)
        scored.sort(key=_order)
        preferred = _preferred(scored, rule)
        if preferred is not None and rule is not None:
            why = f" ({rule.rule.why})" if rule.rule.why else ""
            reason = f"rule: {task.name} prefers {rule.rule.prefer}{why}"
            scored.remove(preferred)
            scored.insert(0, preferred)
        else:
            reason = _reason(scored, task, rule)
        return Choice(
            alias=rule.rule.prefer
            if preferred is not None and rule is not None
            else scored[0].contender.name,
            primary=scored[0],
            fallback=scored[1] if len(scored) > 1 else None,
            scored=tuple(scored),
            dropped=tuple(dropped),
            reason=reason,
            probability=1.0,
        )

    def _judge(
        self, seen: Seen, *, task: Task, limits: Limits, situation: Situation
    ) -> Scored | Dropped:
        contender = seen.contender
        key = (contender.version, task.name, limits)
        known = self._cache.get(key)
        if (
            known is not None
            and known[0] is seen.profile
            and known[1] is contender
            and known[2] is situation
            and known[3] is task
        ):
            return known[4]
        verdict = _verdict(seen, task=task, limits=limits, situation=situation)
        if len(self._cache) >= _CACHE_BOUND:
            self._cache.clear()
        self._cache[key] = (seen.profile, contender, situation, task, verdict)
        return verdict


def _verdict(seen: Seen, *, task: Task, limits: Limits, situation: Situation) -> Scored | Dropped:
    one = seen.contender
    reason = drop_reason(seen, limits, situation)
    if reason is not None:
        return Dropped(name=one.name, version=one.version, reason=reason)
    if one.absent is not None:
        # asked last: what is dropped for this alone may serve another time
        return Dropped(name=one.name, version=one.version, reason=one.absent, is_absent=True)
    return static_score(seen, limits, situation, task.weights or situation.weights)


def _order(scored: Scored) -> tuple[float, str]:
    return (-scored.score, scored.contender.name)


def _preferred(scored: Sequence[Scored], rule: Preference | None) -> Scored | None:
    if rule is None:
        return None
    return next((s for s in scored if s.contender.version == rule.version), None)


def _reason(scored: Sequence[Scored], task: Task, rule: Preference | None) -> str:
    best = scored[0]
    text = f"{best.contender.name} scores {best.score:.3f} on {task.name}: {best.explanation}"
    if len(scored) > 1:
        text += f"; next {scored[1].contender.name} {scored[1].score:.3f}"
    else:
        text += "; nothing else can serve it"
    if rule is not None:
        text += f"; the rule prefers {rule.rule.prefer}, which cannot serve it now"
    return text


def nothing_left(task: Task, dropped: Sequence[Dropped]) -> NothingCapable | NothingThere:
    """One error that lists every contender with the reason why it was dropped.

    When some could serve and are only not there now, it lists those: nothing else is of help.
    """
    absent: dict[str, list[str]] = {}
    for drop in dropped:
        if drop.is_absent:
            absent.setdefault(drop.reason.rstrip("."), []).append(drop.name)
    if absent:
        reasons = "; ".join(f"{', '.join(sorted(who))}: {why}" for why, who in absent.items())
        return NothingThere(
            f"Nothing that can serve task {task.name} is there now. {reasons}.",
            hint="The house goes on looking; try again shortly, or start one of the servers.",
            retry_after_s=RETRY_AFTER_S,
        )
    if not dropped:
        return NothingCapable(
            f"No model can serve task {task.name}: none is registered.",
            hint="Add one: arbiter models add FILE.",
        )
    reasons = "; ".join(f"{drop.name}: {drop.reason}" for drop in dropped)
    return NothingCapable(
        f"No model can serve task {task.name}. {reasons}.",
        hint="Loosen the task's or the request's limits, or add another model.",
    )
