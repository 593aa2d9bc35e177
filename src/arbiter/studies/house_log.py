"""The log of a house, read from its data directory without opening the house."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from arbiter.knowledge.outcome_rows import detail_of
from arbiter.refs import ModelName, TaskName, VersionId
from arbiter.storage.database import Row
from arbiter.storage.sqlite import snapshot
from arbiter.studies.log import Decision, Log, Result

NAMED = "the caller named the model, or it was the only one"
RULED = "a rule decided"
HELD = "it went on with a conversation, which an earlier request had drawn"


def house_log(data_dir: Path) -> Log:
    """Every decision of `auto` that ended, and every graded case, by time.

    A decision's score is the grade that a rule gave, else what a grader said, else a person.
    Raises `StorageError` when there is no house.
    """
    with snapshot(data_dir / "arbiter.db") as record:
        decisions, cases = record.read("replay_decisions"), record.read("replay_cases")
    left_out: Counter[str] = Counter()
    found: list[tuple[str, Decision | Result]] = [(str(row[0]), _case(row)) for row in cases]
    for row in decisions:
        one = _decision(row)
        if isinstance(one, str):
            left_out[one] += 1
            found.append((str(row[0]), _result(row)))
        else:
            found.append((str(row[0]), one))
    found.sort(key=lambda pair: pair[0])
    return Log(source=str(data_dir), entries=[one for _, one in found], left_out=left_out)


def _case(row: Row) -> Result:
    _, task, version, score, success, latency = row
    return Result(
        task=TaskName(str(task)),
        version=VersionId(str(version)),
        score=_real(score),
        is_success=bool(success),
        latency_ms=_real(latency),
    )


def _result(row: Row) -> Result:
    _, task, _, _, _, _, _, version, status, latency, score = row
    success = status == "success"
    return Result(
        task=TaskName(str(task)),
        version=VersionId(str(version)),
        score=_real(score),
        is_success=success,
        latency_ms=_real(latency) if success else None,
    )


def _decision(row: Row) -> Decision | str:
    """The decision, or why it is none that a policy could have made otherwise."""
    _, _, alias, _, _, _, detail, _, _, _, _ = row
    picked, told = ModelName(str(alias)), detail_of(str(detail))
    chances = {one.name: one.chance for one in told.scores}
    if len(chances) < 2 or picked not in chances:
        return NAMED
    if told.by_rule:
        return RULED
    if told.is_held:
        return HELD
    return Decision(
        picked=picked,
        among={one.name: one.version for one in told.scores},
        propensity=chances[picked],
        chances=chances,
        result=_result(row),
    )


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
