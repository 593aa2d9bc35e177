"""Filter, score, pick, explain.

The pick is a pure function of what is handed in and of what the table has learned; the only things
kept between calls are caches: of verdicts on contenders whose profile is still the very same
value, and of each task's probabilities until its evidence changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from arbiter.inference import Dropped, Limits
from arbiter.knowledge.energies import Spend
from arbiter.knowledge.profiles import Profile
from arbiter.knowledge.speed import Speed
from arbiter.knowledge.tasks import Task
from arbiter.refs import TaskName, VersionId
from arbiter.selection.bandit import Table
from arbiter.selection.contender import (
    Choice,
    Contender,
    Preference,
    Scored,
    Seen,
    Situation,
    preferred_of,
)
from arbiter.selection.energy import Scale, scale_of
from arbiter.selection.filters import drop_reason
from arbiter.selection.plan import Plan
from arbiter.selection.ruled import (
    nobody_left,
    not_followed,
    ruled_out,
    ruled_reason,
    what_would_change_it,
)
from arbiter.selection.scorers import static_mwh, static_score

_Key = tuple[VersionId, TaskName, Limits]
_Energy = tuple[Spend | None, Scale | None]
_Judged = tuple[Profile, Contender, Situation, Task, Scored | Dropped, Speed, _Energy]
_CACHE_BOUND = 200_000
_PLANS_BOUND = 16
_TASKS_BOUND = 1_000
_FRESH = 2
"""Plans of a task that are kept up between requests: those of the limits that were asked last."""


class Selector:
    """Picks a contender for a task. One per house; `pick` changes nothing that can be seen.

    table: what was learned; None picks by the static rule.
    """

    def __init__(self, table: Table | None = None) -> None:
        self._table = table
        self._related: tuple[Mapping[VersionId, VersionId], Mapping[TaskName, TaskName]] = ({}, {})
        self._cache: dict[_Key, _Judged] = {}
        self._plans: dict[TaskName, dict[Limits, Plan]] = {}

    def relate(
        self,
        *,
        predecessors: Mapping[VersionId, VersionId],
        parents: Mapping[TaskName, TaskName],
    ) -> None:
        """Tell which version each one succeeded, and which task each is a finer kind of."""
        if self._table is not None and (predecessors, parents) != self._related:
            self._related = (dict(predecessors), dict(parents))
            self._table.relate(predecessors=predecessors, parents=parents)

    def pick(
        self,
        contenders: Sequence[Seen],
        *,
        task: Task,
        limits: Limits,
        rule: Preference | None,
        situation: Situation,
        conversation: str | None = None,
        held: VersionId | None = None,
    ) -> Choice:
        """The best contender, the next best, and why.

        conversation: stays with its contender as long as the probabilities do; None asks for the
        most probable one. held: who has the conversation, and keeps it as long as it is within
        reach. A rule wins over every score as long as the version it prefers passes the filters;
        whom the rules leave out is dropped before them. Ties go to the first by name. Raises
        `NothingCapable` that lists every contender with its reason, or tells of the only one that
        a rule takes, and `NothingThere` when some could serve if only their servers were there.
        """
        if self._table is not None:
            plan = self._plan(self._table, task, limits, situation)
            plan.look(contenders, rule)
            return plan.pick(conversation, held)
        scored: list[Scored] = []
        dropped: list[Dropped] = []
        scale = None
        if (task.weights or situation.weights).energy:
            scale = scale_of(
                static_mwh(seen)
                for seen in contenders
                if ruled_out(seen.contender, task.name, rule) is None
                and drop_reason(seen, limits, situation) is None
            )
        for seen in contenders:
            one = seen.contender
            ruled = ruled_out(one, task.name, rule)
            verdict = (
                self._judge(seen, task=task, limits=limits, situation=situation, scale=scale)
                if ruled is None
                else Dropped(name=one.name, version=one.version, reason=ruled)
            )
            if isinstance(verdict, Scored):
                scored.append(verdict)
            else:
                dropped.append(verdict)
        if not scored:
            raise nobody_left(task, dropped, rule)
        scored.sort(key=_order)
        preferred = preferred_of(scored, rule)
        alias, by_rule, change = scored[0].contender.name, False, None
        if preferred is not None and rule is not None and rule.rule is not None:
            reason = ruled_reason(rule.rule, task.name)
            alias, by_rule = rule.rule.takes or alias, True
            change = what_would_change_it(rule.rule)
            scored.remove(preferred)
            scored.insert(0, preferred)
        else:
            reason = _reason(scored, task) + not_followed(rule)
        return Choice(
            alias=alias,
            primary=scored[0],
            fallback=scored[1] if len(scored) > 1 else None,
            scored=tuple(scored),
            dropped=tuple(dropped),
            reason=reason,
            probability=1.0,
            would_change=change,
            by_rule=by_rule,
        )

    def _plan(self, table: Table, task: Task, limits: Limits, situation: Situation) -> Plan:
        plans = self._plans.get(task.name)
        if plans is None:
            if len(self._plans) >= _TASKS_BOUND:
                self._plans.clear()
            plans = self._plans[task.name] = {}
        plan = plans.pop(limits, None)
        if plan is None or not plan.is_about(task, situation):
            if len(plans) >= _PLANS_BOUND:
                del plans[next(iter(plans))]
            plan = Plan(table, task=task, limits=limits, situation=situation)
        # the latest last: callers may name any limits, and most of them never again
        plans[limits] = plan
        return plan

    def refresh(self, task: TaskName, contenders: Sequence[Seen]) -> None:
        """Work out now what new evidence at a task changes, so that no request waits for it."""
        plans = self._plans.get(task, {})
        for plan in islice(reversed(plans.values()), _FRESH):
            plan.look_again(contenders)

    def _judge(
        self,
        seen: Seen,
        *,
        task: Task,
        limits: Limits,
        situation: Situation,
        scale: Scale | None = None,
    ) -> Scored | Dropped:
        contender = seen.contender
        key = (contender.version, task.name, limits)
        known = self._cache.get(key)
        if (
            known is not None
            and known[0] is seen.profile
            and known[5] is seen.speed
            and known[6] == (seen.spend, scale)
            and known[1] is contender
            and known[2] is situation
            and known[3] is task
        ):
            return known[4]
        verdict = _verdict(seen, task=task, limits=limits, situation=situation, scale=scale)
        if len(self._cache) >= _CACHE_BOUND:
            self._cache.clear()
        self._cache[key] = (
            seen.profile,
            contender,
            situation,
            task,
            verdict,
            seen.speed,
            (seen.spend, scale),
        )
        return verdict


def _verdict(
    seen: Seen, *, task: Task, limits: Limits, situation: Situation, scale: Scale | None
) -> Scored | Dropped:
    one = seen.contender
    reason = drop_reason(seen, limits, situation)
    if reason is not None:
        return Dropped(name=one.name, version=one.version, reason=reason)
    if one.absent is not None:
        # asked last: what is dropped for this alone may serve another time
        return Dropped(name=one.name, version=one.version, reason=one.absent, is_absent=True)
    return static_score(seen, limits, situation, task.weights or situation.weights, scale=scale)


def _order(scored: Scored) -> tuple[float, str]:
    return (-scored.score, scored.contender.name)


def _reason(scored: Sequence[Scored], task: Task) -> str:
    best = scored[0]
    text = f"{best.contender.name} scores {best.score:.3f} on {task.name}: {best.explanation}"
    if len(scored) > 1:
        text += f"; next {scored[1].contender.name} {scored[1].score:.3f}"
    else:
        text += "; nothing else can serve it"
    return text
