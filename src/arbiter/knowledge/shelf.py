"""How the lines of a file of knowledge stand in the database, and what they count.

Rows in, lines and profiles out, and back: the one place that knows both forms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from arbiter.knowledge.file import (
    FallLine,
    FeedbackLine,
    LineageLine,
    OutcomesLine,
    ValidationLine,
)
from arbiter.knowledge.profiles import Profile
from arbiter.storage.database import Row, Statement

OWNER = "owner"
"""What the callers who run a house are called in a file: their feedback counts without a bound."""


def together(
    mine: Mapping[tuple[str, ...], OutcomesLine], before: Mapping[tuple[str, ...], OutcomesLine]
) -> Iterable[OutcomesLine]:
    """All sums; what was taken back in of this house's own counts with what came since."""
    for identity, line in before.items():
        if identity not in mine:
            yield line
    for identity, line in mine.items():
        earlier = before.get(identity)
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
                graded_left=line.left[0] + earlier.left[0],
                quality_left=line.left[1] + earlier.left[1],
                until=max(line.until, earlier.until),
            )
        )


def keep_validation(line: ValidationLine, house: str) -> Statement:
    """Keep a case that was run; a row comes back when it was not there."""
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


def keep_lineage(line: LineageLine) -> Statement:
    """Keep who came before a version."""
    return Statement(query="carry_lineage", parameters=(line.version, line.predecessor))


def keep_sums(line: OutcomesLine) -> Statement:
    """Keep the sums of a house, in place of its earlier ones."""
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
            *line.left,
            line.until,
        ),
    )


def keep_fall(line: FallLine, house: str) -> Statement:
    """Keep that a version fell, here or at another house."""
    origin = None if line.origin == house else line.origin
    return Statement(
        query="add_fall", parameters=(line.version, line.task, line.since, origin, line.at)
    )


def fall_line(row: Row, house: str) -> FallLine:
    """A fall that is known."""
    version, task, since, origin, at = row
    return FallLine(
        origin=house if origin is None else str(origin),
        version=str(version),
        task=None if task is None else str(task),
        since=str(since),
        at=str(at),
    )


def keep_feedback(line: FeedbackLine) -> Statement:
    """Keep a judgement, in place of an earlier one."""
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


def validation_line(row: Row, house: str) -> ValidationLine:
    """A case that was run. house: this one, for what was measured here."""
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


def sums_line(row: Sequence[object]) -> OutcomesLine:
    """Sums that were carried in."""
    origin, version, task, samples, graded, quality, successes, timed, latency, latest = row[:10]
    count, total, until = row[10:]
    fell = whole(count) < whole(graded)
    return OutcomesLine(
        origin=str(origin),
        version=str(version),
        task=str(task),
        samples=whole(samples),
        graded=whole(graded),
        quality=min(_real(quality), whole(graded)),
        successes=whole(successes),
        timed=whole(timed),
        latency_ms=max(0.0, _real(latency)),
        latest=str(latest),
        graded_left=whole(count) if fell else None,
        quality_left=min(_real(total), whole(count), _real(quality)) if fell else None,
        until=str(until),
    )


def own_sums_line(row: Row, house: str) -> OutcomesLine:
    """What the requests of this house add up to."""
    return sums_line((house, *row[:8], *row[9:]))


def feedback_line(row: Sequence[object]) -> FeedbackLine:
    """A judgement."""
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


def case(line: ValidationLine, house: str) -> Profile:
    """What a case counts; its time, only if it was run here."""
    is_timed = line.success and line.origin == house and line.latency_ms is not None
    return Profile(
        samples=1,
        graded=1,
        quality=line.score,
        successes=int(line.success),
        timed=int(is_timed),
        latency_ms=(line.latency_ms or 0.0) if is_timed else 0.0,
    )


def row_of_case(row: Row) -> Profile:
    """What a case counted that was taken out."""
    _, _, _, score, success, latency = row
    return Profile(
        samples=1,
        graded=1,
        quality=_real(score),
        successes=whole(success),
        timed=0 if latency is None else 1,
        latency_ms=_real(latency),
    )


def own(row: Row) -> Profile:
    """What the requests of this house count."""
    return Profile(
        samples=whole(row[2]),
        graded=whole(row[3]),
        quality=_real(row[4]),
        successes=whole(row[5]),
        timed=whole(row[6]),
        latency_ms=_real(row[7]),
    )


def carried(line: OutcomesLine) -> Profile:
    """What sums count that were carried in: their times say nothing of this machine."""
    return row_of_carried((line.samples, line.graded, line.quality, line.successes))


def row_of_carried(row: Sequence[object]) -> Profile:
    """What such sums counted that were taken out."""
    samples, graded, quality, successes = row
    return Profile(
        samples=whole(samples),
        graded=whole(graded),
        quality=_real(quality),
        successes=whole(successes),
    )


def whole(value: object) -> int:
    """A count; nothing counts 0."""
    return int(value) if isinstance(value, int | float) else 0


def _real(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def own_feedback_line(row: Row, house: str, owners: frozenset[str]) -> FeedbackLine:
    """A judgement that was given here, as it is told elsewhere."""
    decision, source, kind, task, version, score, grade, caller, at, _ = row
    told = OWNER if caller in owners else caller
    return feedback_line((house, decision, source, kind, task, version, score, grade, told, at))
