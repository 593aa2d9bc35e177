"""Carries what was learned out of a house and into another, and forgets it when told to.

A file is taken in whole or not at all: one transaction, with its entry in the ledger. What was
measured elsewhere stays known as such: how good an answer was counts here too, how long it took on
another machine does not. The form of a file is in `arbiter.knowledge.file`, what of it is new in
`arbiter.knowledge.merge`; this is the only part that reads and writes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from arbiter.clock import Clock
from arbiter.errors import InvalidField, KnowledgeFileError
from arbiter.knowledge import shelf
from arbiter.knowledge.energies import Energies
from arbiter.knowledge.file import (
    FILE_BYTES,
    Contents,
    LineageLine,
    read,
    write,
)
from arbiter.knowledge.learning import Learning
from arbiter.knowledge.merge import Here, Merge, merge
from arbiter.knowledge.profiles import FEEDBACK, Profile
from arbiter.knowledge.rules import Rules
from arbiter.knowledge.speed import Timing
from arbiter.knowledge.tasks import Task, Tasks, in_force
from arbiter.ledger import Kind, Ledger, Note
from arbiter.refs import TaskName, VersionId, new_id
from arbiter.storage.database import Database, Statement

_ANY = ("", "", "", "")
_STATE = (
    Statement(query="all_validations"),
    Statement(query="all_carried"),
    Statement(query="own_feedback"),
    Statement(query="all_carried_feedback"),
    Statement(query="all_lineage"),
    Statement(query="own_sums", parameters=_ANY),
    Statement(query="list_falls"),
)


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

    def __init__(  # noqa: PLR0913  # what it stands on
        self,
        *,
        database: Database,
        ledger: Ledger,
        clock: Clock,
        dice: Random,
        tasks: Tasks,
        rules: Rules,
        learning: Learning,
        energies: Energies,
        fits: Callable[[Task], None],
    ) -> None:
        """fits: raises `InvalidField` for a task whose grader and cases do not fit."""
        self._database = database
        self._ledger = ledger
        self._clock = clock
        self._dice = dice
        self._tasks = tasks
        self._rules = rules
        self._profiles = learning.profiles
        self._learning = learning
        self._energies = energies
        self._fits = fits
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
            raise InvalidField(
                f"{path} cannot be written: {error.strerror}.",
                hint="Name a file that is not there yet.",
                param="path",
            ) from error

    async def export_dated(self, folder: Path) -> Path:
        """Write the file under today's date and time; where it is. Raises `InvalidField`."""
        path = folder / f"knowledge-{self._clock.now():%Y%m%dT%H%M%S%fZ}.jsonl"
        await self.export_to(path)
        return path

    async def digests(self) -> Digests:
        """What this house knows, in two digests."""
        contents = (await self._state()).contents
        return Digests(
            house=contents.house,
            knowledge=contents.knowledge,
            evidence=await asyncio.to_thread(lambda: contents.evidence),
        )

    async def take_in(self, path: Path, *, who: str, prefer_theirs: bool = False) -> Merge:
        """Take in what is new in a file; what was done. A file that brings nothing is no change.

        Raises `KnowledgeFileError` for a file that is cut, changed, too new or none, and then
        nothing was taken in.
        """
        file = await asyncio.to_thread(_read, path)
        for task in in_force(file.tasks).values():
            try:
                self._fits(task)
            except InvalidField as error:
                raise KnowledgeFileError(
                    f"Task {task.name} of the file: {error.sentence}"
                ) from error
        async with self._turn, self._tasks.turn:
            here = (await self._state()).here
            try:
                news = merge(file, here, prefer_theirs=prefer_theirs)
                self._tasks.check(news.tasks, self._fits)
            except InvalidField as error:
                raise KnowledgeFileError(
                    f"The tasks of the file and those here do not go together: {error.sentence}",
                    hint="Nothing was taken in.",
                ) from error
            if not news.is_empty:
                await self._write(file, news, here, who=who)
        return news

    async def _write(self, file: Contents, news: Merge, here: Here, *, who: str) -> None:
        statements = [
            # first, so that what each of them did stands at its place among the rows
            *(shelf.keep_validation(line, here.house) for line in news.validations),
            *(one for task in news.tasks for one in self._tasks.writing(task)),
            *(self._rules.writing(rule) for rule in news.rules),
            *(shelf.keep_lineage(line) for line in news.lineage),
            *(shelf.keep_sums(line) for line in news.outcomes),
            *(shelf.keep_feedback(line) for line in news.feedback),
            *(shelf.keep_fall(line, here.house) for line in news.falls),
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
                "falls": len(news.falls),
            },
        )
        written = await self._ledger.write(*statements, *FEEDBACK, notes=[note])
        # no await from here on: what others add meanwhile comes after the rows that were read
        self._profiles.take_feedback(*written.rows[len(statements) :][: len(FEEDBACK)])
        for line, added in zip(news.validations, written.rows, strict=False):
            if not added:
                continue
            version, task = VersionId(line.version), TaskName(line.task)
            profile = shelf.case(line, here.house)
            if line.grading == self._tasks.grading(task):
                self._profiles.add(version, task, profile)
            if profile.timed:  # it was run here, and is had back; how it is graded is no matter
                self._profiles.speeds.add(version, task, Timing(latency_ms=profile.latency_ms))
        for sums in news.outcomes:
            self._add(sums.version, sums.task, shelf.carried(sums))
            before = here.outcomes.get(sums.identity)
            if before is not None:
                self._add(sums.version, sums.task, shelf.carried(before).negative)
        graded = self._tasks.gradings()
        self._tasks.written(*news.tasks)
        for rule in news.rules:
            self._rules.written(rule)
        for name, grading in self._tasks.gradings().items():
            await self._profiles.regrade(name, before=graded.get(name), after=grading)
        await self._learning.load()

    async def count(self, *, task: str = "", version: str = "") -> Evidence:
        """How much was measured, of a task and a version if they are named.

        Raises `UnknownTask` for a task of which nothing was measured and that is not there either.
        """
        scope = _scope(task, version)
        counts, sums = (
            await self._database.write(
                Statement(query="count_evidence", parameters=scope * 4),
                Statement(query="own_sums", parameters=scope),
            )
        ).rows
        ((validations, feedback, carried_feedback, carried),) = counts
        found = Evidence(
            validations=shelf.whole(validations),
            requests=sum(shelf.whole(row[2]) for row in sums),
            feedback=shelf.whole(feedback),
            carried_requests=shelf.whole(carried),
            carried_feedback=shelf.whole(carried_feedback),
        )
        if task and found.is_nothing:
            # what was measured outlives its task; but a name that is mistyped is no empty task
            self._tasks.get(TaskName(task))
        return found

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
                Statement(query="own_sums", parameters=scope),
                Statement(query="forget_validations", parameters=scope),
                Statement(query="forget_carried", parameters=scope),
                Statement(query="forget_outcomes", parameters=scope),
                Statement(query="forget_attempts", parameters=scope),
                Statement(query="forget_feedback", parameters=scope),
                Statement(query="forget_carried_feedback", parameters=scope),
                *FEEDBACK,
                Statement(query="forget_falls", parameters=scope),
                Statement(query="sum_energy"),
                notes=[note],
            )
            sums, cases, carried = written.rows[:3]
            self._profiles.take_feedback(*written.rows[7:10])
            # what ended while this was written may be forgotten with it, until the next start
            self._energies.take(written.rows[11])
            self._profiles.speeds.forget(task=task, version=version)
            for row in sums:
                self._add(row[0], row[1], shelf.own(row).negative)
            for row in cases:
                if row[2] == self._tasks.grading(TaskName(str(row[1]))):
                    self._add(row[0], row[1], shelf.row_of_case(row).negative)
            for row in carried:
                self._add(row[0], row[1], shelf.row_of_carried(row[2:]).negative)
            await self._learning.load()
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
        written = await self._database.write(*_STATE)
        cases, carried, own, others, lineage, sums, fallen = written.rows
        validations = tuple(shelf.validation_line(row, house) for row in cases)
        outcomes = {line.identity: line for line in (shelf.sums_line(row) for row in carried)}
        elsewhere = {line.identity: line for line in (shelf.feedback_line(row) for row in others)}
        given = [
            shelf.own_feedback_line(row, house, self._profiles.owners) for row in own if not row[9]
        ]
        lines = tuple(
            LineageLine(version=str(version), predecessor=str(before))
            for version, before in lineage
        )
        falls = tuple(shelf.fall_line(row, house) for row in fallen)
        mine = {line.identity: line for line in (shelf.own_sums_line(row, house) for row in sums)}
        return _State(
            contents=Contents(
                house=house,
                at=self._clock.now().isoformat(),
                tasks=self._tasks.all(),
                rules=self._rules.all(),
                lineage=lines,
                validations=validations,
                outcomes=tuple(shelf.together(mine, outcomes)),
                feedback=(*given, *elsewhere.values()),
                falls=falls,
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
                falls=frozenset(line.identity for line in falls),
            ),
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
    with os.fdopen(
        os.open(path.expanduser(), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"
    ) as file:
        file.write(data)


def _scope(task: str, version: str) -> tuple[str, str, str, str]:
    return (task, task, version, version)
