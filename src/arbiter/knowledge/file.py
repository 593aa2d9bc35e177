"""A file of knowledge: one JSON object a line, with a digest of all of them at its end.

What was decided (tasks with their cases, rules) knows no model. What was measured belongs to the
digest of a version and carries the house that measured it. The form is documented in
docs/reference/file-formats.md; nothing here knows a database.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec

from arbiter.errors import InvalidField, KnowledgeFileError
from arbiter.knowledge.rules import Rule, knowledge_digest
from arbiter.knowledge.tasks import Task, check_cases, in_force, parse_cases, task_from_spec
from arbiter.refs import (
    GENERAL,
    TaskName,
    canonical,
    digest,
    is_house,
    is_id,
    parse_name,
    parse_task,
    parse_version,
)

FORMAT = 2
"""1 had no falls, and sums did not say what is left after one; such files are read too."""

FILE_BYTES = 1024 * 1024 * 1024
"""The largest file that is read."""

_DOMAIN = b"arbiter.knowledge-file.v1\0"

Unit = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Span = Annotated[float, msgspec.Meta(ge=0, le=1e15)]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
Text = Annotated[str, msgspec.Meta(max_length=1000)]


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="is"):
    """A line; ``is`` says which."""

    def plain(self) -> dict[str, object]:
        """As JSON."""
        found: dict[str, object] = msgspec.to_builtins(self)
        return found


class TaskLine(Line, frozen=True, kw_only=True, tag="task"):
    """A task with its cases."""

    task: str
    spec: dict[str, object]
    cases: list[dict[str, object]]


class RuleLine(Line, frozen=True, kw_only=True, tag="rule", omit_defaults=True):
    """A rule. What it does not say is left out."""

    task: str
    prefer: str | None = None
    only: str | None = None
    never: list[str] = []
    why: Text


class LineageLine(Line, frozen=True, kw_only=True, tag="lineage"):
    """Which version came before a version."""

    version: str
    predecessor: str


class ValidationLine(Line, frozen=True, kw_only=True, tag="validation"):
    """A graded case that was run on a version."""

    origin: str
    version: str
    task: str
    grading: Annotated[str, msgspec.Meta(max_length=100)]
    case: Annotated[str, msgspec.Meta(max_length=100)]
    score: Unit
    success: bool
    latency_ms: Span | None
    at: Text

    @property
    def identity(self) -> tuple[str, ...]:
        """A case is run once on a version, wherever that is."""
        return (self.version, self.task, self.grading, self.case)


class OutcomesLine(Line, frozen=True, kw_only=True, tag="outcomes", omit_defaults=True):
    """What the requests of a house add up to, for a version at a task.

    samples: requests that ended, and tries that failed. graded, quality: how many a rule graded,
    and the sum of their scores. timed, latency_ms: how many successes were timed, and the sum.
    latest: the last decision in it. until: when the last of them ended. graded_left, quality_left:
    the part of graded and quality from after the version fell; not told where it did not.
    """

    origin: str
    version: str
    task: str
    samples: Count
    graded: Count
    quality: Span
    successes: Count
    timed: Count
    latency_ms: Span
    latest: str
    graded_left: Count | None = None
    quality_left: Span | None = None
    until: Text = ""

    @property
    def left(self) -> tuple[int, float]:
        """How many scores there are from after the version fell, and their sum."""
        if self.graded_left is None or self.quality_left is None:
            return self.graded, self.quality
        return self.graded_left, self.quality_left

    @property
    def identity(self) -> tuple[str, ...]:
        """One sum a house and cell."""
        return (self.origin, self.version, self.task)


class FeedbackLine(Line, frozen=True, kw_only=True, tag="feedback"):
    """A judgement of an answer. grade: what a rule gave the same answer."""

    origin: str
    decision: str
    source: Word
    kind: Word
    task: str
    version: str
    score: Unit
    grade: Unit | None
    caller: Id
    at: Text

    @property
    def identity(self) -> tuple[str, ...]:
        """One a decision, source and kind."""
        return (self.origin, self.decision, self.source, self.kind)


class FallLine(Line, frozen=True, kw_only=True, tag="fall"):
    """A version silently got worse at a house: at one task, or (task null) at all of them.

    since: when the first score of the loss came; what it earned there before counts no more. at:
    when the score came that showed it.
    """

    origin: str
    version: str
    task: str | None
    since: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    at: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]

    @property
    def identity(self) -> tuple[str, ...]:
        """One a house, version, task and beginning."""
        return (self.origin, self.version, self.task or "", self.since)


class EndLine(Line, frozen=True, kw_only=True, tag="end"):
    """The last line. lines: how many came before. digest: of every byte of them."""

    lines: Count
    knowledge: str
    evidence: str
    digest: str


Known = (
    TaskLine
    | RuleLine
    | LineageLine
    | ValidationLine
    | OutcomesLine
    | FeedbackLine
    | FallLine
    | EndLine
)
Kept = TypeVar("Kept", bound=Line)
_DECODER: msgspec.json.Decoder[Known] = msgspec.json.Decoder(Known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """All that a file holds. house: where it was written. digest: of the file."""

    house: str
    at: str
    tasks: tuple[Task, ...] = ()
    rules: tuple[Rule, ...] = ()
    lineage: tuple[LineageLine, ...] = ()
    validations: tuple[ValidationLine, ...] = ()
    outcomes: tuple[OutcomesLine, ...] = ()
    feedback: tuple[FeedbackLine, ...] = ()
    falls: tuple[FallLine, ...] = ()
    digest: str = ""

    @property
    def knowledge(self) -> str:
        """The digest of what people decided: no model is in it."""
        return knowledge_digest(self.tasks, self.rules)

    @property
    def evidence(self) -> str:
        """The digest of what was measured."""
        return digest(
            "arbiter.evidence.v1",
            sorted(
                canonical(line.plain()).decode()
                for lines in (self.validations, self.outcomes, self.feedback, self.falls)
                for line in lines
            ),
        )


def write(contents: Contents) -> bytes:
    """The file of these contents: the same contents, the same bytes."""
    lines: list[bytes] = [
        canonical({"arbiter_knowledge": FORMAT, "house": contents.house, "at": contents.at})
    ]
    decided: list[Line] = [
        TaskLine(task=task.name, spec=task.spec(), cases=[case.to_plain() for case in task.cases])
        for task in contents.tasks
    ]
    decided += [
        RuleLine(task=r.task, prefer=r.prefer, only=r.only, never=list(r.never), why=r.why)
        for r in contents.rules
    ]
    lines += [canonical(line.plain()) for line in decided]
    for group in (
        contents.lineage,
        contents.validations,
        contents.outcomes,
        contents.feedback,
        contents.falls,
    ):
        lines += sorted(canonical(line.plain()) for line in group)
    body = b"".join(line + b"\n" for line in lines)
    end = EndLine(
        lines=len(lines),
        knowledge=contents.knowledge,
        evidence=contents.evidence,
        digest=_digest(body),
    )
    return body + canonical(end.plain()) + b"\n"


def _digest(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(_DOMAIN + body).hexdigest()


def read(data: bytes) -> Contents:
    """What a file holds, every line of it checked.

    Raises `KnowledgeFileError` for a file of another kind or of a newer Arbiter, and for one that
    was cut or changed.
    """
    head, separator, _ = data.partition(b"\n")
    house, at = _header(head)
    body, end = _ending(data)
    if not separator:
        raise _cut()
    found: dict[type[Line], list[Line]] = {}
    seen: set[tuple[str, ...]] = set()
    lines = body.split(b"\n")[1:-1]
    for number, line in enumerate(lines, start=2):
        one = _line(line, number)
        identity = (type(one).__name__, *_identity(one))
        if identity in seen or isinstance(one, EndLine):
            raise KnowledgeFileError(f"Line {number} of the file says again what another says.")
        seen.add(identity)
        found.setdefault(type(one), []).append(one)
    if end.lines != len(lines) + 1:
        raise _cut()
    contents = _contents(found, house=house, at=at, file_digest=end.digest)
    if (contents.knowledge, contents.evidence) != (end.knowledge, end.evidence):
        raise KnowledgeFileError("The digests at the end of the file are not those of its lines.")
    return contents


def _cut() -> KnowledgeFileError:
    return KnowledgeFileError(
        "The file is cut: its last line is not there, or lines before it are missing.",
        hint="Nothing was taken in; export it once more.",
    )


def _header(head: bytes) -> tuple[str, str]:
    try:
        match json.loads(head):
            case {"arbiter_knowledge": int(form), **more}:
                if form > FORMAT:
                    raise KnowledgeFileError(
                        f"The file is of format {form}, this Arbiter knows {FORMAT}.",
                        hint="It was written by a newer Arbiter; upgrade this one.",
                    )
                match more:
                    case {"house": str(house), "at": str(at)} if 1 <= form <= FORMAT:
                        if is_house(house) and len(at) < 100 and len(more) == 2:
                            return house, at
    except (ValueError, RecursionError):
        pass
    raise KnowledgeFileError(
        "This is no file of knowledge.", hint="arbiter knowledge export FILE writes one."
    )


def _ending(data: bytes) -> tuple[bytes, EndLine]:
    """The lines before the last, and the last, whose digest is that of those before."""
    start = data.rstrip(b"\n").rfind(b"\n") + 1
    body, last = data[:start], data[start:]
    try:
        end = _DECODER.decode(last)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise _cut() from None
    if not isinstance(end, EndLine) or not data.endswith(b"}\n"):
        raise _cut()
    if end.digest != _digest(body):
        raise KnowledgeFileError(
            "The file was changed since it was written: its digest is another.",
            hint="Nothing was taken in; export it once more.",
        )
    return body, end


def _line(data: bytes, number: int) -> Known:
    try:
        one = _DECODER.decode(data)
        _check(one)
    except (msgspec.DecodeError, InvalidField, ValueError, RecursionError) as error:
        raise KnowledgeFileError(f"Line {number} of the file cannot be read: {error}.") from error
    return one


def _check(line: Known) -> None:
    """Raise `InvalidField` for names and ids that are none."""
    match line:
        case TaskLine(task=task):
            parse_task(task)
        case RuleLine():
            _rule(line)
        case LineageLine(version=version, predecessor=predecessor):
            parse_version(version)
            parse_version(predecessor)
        case EndLine():
            pass
        case _:
            _check_measured(line)


def _check_measured(line: ValidationLine | OutcomesLine | FeedbackLine | FallLine) -> None:
    parse_task(line.task or GENERAL)
    parse_version(line.version)
    if not is_house(line.origin):
        raise InvalidField(f"{line.origin!r:.80} is no house")
    match line:
        case OutcomesLine(latest=latest) if not is_id(latest) or not _adds_up(line):
            raise InvalidField("these sums cannot be")
        case FeedbackLine(decision=decision) if not is_id(decision):
            raise InvalidField(f"{decision!r:.80} is no decision")
        case _:
            pass


def _adds_up(line: OutcomesLine) -> bool:
    count, total = line.left
    return (
        line.quality <= line.graded <= line.samples
        and line.timed <= line.successes <= line.samples
        and count <= line.graded
        and total <= min(count, line.quality)
        and (line.graded_left is None) is (line.quality_left is None)
    )


def _identity(line: Known) -> tuple[str, ...]:
    match line:
        case TaskLine(task=task) | RuleLine(task=task):
            return (task,)
        case LineageLine(version=version):
            return (version,)
        case ValidationLine() | OutcomesLine() | FeedbackLine() | FallLine():
            return line.identity
        case EndLine():
            return ()


def _contents(
    found: dict[type[Line], list[Line]], *, house: str, at: str, file_digest: str
) -> Contents:
    tasks = tuple(_task(line) for line in _of(TaskLine, found))
    try:
        for task in in_force(tasks).values():
            check_cases(task)
    except InvalidField as error:
        raise KnowledgeFileError(f"The tasks of the file: {error.sentence}") from error
    return Contents(
        house=house,
        at=at,
        tasks=tasks,
        rules=tuple(_rule(line) for line in _of(RuleLine, found)),
        lineage=_of(LineageLine, found),
        validations=_of(ValidationLine, found),
        outcomes=_of(OutcomesLine, found),
        feedback=_of(FeedbackLine, found),
        falls=_of(FallLine, found),
        digest=file_digest,
    )


def _of(kind: type[Kept], found: dict[type[Line], list[Line]]) -> tuple[Kept, ...]:
    return tuple(line for line in found.get(kind, ()) if isinstance(line, kind))


def _rule(line: RuleLine) -> Rule:
    """Raises `InvalidField` for a rule that cannot be."""
    return Rule(
        task=parse_task(line.task),
        prefer=None if line.prefer is None else parse_name(line.prefer),
        only=None if line.only is None else parse_name(line.only),
        never=tuple(parse_name(alias) for alias in line.never),
        why=line.why,
    )


def _task(line: TaskLine) -> Task:
    try:
        cases = parse_cases("\n".join(json.dumps(case) for case in line.cases))
        return task_from_spec(TaskName(line.task), line.spec, cases)
    except InvalidField as error:
        raise KnowledgeFileError(f"Task {line.task} of the file: {error.sentence}") from error
