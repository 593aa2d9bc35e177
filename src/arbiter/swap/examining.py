"""Examinations: a version's graded cases are run again because it may have got worse.

The learner suspects (`arbiter.selection.doubts`), and says what the cases show. Here it is kept
which examinations there are, which of their cases are left, and what came of them. The cases
themselves are run by `arbiter.swap.calibrating`, in idle time, like all others.

Nothing of an examination counts before it has ended: then each case's new result stands instead of
its earlier one, in one transaction with the fall, if they show one. A kill in the midst loses no
case that was run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from arbiter.clock import Clock
from arbiter.events import Announcer, Event
from arbiter.knowledge.learning import Learning
from arbiter.knowledge.profiles import Profile
from arbiter.knowledge.scores import Again, Doubt
from arbiter.knowledge.speed import Timing
from arbiter.knowledge.tasks import Case, Task, Tasks
from arbiter.refs import TaskName, VersionId
from arbiter.registry.registry import Registry, Standing
from arbiter.selection.doubts import is_due
from arbiter.storage.database import Database, Row, Statement
from arbiter.swap import calibration_plan as planning
from arbiter.swap.calibration_plan import Stage, Wish
from arbiter.swap.validation import CaseResult, Validator

_Place = tuple[TaskName, str, str]
"""A case: its task, how that is graded, and its digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """One of a version. task: where it was suspected, None: in general.

    odds: how much likelier its latest scores were then if it had got worse. scores: how many it had
    ever had. ended: None as long as it goes on; cases, fell: what came of it.
    """

    version: VersionId
    task: TaskName | None
    odds: float
    scores: float
    began: str
    ended: str | None = None
    cases: int | None = None
    fell: bool | None = None

    @property
    def why(self) -> str:
        """The suspicion."""
        where = "in general" if self.task is None else f"at {self.task}"
        return f"it may have got worse {where}: its latest scores say so by {self.odds:.0f} to 1"

    @property
    def told(self) -> str:
        """What became of it, as a sentence."""
        if self.ended is None:
            return f"since {self.began} its cases are run again: {self.why}"
        came = "they showed that it had" if self.fell else "they do not show that it had"
        return f"until {self.ended} {self.cases} of its cases were run again ({self.why}); {came}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """A case of an examination, and its results."""

    task: Task
    case: Case
    place: _Place
    before: CaseResult
    now: CaseResult | None


class Examining:
    """Keeps the examinations. The only writer of them.

    most: cases of a task that may be run.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        tasks: Tasks,
        learning: Learning,
        validator: Validator,
        database: Database,
        clock: Clock,
        announcer: Announcer,
        most: int,
    ) -> None:
        self._registry = registry
        self._tasks = tasks
        self._learning = learning
        self._validator = validator
        self._database = database
        self._clock = clock
        self._announcer = announcer
        self._most = most
        self._latest: dict[VersionId, Examination] = {}
        self._reruns: dict[VersionId, dict[_Place, CaseResult]] = {}

    async def load(self) -> None:
        """Read what is kept."""
        for row in await self._database.read("list_examinations"):
            found = _examination(row)
            self._latest[found.version] = found
        for version, task, grading, case, score, success, latency in await self._database.read(
            "list_reruns"
        ):
            place = (TaskName(str(task)), str(grading), str(case))
            self._reruns.setdefault(VersionId(str(version)), {})[place] = CaseResult(
                case_digest=str(case),
                score=float(score or 0.0),
                success=bool(success),
                latency_ms=float(latency) if isinstance(latency, int | float) else None,
            )

    def of(self, version: VersionId) -> Examination | None:
        """The latest of a version."""
        return self._latest.get(version)

    async def look(self) -> None:
        """Begin the examinations that are due, and end those of which nothing is left."""
        cleared = {one.version: one.ended or one.began for one in self._latest.values()}
        for doubt in self._learning.doubts(cleared):
            last = self._latest.get(doubt.version)
            if last is not None and last.ended is None:
                continue
            is_due_now = is_due(doubt, None if last is None else last.scores)
            if is_due_now and self._can_run(doubt.version) and await self._items(doubt.version):
                await self._begin(doubt)
        for version in self._open():
            if not any(item.now is None for item in await self._items(version)):
                await self._end(version)

    async def wishes(self, *, loaded: frozenset[VersionId]) -> tuple[Wish, ...]:
        """What is to be run again."""
        found: list[Wish] = []
        for version in self._open():
            by_task: dict[TaskName, list[_Item]] = {}
            for item in await self._items(version):
                by_task.setdefault(item.task.name, []).append(item)
            for task, items in by_task.items():
                profile = self._learning.profiles.get(version, task)
                standing = planning.Standing(
                    version=version,
                    task=task,
                    cases=len(items),
                    done=sum(item.now is not None for item in items),
                    graded=profile.graded,
                    quality=profile.quality,
                    is_loaded=version in loaded,
                )
                why = self._latest[version].why
                found.append(Wish(standing=standing, stage=Stage.AGAIN, upto=len(items), why=why))
        return tuple(found)

    async def left(self, version: VersionId, task: Task) -> tuple[Case, ...]:
        """Cases of a task that are still to be run again."""
        items = await self._items(version)
        return tuple(one.case for one in items if one.task is task and one.now is None)

    async def keep(self, version: VersionId, task: Task, result: CaseResult) -> None:
        """Keep the result of a case that was run again."""
        place = (task.name, _grading(task), result.case_digest)
        await self._database.write(
            Statement(
                query="add_rerun",
                parameters=(
                    version,
                    *place,
                    result.score,
                    int(result.success),
                    result.latency_ms,
                    self._clock.now().isoformat(),
                ),
            )
        )
        self._reruns.setdefault(version, {})[place] = result

    def _open(self) -> list[VersionId]:
        """Versions that are examined now and can be."""
        return [
            one.version
            for one in self._latest.values()
            if one.ended is None and self._can_run(one.version)
        ]

    def _can_run(self, version: VersionId) -> bool:
        known = {one.version: one for one in self._registry.versions()}.get(version)
        return (
            known is not None
            and known.standing is Standing.ACTIVE
            and bool(self._registry.names_of(version))
            and self._validator.can_take(version)
        )

    async def _items(self, version: VersionId) -> list[_Item]:
        """The cases that were run on it, as its tasks are now."""
        again = self._reruns.get(version, {})
        found: list[_Item] = []
        for task in self._tasks.in_force():
            if not task.cases or task.grading is None:
                continue
            known = await self._validator.known(version, task.name, task.grading.digest)
            for case in task.cases[: self._most]:
                if case.digest in known:
                    place = (task.name, task.grading.digest, case.digest)
                    found.append(
                        _Item(
                            task=task,
                            case=case,
                            place=place,
                            before=known[case.digest],
                            now=again.get(place),
                        )
                    )
        return found

    async def _begin(self, doubt: Doubt) -> None:
        began = Examination(
            version=doubt.version,
            task=doubt.task,
            odds=doubt.odds,
            scores=doubt.scores,
            began=self._clock.now().isoformat(),
        )
        await self._database.write(
            Statement(
                query="begin_examination",
                parameters=(began.version, began.task, began.odds, began.scores, began.began),
            )
        )
        self._latest[doubt.version] = began
        self._tell("again", began, reason=began.why)

    async def _end(self, version: VersionId) -> None:
        """Let the cases count that were run again, and say what they show."""
        begun, reading = self._latest[version], self._learning.reading
        items = [item for item in await self._items(version) if item.now is not None]
        results = await self._results(version, items)
        fall = self._learning.shown(version, results, began=begun.began)
        # later than when it began, whatever the clock says: what is read again is read in order
        first = datetime.fromisoformat(begun.began) + timedelta(microseconds=1)
        ended = replace(
            begun,
            ended=max(self._clock.now(), first).isoformat(),
            cases=len(items),
            fell=fall is not None,
        )
        fallen = (
            ()
            if fall is None
            else (
                Statement(
                    query="add_fall",
                    parameters=(fall.version, fall.task, fall.since, None, begun.began),
                ),
            )
        )
        await self._database.write(
            Statement(query="take_reruns", parameters=(ended.ended, version)),
            Statement(query="drop_reruns", parameters=(version,)),
            Statement(
                query="end_examination",
                parameters=(ended.ended, ended.cases, int(fall is not None), version),
            ),
            *fallen,
        )
        self._latest[version] = ended
        self._reruns.pop(version, None)
        self._learning.examined(version, results, fall=fall, reading=reading)
        self._count(version, items)
        self._tell("examined", ended, reason=ended.told, cases=len(items))

    async def _results(
        self, version: VersionId, items: Sequence[_Item]
    ) -> Mapping[TaskName, Sequence[Again]]:
        """Each case's earlier result, and whether it counts, beside its new one."""
        rows = await self._database.read("validation_times", (version,))
        at = {(str(task), str(how), str(case)): str(when) for task, how, case, when in rows}
        falls = self._learning.falls_of(version)
        results: dict[TaskName, list[Again]] = {}
        for item in items:
            if item.now is not None:
                task, when = item.task.name, at.get(item.place, "")
                counts = not any(one.task in {None, task} and one.since > when for one in falls)
                again = Again(before=item.before.score, now=item.now.score, is_counted=counts)
                results.setdefault(task, []).append(again)
        return results

    def _count(self, version: VersionId, items: Sequence[_Item]) -> None:
        """Let the sums have the new results instead of the earlier ones."""
        profiles = self._learning.profiles
        for item in items:
            if item.now is not None:
                change = _sample(item.now).plus(_sample(item.before).negative)
                profiles.add(version, item.task.name, change)
                timed = Timing(latency_ms=item.now.latency_ms)
                profiles.speeds.add(version, item.task.name, timed)

    def _tell(self, what: str, one: Examination, **detail: str | int) -> None:
        self._announcer.announce(
            Event(
                kind=f"calibration.{what}",
                at=self._clock.now(),
                detail={"version": one.version, "task": one.task, **detail},
            )
        )


def _grading(task: Task) -> str:
    if task.grading is None:
        raise AssertionError("only tasks with a grader have cases that were run")
    return task.grading.digest


def _sample(result: CaseResult) -> Profile:
    return Profile(
        samples=1,
        graded=1,
        quality=result.score,
        successes=int(result.success),
        timed=int(result.latency_ms is not None),
        latency_ms=result.latency_ms or 0.0,
    )


def _examination(row: Row) -> Examination:
    version, task, odds, scores, began, ended, cases, fell = row
    return Examination(
        version=VersionId(str(version)),
        task=None if task is None else TaskName(str(task)),
        odds=float(odds or 0.0),
        scores=float(scores or 0.0),
        began=str(began),
        ended=None if ended is None else str(ended),
        cases=int(cases) if isinstance(cases, int | float) else None,
        fell=None if fell is None else bool(fell),
    )
