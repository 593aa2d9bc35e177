"""The log of a house, read from its data directory without opening the house."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from arbiter.inference import Arm
from arbiter.refs import ModelName, TaskName, VersionId
from arbiter.storage.database import Row
from arbiter.storage.sqlite import snapshot
from arbiter.studies.log import Decision, Log, Result

NAMED = "the caller named the model, or it was the only one"
RULED = "a rule decided"
ROLLOUT = "a rollout was on, and the chance of the name alone is not on record"


def house_log(data_dir: Path) -> Log:
    """Every decision of `auto` that ended, and every graded case, by time.

    A decision's score is the grade that a rule gave, else what a grader said, else a person.
    Raises `StorageError` when there is no house.
    """
    with snapshot(data_dir / "arbiter.db") as record:
        decisions, cases = record.read("replay_decisions"), record.read("replay_cases")
    left_out: Counter[str] = Counter()
    found: list[tuple[str, Decision | Result]] = [(str(row[0]), _case(row)) for row in cases]
    known: dict[ModelName, VersionId] = {}
    for row in decisions:
        one = _decision(row, known)
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


def _decision(row: Row, known: dict[ModelName, VersionId]) -> Decision | str:
    """The decision, or why it is none that a policy could have made otherwise.

    known: what each name stood for when it last answered, for records without versions.
    """
    _, _, alias, arm, probability, reason, detail, version, _, _, _ = row
    picked = ModelName(str(alias))
    more: Mapping[str, list[list[object]]] = json.loads(str(detail))
    if arm == Arm.NONE:
        known[picked] = VersionId(str(version))
    chances = {
        ModelName(str(name)): (VersionId(str(which)), _real(share) or 0.0)
        for name, which, share in more.get("chances") or ()
    }
    among = {
        name: chances[name][0] if name in chances else known.get(name, VersionId(name))
        for name in (ModelName(str(one[0])) for one in more.get("scores") or ())
    }
    if len(among) < 2:
        return NAMED
    if str(reason).startswith("rule: ") or "; rule: " in str(reason):
        return RULED
    own = chances[picked][1] if picked in chances else 0.0
    if not own and arm != Arm.NONE:
        return ROLLOUT
    return Decision(
        picked=picked,
        among=among,
        propensity=own or float(probability or 1.0),
        chances={name: share for name, (_, share) in chances.items()} if own else None,
        result=_result(row),
    )


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
