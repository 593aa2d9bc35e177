"""A log: decisions as they were made, with their chances and what came of them, in their order.

Beside decisions it holds graded cases, which are evidence and no decision. Nothing here knows how a
pick is made.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from arbiter.errors import InvalidField
from arbiter.refs import ModelName, TaskName, VersionId, parse_name, parse_task


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a version did at a task once. score: in [0, 1], None when nobody judged it."""

    task: TaskName
    version: VersionId
    score: float | None
    is_success: bool = True
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One pick of `auto`.

    among: who could serve, with the version that the name stood for. propensity: the chance of
    what was picked. chances: that of everybody; None when only the pick's own is known.
    """

    picked: ModelName
    among: Mapping[ModelName, VersionId]
    propensity: float
    chances: Mapping[ModelName, float] | None
    result: Result

    def may_pick(self, name: ModelName) -> bool:
        """Whether the log may tell about this pick: it had a chance, as far as is known."""
        return self.chances is None or self.chances.get(name, 0.0) > 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Decisions and graded cases in their order. left_out: what was no decision of use, counted."""

    source: str
    entries: Sequence[Decision | Result]
    left_out: Counter[str] = field(default_factory=Counter)


SUM = 1e-6
"""How far from 1 chances may sum, as decimal numbers do."""


def parse_log(text: str, *, source: str) -> Log:
    """A log of JSON lines, one a decision or a graded case; see the page on file formats.

    Raises `InvalidField` that names the source and the line.
    """
    entries: list[Decision | Result] = []
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), start=1):
        if line.strip():
            try:
                entries.append(_entry(line))
            except InvalidField as error:
                raise InvalidField(
                    f"{source}, line {number}: {error.message}", hint=error.hint
                ) from error
    if not entries:
        raise InvalidField(f"{source} is empty.", hint="Give one JSON object a line.")
    return Log(source=source, entries=entries)


def _entry(line: str) -> Decision | Result:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise InvalidField(f"this is no JSON: {error}.") from error
    if not isinstance(found, dict):
        raise InvalidField("this is no JSON object.")
    unknown = sorted(set(found) - _FIELDS)
    if unknown:
        raise InvalidField(
            f"there is no field {unknown[0]!r:.40}.",
            hint=f"Fields are {', '.join(sorted(_FIELDS))}.",
        )
    if ("case" in found) == ("picked" in found):
        raise InvalidField(
            "this is neither a decision nor a case.",
            hint="A decision has picked, a graded case has case: each names a model.",
        )
    task = parse_task(_text(found, "task"))
    name = parse_name(_text(found, "case" if "case" in found else "picked"), what="model")
    result = Result(
        task=task,
        version=VersionId(name),
        score=_real(found, "score", most=1.0),
        is_success=found.get("success", True) is not False,
        latency_ms=_real(found, "latency_ms", most=math.inf),
    )
    if "case" in found:
        if result.score is None:
            raise InvalidField("a case has a score from 0 to 1.")
        return result
    return _decision(found, name, result)


_FIELDS = frozenset(
    {"task", "picked", "case", "chances", "probability", "among", "score", "success", "latency_ms"}
)


def _decision(found: Mapping[str, object], picked: ModelName, result: Result) -> Decision:
    chances = _chances(found)
    if chances is None:
        names, propensity = _names(found), _real(found, "probability", most=1.0)
    else:
        names, propensity = tuple(chances), chances.get(picked, 0.0)
    if picked not in names:
        raise InvalidField(f"{picked} was picked and is not among those that could be.")
    if not propensity:
        raise InvalidField(f"{picked} was picked with a probability above 0: which?")
    return Decision(
        picked=picked,
        among={name: VersionId(name) for name in names},
        propensity=propensity,
        chances=chances,
        result=result,
    )


def _chances(found: Mapping[str, object]) -> Mapping[ModelName, float] | None:
    given = found.get("chances")
    if given is None:
        return None
    if not isinstance(given, dict) or "among" in found or "probability" in found:
        raise InvalidField(
            "chances is an object of names and probabilities.",
            hint="It stands in the place of probability and among.",
        )
    chances = {parse_name(name, what="model"): _real(given, name, most=1.0) for name in given}
    known = {name: chance for name, chance in chances.items() if chance is not None}
    if len(known) < len(chances) or abs(math.fsum(known.values()) - 1.0) > SUM:
        raise InvalidField("chances are probabilities that sum to 1.")
    return known


def _names(found: Mapping[str, object]) -> tuple[ModelName, ...]:
    given = found.get("among")
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise InvalidField(
            "a decision has chances, or probability and among.",
            hint='As in "chances": {"ant": 0.9, "bee": 0.1}.',
        )
    return tuple(parse_name(name, what="model") for name in given)


def _text(found: Mapping[str, object], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str):
        raise InvalidField(f"{name} is a text.")
    return value


def _real(found: Mapping[str, object], name: str, *, most: float) -> float | None:
    value = found.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= most:
        raise InvalidField(
            f"{name:.80} is a number from 0" + (f" to {most:.0f}." if most < math.inf else " up.")
        )
    return float(value)
