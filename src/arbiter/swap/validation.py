"""Graded cases run on a version before any traffic: its first samples at each task.

A version is immutable and a case has an identity, so a case is run once on a version and the
result is kept; what a kill interrupts is taken up where it stopped. Cases go through the same
journey as any request (`arbiter.inference.Answer`), at temperature 0.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from arbiter.clock import Clock
from arbiter.errors import (
    ArbiterError,
    EngineRefused,
    EngineTimeout,
    InstanceLost,
    ServerCut,
    StreamCut,
)
from arbiter.inference import Answer, Ask, Chat, Delta, Pinned, Sampling, lacking
from arbiter.judge.graders import grade, parse_grader
from arbiter.knowledge.learning import Learning
from arbiter.knowledge.profiles import Profile
from arbiter.knowledge.speed import Timing
from arbiter.knowledge.tasks import Case, Grading, Task
from arbiter.pool.presence import Presence
from arbiter.refs import ModelName, TaskName, VersionId
from arbiter.storage.database import Database, Statement

ANSWER_TOKENS = 512
"""Longest answer to a case: a version that does not stop must not hold up a validation."""

_ANY_CASE = Chat(messages=())

AT_ONCE = 4
"""Cases in flight at once: what one instance serves side by side by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """How a version did on a case. latency_ms None: it failed, or nobody timed it."""

    case_digest: str
    score: float
    success: bool
    latency_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many cases of a task were run on a version as it is graded now. left: those not yet."""

    done: int
    left: tuple[Case, ...]


Progress = Callable[[TaskName, int, int], None]
"""Told (task, done, of how many) after each case."""


def no_progress(task: TaskName, done: int, total: int) -> None:
    """For whoever does not want to hear."""


class Validator:
    """Runs cases on versions and keeps the results.

    capabilities: what a version can do; nothing when nobody knows. presence: told while somebody
    waits for a validation, so that what is run in idle time keeps out of its way.
    """

    def __init__(
        self,
        *,
        answer: Answer,
        warm: Callable[[VersionId], Awaitable[None]],
        database: Database,
        learning: Learning,
        clock: Clock,
        capabilities: Callable[[VersionId], frozenset[str]],
        cases_per_task: int,
        presence: Presence,
    ) -> None:
        self._answer = answer
        self._warm = warm
        self._database = database
        self._learning = learning
        self._clock = clock
        self._capabilities = capabilities
        self._cases_per_task = cases_per_task
        self._presence = presence
        self._tallies: dict[tuple[VersionId, TaskName], tuple[Task, int, int, Tally]] = {}
        """What was read, for which task, how many cases and in which reading of the record.

        A case that is kept makes its cell unread. Results that were forgotten or taken in make all
        of them unread: the record is read again then.
        """

    def can_take(self, version: VersionId) -> bool:
        """Whether cases, which are chats, can be put to a version."""
        return not lacking(_ANY_CASE, self._capabilities(version))

    async def validate(
        self,
        version: VersionId,
        name: ModelName,
        tasks: Sequence[Task],
        *,
        progress: Progress = no_progress,
        whole: bool = False,
    ) -> dict[TaskName, tuple[CaseResult, ...]]:
        """Results of this version on every task that has cases, run now where there are none.

        whole: on all cases of a task, not only on as many as are run for its first samples.

        A version that cannot chat has none: every case is a chat, and a score of 0 would say that
        it is bad at what nobody asks of it.

        Raises `LoadFailed`, `EngineUnavailable` and the like when the version cannot be served at
        all: that is no measurement of its quality. An answer that fails is one, and scores 0.
        """
        found: dict[TaskName, tuple[CaseResult, ...]] = {}
        if not self.can_take(version):
            return found
        with self._presence.here():
            for task in tasks:
                if task.cases and task.grading is not None:
                    wanted = task.cases if whole else task.cases[: self._cases_per_task]
                    run = replace(task, cases=wanted)
                    found[task.name] = await self._task(version, name, run, progress)
        return found

    async def tally(self, version: VersionId, task: Task, *, most: int) -> Tally:
        """How far a version has come with the first so many cases of a task, from what is kept."""
        reading = self._learning.reading
        read = self._tallies.get((version, task.name))
        if read is not None and read[0] is task and read[1:3] == (most, reading):
            return read[3]
        known = await self.known(version, task.name, _graded_by(task).digest)
        wanted = task.cases[:most]
        left = tuple(case for case in wanted if case.digest not in known)
        tally = Tally(done=len(wanted) - len(left), left=left)
        self._tallies[version, task.name] = (task, most, reading, tally)
        return tally

    async def known(
        self, version: VersionId, task: TaskName, grading: str
    ) -> Mapping[str, CaseResult]:
        """What is kept of this version at this task as this grading scored it, by case."""
        rows = await self._database.read("list_validations", (version, task, grading))
        return {
            str(case): CaseResult(
                case_digest=str(case),
                score=float(score or 0.0),
                success=bool(success),
                latency_ms=float(latency) if isinstance(latency, int | float) else None,
            )
            for case, score, success, latency in rows
        }

    async def _task(
        self, version: VersionId, name: ModelName, task: Task, progress: Progress
    ) -> tuple[CaseResult, ...]:
        """Results on the cases of a task, of which there are as many as are wanted."""
        known = dict(await self.known(version, task.name, _graded_by(task).digest))
        wanted = task.cases
        missing = [case for case in wanted if case.digest not in known]
        done = len(wanted) - len(missing)
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(case: Case) -> CaseResult:
            nonlocal done
            async with turns:
                result = await self.attempt(version, name, task, case)
            await self.keep(version, task, result)
            done += 1
            progress(task.name, done, len(wanted))
            return result

        if missing:
            await self._warm(version)  # or the first cases would be timed with the load
        failed: ArbiterError | None = None
        running: list[asyncio.Task[CaseResult]] = []
        try:
            async with asyncio.TaskGroup() as group:
                running += [group.create_task(one(case)) for case in missing]
        except* ArbiterError as errors:
            # raised below: early releases of 3.11 wrap what is raised in here into a group again
            failed = _first(errors)
        if failed is not None:
            raise failed
        for job in running:
            known[job.result().case_digest] = job.result()
        return tuple(known[case.digest] for case in wanted)

    async def attempt(
        self, version: VersionId, name: ModelName, task: Task, case: Case
    ) -> CaseResult:
        """Run one case, and keep nothing: whoever is cut off in the middle has measured nothing.

        Raises what `validate` raises.
        """
        ask = Ask(
            target=Pinned(name=name, digest_prefix=version),
            work=Chat(messages=case.messages),
            sampling=Sampling(temperature=0.0, seed=0, max_tokens=ANSWER_TOKENS),
            task=task.name,
            conversation=case.digest,
            rehearsal=True,
        )
        started = self._clock.monotonic()
        try:
            async with self._answer.answer(ask) as reply:
                text = [c.text async for c in reply.chunks() if isinstance(c, Delta)]
        except ServerCut:
            raise  # the server was gone: that is no measurement
        except (EngineRefused, StreamCut, EngineTimeout, InstanceLost):
            return CaseResult(case_digest=case.digest, score=0.0, success=False, latency_ms=None)
        took = (self._clock.monotonic() - started) * 1000
        grading = _graded_by(task)
        spec = parse_grader(grading.kind, grading.options)
        graded = grade(spec, answer="".join(text), expected=case.expected)
        return CaseResult(
            case_digest=case.digest, score=graded.score, success=True, latency_ms=took
        )

    async def keep(self, version: VersionId, task: Task, result: CaseResult) -> None:
        """Keep the result of `attempt`; it counts once, however often the case was run."""
        reading = self._learning.reading
        written = await self._database.write(
            Statement(
                query="add_validation",
                parameters=(
                    version,
                    task.name,
                    _graded_by(task).digest,
                    result.case_digest,
                    result.score,
                    int(result.success),
                    result.latency_ms,
                    self._clock.now().isoformat(),
                ),
            )
        )
        self._tallies.pop((version, task.name), None)
        now = self._learning.profiles.grading(task.name)
        if not written.rows[0] or now != _graded_by(task).digest:
            return  # it was there, or somebody changed the grader while the case ran
        timed = result.latency_ms is not None
        self._learning.ran(version, task.name, result.score, reading=reading)
        self._learning.profiles.add(
            version,
            task.name,
            Profile(
                samples=1,
                graded=1,
                quality=result.score,
                successes=int(result.success),
                timed=int(timed),
                latency_ms=result.latency_ms or 0.0,
            ),
        )
        self._learning.profiles.speeds.add(version, task.name, Timing(latency_ms=result.latency_ms))


def _graded_by(task: Task) -> Grading:
    if task.grading is None:
        raise AssertionError("only tasks with a grader are validated")
    return task.grading


def _first(errors: BaseExceptionGroup[ArbiterError]) -> ArbiterError:
    """The first error of a group, which is all that a person can act on."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
