"""Carries what was learned out of a house and into another, and forgets it when told to.

A file is taken in whole or not at all: one transaction, with its entry in the ledger. What was
measured elsewhere stays known as such: how good an answer was counts here too, how long it took on
another machine does not. The form of a file is in `arbiter.knowledge.file`, what of it is new in
`arbiter.knowledge.merge`; this is the only part that reads and writes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from arbiter.clock import Clock
from arbiter.errors import InvalidField, KnowledgeFileError
from arbiter.knowledge.file import (
    FILE_BYTES,
    Contents,
    FeedbackLine,
    LineageLine,
    OutcomesLine,
    ValidationLine,
    read,
    write,
)
from arbiter.knowledge.merge import Here, Merge, merge
from arbiter.knowledge.profiles import FEEDBACK, Profile, Profiles
from arbiter.knowledge.rules import Rules, knowledge_digest
from arbiter.knowledge.tasks import Task, Tasks
from arbiter.ledger import Kind, Ledger, Note
from arbiter.refs import TaskName, VersionId, new_id
from arbiter.storage.database import Database, Row, Statement

OWNER = "owner"
"""What the callers who run a house are called in a file: their feedback counts without a bound."""

_STATE = (
    "all_validations",
    "all_carried",
    "own_feedback",
    "all_carried_feedback",
    "all_lineage",
)
_ANY = ("", "", "", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Digests:
    """knowledge: of what people decided; no swap changes it. evidence: of what was measured."""

    house: str
    knowledge: str
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """How much was measured: cases that were run, requests, judgements; also from other houses."""

    validations: int
    requests: int
    feedback: int
    carried_requests: int
    carried_feedback: int

    @property
    def is_nothing(self) -> bool:
        """Whether there is none."""
        return not (
            self.validations
            or self.requests
            or self.feedback
            or self.carried_requests
            or self.carried_feedback
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """All that is kept, as it stood at one moment."""

    contents: Contents
    here: Here


class Carrier:
    """Exports, imports and forgets. The only writer of what came from other houses."""

    def __init__(
        self,
        *,
        database: Database,
        ledger: Ledger,
        clock: Clock,
        dice: Random,
        tasks: Tasks,
        rules: Rules,
        profiles: Profiles,
        fitting: Callable[[Task], Task],
    ) -> None:
        """fitting: raises `InvalidField` for a task whose grader and cases do not fit."""
        self._database = database
        self._ledger = ledger
        self._clock = clock
        self._dice = dice
        self._tasks = tasks
        self._rules = rules
        self._profiles = profiles
        self._fitting = fitting
        self._turn = asyncio.Lock()

    async def export(self) -> bytes:
        """Everything that was learned, as a file."""
        state = await self._state()
        return await asyncio.to_thread(write, state.contents)

    async def export_to(self, path: Path) -> None:
        """Write the file where nothing stands yet. Raises `InvalidField` when it cannot be."""
        data = await self.export()
        try:
            await asyncio.to_thread(_put, path, data)
        except OSError as error:
            raise InvalidField(f"{path} cannot be written: {error.strerror}.") from error

    async def digests(self) -> Digests:
        """What this house knows, in two digests."""
        contents = (await self._state()).contents
        return Digests(
            house=contents.house, knowledge=contents.knowledge, evidence=contents.evidence
        )

    async def take_in(self, path: Path, *, who: str, prefer_theirs: bool = False) -> Merge:
        """Take in what is new in a file; what was done. A file that brings nothing is no change.

        Raises `KnowledgeFileError` for a file that is cut, changed, too new or none, and then
        nothing was taken in.
        """
        file = await asyncio.to_thread(_read, path)
        for task in file.tasks:
            try:
                self._fitting(task)
            except InvalidField as error:
                raise KnowledgeFileError(
                    f"Task {task.name} of the file: {error.sentence}"
                ) from error
        async with self._turn:
            here = (await self._state()).here
            news = merge(file, here, prefer_theirs=prefer_theirs)
            if not news.is_empty:
                await self._write(file, news, here, who=who)
        return news

    async def _write(self, file: Contents, news: Merge, here: Here, *, who: str) -> None:
        cases = [_validation(line, here.house) for line in news.validations]
        statements = [
            *cases,
            *(one for task in news.tasks for one in self._tasks.writing(task)),
            *(self._rules.writing(rule) for rule in news.rules),
            *(_lineage(line) for line in news.lineage),
            *(_sums(line) for line in news.outcomes),
            *(_feedback(line) for line in news.feedback),
            *(
                Statement(query="restore_feedback", parameters=(f.decision, f.source, f.kind))
                for f in news.restored
            ),
        ]
        note = Note(
            kind=Kind.KNOWLEDGE_IMPORTED,
            who=who,
            body={
                "house": file.house,
                "file": file.digest,
                "tasks": [task.name for task in news.tasks],
                "rules": [rule.task for rule in news.rules],
                "validations": len(news.validations),
                "outcomes": len(news.outcomes),
                "feedback": len(news.feedback) + len(news.restored),
            },
        )
        written = await self._ledger.write(
            *statements, *(Statement(query=query) for query in FEEDBACK), notes=[note]
        )
        # no await from here on: what others add meanwhile comes after the rows that were read
        self._profiles.take_feedback(*written.rows[len(statements) :][: len(FEEDBACK)])
        for line, added in zip(news.validations, written.rows, strict=False):
            if added and line.grading == self._tasks.grading(TaskName(line.task)):
                self._add(line.version, line.task, _case(line, here.house))
        for sums in news.outcomes:
            self._add(sums.version, sums.task, _carried(sums))
            before = here.outcomes.get(sums.identity)
            if before is not None:
                self._add(sums.version, sums.task, _carried(before).negative)
        graded = {task.name: self._tasks.grading(task.name) for task in news.tasks}
        for task in news.tasks:
            self._tasks.written(task)
        for rule in news.rules:
            self._rules.written(rule)
        for name, grading in graded.items():
            await self._profiles.regrade(name, before=grading, after=self._tasks.grading(name))

    async def count(self, *, task: str = "", version: str = "") -> Evidence:
        """How much was measured, of a task and a version if they are named."""
        scope = _scope(task, version)
        counts, sums = (
            await self._database.write(
                Statement(query="count_evidence", parameters=scope * 4),
                Statement(query="own_sums", parameters=scope),
            )
        ).rows
        ((validations, feedback, carried_feedback, carried),) = counts
        return Evidence(
            validations=_whole(validations),
            requests=sum(_whole(row[2]) for row in sums),
            feedback=_whole(feedback),
            carried_requests=_whole(carried),
            carried_feedback=_whole(carried_feedback),
        )

    async def forget(
        self, *, who: str, task: str = "", version: str = "", kept_in: str | None = None
    ) -> Evidence:
        """Let evidence count no more; how much that was. Tasks and rules stay.

        Requests and judgements stay on record, cases are run again. kept_in: the file that holds
        what is forgotten, for the ledger.
        """
        async with self._turn:
            found = await self.count(task=task, version=version)
            if found.is_nothing:
                return found
            scope = _scope(task, version)
            note = Note(
                kind=Kind.KNOWLEDGE_RESET,
                who=who,
                body={
                    "task": task or None,
                    "version": version or None,
                    "validations": found.validations,
                    "requests": found.requests + found.carried_requests,
                    "feedback": found.feedback + found.carried_feedback,
                    "kept_in": kept_in,
                },
            )
            written = await self._ledger.write(
                *(
                    Statement(query=query, parameters=scope)
                    for query in (
                        "own_sums",
                        "forget_validations",
                        "forget_carried",
                        "forget_outcomes",
                        "forget_attempts",
                        "forget_feedback",
                        "forget_carried_feedback",
                    )
                ),
                *(Statement(query=query) for query in FEEDBACK),
                notes=[note],
            )
            sums, cases, carried = written.rows[:3]
            self._profiles.take_feedback(*written.rows[7:10])
            for row in sums:
                self._add(row[0], row[1], _own(row).negative)
            for row in cases:
                if row[2] == self._tasks.grading(TaskName(str(row[1]))):
                    self._add(row[0], row[1], _case_row(row).negative)
            for row in carried:
                self._add(row[0], row[1], _carried_row(row[2:]).negative)
            return found

    def _add(self, version: object, task: object, profile: Profile) -> None:
        self._profiles.add(VersionId(str(version)), TaskName(str(task)), profile)

    async def _house(self) -> str:
        """This house's id; made when it is first asked for."""
        rows = await self._database.read("get_house")
        if not rows:
            now = self._clock.now()
            made = new_id("hou", now=now, dice=self._dice)
            await self._database.write(
                Statement(query="add_house", parameters=(made, now.isoformat()))
            )
            rows = await self._database.read("get_house")
        return str(rows[0][0])

    async def _state(self) -> _State:
        house = await self._house()
        written = await self._database.write(
            *(Statement(query=query) for query in _STATE),
            Statement(query="own_sums", parameters=_ANY),
        )
        cases, carried, own, others, lineage, sums = written.rows
        validations = tuple(_validation_line(row, house) for row in cases)
        outcomes = {line.identity: line for line in (_sums_line(row) for row in carried)}
        elsewhere = {line.identity: line for line in (_feedback_line(row) for row in others)}
        given = [self._own_line(row, house) for row in own if not row[9]]
        lines = tuple(
            LineageLine(version=str(version), predecessor=str(before))
            for version, before in lineage
        )
        mine = {line.identity: line for line in (_own_sums_line(row, house) for row in sums)}
        return _State(
            contents=Contents(
                house=house,
                at=self._clock.now().isoformat(),
                tasks=self._tasks.all(),
                rules=self._rules.all(),
                lineage=lines,
                validations=validations,
                outcomes=tuple(_together(mine, outcomes)),
                feedback=(*given, *elsewhere.values()),
            ),
            here=Here(
                house=house,
                tasks={task.name: task for task in self._tasks.all()},
                rules={rule.task: rule for rule in self._rules.all()},
                lineage=frozenset(line.version for line in lines),
                validations=frozenset(line.identity for line in validations),
                outcomes=outcomes,
                feedback=elsewhere,
                counted={(str(row[0]), str(row[1])): str(row[8]) for row in sums},
                own={(str(r[0]), str(r[1]), str(r[2])): not r[9] for r in own},
            ),
        )

    def _own_line(self, row: Row, house: str) -> FeedbackLine:
        decision, source, kind, task, version, score, grade, caller, at, _ = row
        return _feedback_line(
            (
                house,
                decision,
                source,
                kind,
                task,
                version,
                score,
                grade,
                OWNER if caller in self._profiles.owners else caller,
                at,
            )
        )


def _together(
    mine: dict[tuple[str, ...], OutcomesLine], carried: dict[tuple[str, ...], OutcomesLine]
) -> Iterable[OutcomesLine]:
    """All sums; what was taken back in of this house's own counts with what came since."""
    for identity, line in carried.items():
        if identity not in mine:
            yield line
    for identity, line in mine.items():
        earlier = carried.get(identity)
        yield (
            line
            if earlier is None
            else OutcomesLine(
                origin=line.origin,
                version=line.version,
                task=line.task,
                samples=line.samples + earlier.samples,
                graded=line.graded + earlier.graded,
                quality=line.quality + earlier.quality,
                successes=line.successes + earlier.successes,
                timed=line.timed + earlier.timed,
                latency_ms=line.latency_ms + earlier.latency_ms,
                latest=max(line.latest, earlier.latest),
            )
        )


def _read(path: Path) -> Contents:
    try:
        with path.expanduser().open("rb") as file:
            data = file.read(FILE_BYTES + 1)
    except OSError as error:
        raise KnowledgeFileError(f"{path} cannot be read: {error.strerror}.") from error
    if len(data) > FILE_BYTES:
        raise KnowledgeFileError(f"{path} is larger than {FILE_BYTES // 2**20} MB.")
    return read(data)


def _put(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def _scope(task: str, version: str) -> tuple[str, str, str, str]:
    return (task, task, version, version)


def _validation(line: ValidationLine, house: str) -> Statement:
    return Statement(
        query="carry_validation",
        parameters=(
            line.version,
            line.task,
            line.grading,
            line.case,
            line.score,
            int(line.success),
            line.latency_ms,
            None if line.origin == house else line.origin,
            line.at,
        ),
    )


def _lineage(line: LineageLine) -> Statement:
    return Statement(query="carry_lineage", parameters=(line.version, line.predecessor))


def _sums(line: OutcomesLine) -> Statement:
    return Statement(
        query="carry_sums",
        parameters=(
            line.origin,
            line.version,
            line.task,
            line.samples,
            line.graded,
            line.quality,
            line.successes,
            line.timed,
            line.latency_ms,
            line.latest,
        ),
    )


def _feedback(line: FeedbackLine) -> Statement:
    return Statement(
        query="carry_feedback",
        parameters=(
            line.origin,
            line.decision,
            line.source,
            line.kind,
            line.task,
            line.version,
            line.score,
            line.grade,
            line.caller,
            line.at,
        ),
    )


def _validation_line(row: Row, house: str) -> ValidationLine:
    origin, version, task, grading, case, score, success, latency, at = row
    return ValidationLine(
        origin=house if origin is None else str(origin),
        version=str(version),
        task=str(task),
        grading=str(grading),
        case=str(case),
        score=_real(score),
        success=bool(success),
        latency_ms=None if latency is None else _real(latency),
        at=str(at),
    )


def _sums_line(row: Sequence[object]) -> OutcomesLine:
    origin, version, task, samples, graded, quality, successes, timed, latency, latest = row
    return OutcomesLine(
        origin=str(origin),
        version=str(version),
        task=str(task),
        samples=_whole(samples),
        graded=_whole(graded),
        quality=min(_real(quality), _whole(graded)),
        successes=_whole(successes),
        timed=_whole(timed),
        latency_ms=max(0.0, _real(latency)),
        latest=str(latest),
    )


def _own_sums_line(row: Row, house: str) -> OutcomesLine:
    return _sums_line((house, *row[:8], row[9]))


def _feedback_line(row: Sequence[object]) -> FeedbackLine:
    origin, decision, source, kind, task, version, score, grade, caller, at = row
    return FeedbackLine(
        origin=str(origin),
        decision=str(decision),
        source=str(source),
        kind=str(kind),
        task=str(task),
        version=str(version),
        score=_real(score),
        grade=None if grade is None else _real(grade),
        caller=str(caller),
        at=str(at),
    )


def _case(line: ValidationLine, house: str) -> Profile:
    is_timed = line.success and line.origin == house and line.latency_ms is not None
    return Profile(
        samples=1,
        graded=1,
        quality=line.score,
        successes=int(line.success),
        timed=int(is_timed),
        latency_ms=(line.latency_ms or 0.0) if is_timed else 0.0,
    )


def _case_row(row: Row) -> Profile:
    _, _, _, score, success, latency = row
    return Profile(
        samples=1,
        graded=1,
        quality=_real(score),
        successes=_whole(success),
        timed=0 if latency is None else 1,
        latency_ms=_real(latency),
    )


def _own(row: Row) -> Profile:
    return Profile(
        samples=_whole(row[2]),
        graded=_whole(row[3]),
        quality=_real(row[4]),
        successes=_whole(row[5]),
        timed=_whole(row[6]),
        latency_ms=_real(row[7]),
    )


def _carried(line: OutcomesLine) -> Profile:
    return _carried_row((line.samples, line.graded, line.quality, line.successes))


def _carried_row(row: Sequence[object]) -> Profile:
    samples, graded, quality, successes = row
    return Profile(
        samples=_whole(samples),
        graded=_whole(graded),
        quality=_real(quality),
        successes=_whole(successes),
    )


def _whole(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _real(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
