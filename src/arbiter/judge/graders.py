"""Graders: rules that score an answer, the same way every time and for no money.

A grader is pure: a kind with its options, an answer and, for most kinds, the expected answer.
The answer comes from a model and is not trusted. It may be a megabyte, nest a thousand deep, hold
half a surrogate or repeat one letter until a backtracking matcher never returns: a grade comes
out all the same, soon. That is why patterns are run in linear time (`arbiter.judge.patterns`), and
why a JSON schema may not look beyond itself.

This module knows no task, no model and no judge that is a model.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NoReturn, cast

from arbiter.errors import InvalidField
from arbiter.judge.patterns import compiled
from arbiter.refs import canonical

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

KINDS: Final[Mapping[str, frozenset[str]]] = {
    "exact": frozenset({"ignore_case"}),
    "choice": frozenset({"labels"}),
    "contains": frozenset({"ignore_case"}),
    "regex": frozenset({"pattern", "ignore_case"}),
    "number": frozenset({"tolerance"}),
    "json-schema": frozenset({"schema"}),
    "json-fields": frozenset(),
}
"""Every kind of grader, with the options that it takes."""

LONGEST: Final = 100_000
"""Characters of an answer that choice, regex and the JSON graders look at; more scores 0."""
LONGEST_MATCHED: Final = 20_000
"""The number grader looks for the last number in so many characters at the end."""
_DEEPEST = 64
_LABELS = 100

_NUMBER = re.compile(
    r"(?P<sign>(?<![\w.)])[-+])?(?P<body>[0-9][0-9,]*(?:\.[0-9]+)?|(?<![0-9.])\.[0-9]+)"
    r"(?P<power>[eE][-+]?[0-9]+)?"
)
_THOUSANDS = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class GraderSpec:
    """A grader, as `parse_grader` checked it."""

    kind: str
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """What an answer is worth: a score from 0 to 1, and a sentence on why."""

    score: float
    reason: str


def parse_grader(kind: str, options: Mapping[str, object]) -> GraderSpec:
    """The grader of this kind, if the options make sense.

    ignore_case: true or false. labels: two or more words, of which one is right. pattern: a
    regular expression that is searched for (without it, the expected answer is one). tolerance:
    how far from the expected number an answer may be, from 0 up. schema: a JSON schema that
    refers to nothing outside itself.

    Raises `InvalidField`.
    """
    if kind not in KINDS:
        _refuse(f"{kind!r:.80} is no grader.", f"The graders are {', '.join(KINDS)}.")
    for name in options:
        if name not in KINDS[kind]:
            takes = ", ".join(sorted(KINDS[kind])) or "no options"
            _refuse(f"The grader {kind} has no option {name!r:.80}.", f"It takes {takes}.")
    for name, value in options.items():
        _CHECKS[name](value)
    if kind == "choice" and "labels" not in options:
        _refuse("The grader choice needs labels.", 'For example {"labels": ["yes", "no"]}.')
    if kind == "json-schema" and "schema" not in options:
        _refuse("The grader json-schema needs a schema.", 'For example {"schema": {...}}.')
    spec = GraderSpec(kind=kind, options=dict(options))
    if kind == "regex" and "pattern" in options:
        compiled(str(options["pattern"]), ignore_case=_ignores_case(spec))
    return spec


def needs_expected(spec: GraderSpec) -> bool:
    """Whether it takes an expected answer to grade; without, live traffic can be graded as it is.

    >>> needs_expected(parse_grader("regex", {"pattern": "^[A-Z]"}))
    False
    """
    return spec.kind != "json-schema" and not (spec.kind == "regex" and "pattern" in spec.options)


def check_expected(spec: GraderSpec, expected: str | None) -> None:
    """Raise `InvalidField` when no answer could ever be graded against this expected answer."""
    if not needs_expected(spec):
        return
    if expected is None:
        _refuse(f"The grader {spec.kind} needs an expected answer.", None, param="expected")
    fault = _expected_fault(spec, expected)
    if fault is not None:
        _refuse(f"{fault}.", None, param="expected")


def grade(spec: GraderSpec, *, answer: str, expected: str | None) -> Grade:
    """Score an answer. Never raises, whatever the answer and the expected answer hold.

    An expected answer that cannot be used scores 0 and says so: `check_expected` tells before.

    >>> grade(parse_grader("number", {}), answer="That makes 1,234.5.", expected="1234.5").score
    1.0
    """
    if not needs_expected(spec):
        return _GRADERS[spec.kind](spec, answer, "")
    if expected is None:
        return _graded(0, "there is no expected answer to compare with")
    fault = _expected_fault(spec, expected)
    if fault is not None:
        return _graded(0, fault)
    return _GRADERS[spec.kind](spec, answer, expected)


def _refuse(message: str, hint: str | None, *, param: str = "grader") -> NoReturn:
    raise InvalidField(message, hint=hint, param=param)


def _graded(score: float, reason: str) -> Grade:
    """A grade whose reason can be shown anywhere: short, and free of half surrogates."""
    return Grade(score=float(score), reason=f"{reason:.200}".encode(errors="replace").decode())


def _ignores_case(spec: GraderSpec) -> bool:
    return spec.options.get("ignore_case") is True


def _labels(spec: GraderSpec) -> tuple[str, ...]:
    return tuple(cast("Sequence[str]", spec.options["labels"]))


def _check_flag(value: object) -> None:
    if not isinstance(value, bool):
        _refuse("ignore_case must be true or false.", None)


def _check_labels(value: object) -> None:
    if not (
        isinstance(value, list | tuple)
        and 2 <= len(value) <= _LABELS
        and all(isinstance(label, str) and label == label.strip() != "" for label in value)
        and len({label.casefold() for label in value}) == len(value)
    ):
        _refuse(f"labels must be a list of 2 to {_LABELS} different words.", None)


def _check_pattern(value: object) -> None:
    if not isinstance(value, str):
        _refuse("pattern must be a text.", None)


def _check_tolerance(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e300:
        _refuse("tolerance must be a number from 0 to 1e300.", None)


def _check_schema(value: object) -> None:
    if not isinstance(value, dict):
        _refuse("schema must be a JSON object.", None)
    try:
        text = canonical(value).decode()
        for part in _objects(value):
            _check_part(part, value)
        # A schema that only refers to itself never comes to an end, with any answer.
        next(_validator(text).iter_errors(None), None)
    except (ValueError, TypeError, RecursionError) as error:
        _refuse(f"schema is not a JSON schema: {error!s:.120}.", None)


def _objects(value: object) -> Iterator[dict[str, object]]:
    """Every object in a JSON value."""
    if isinstance(value, dict):
        yield value
    for part in _parts(value):
        yield from _objects(part)


def _check_part(part: Mapping[str, object], whole: Mapping[str, object]) -> None:
    """What a schema may not do: fetch something, or match in a way that may never end."""
    for key in ("$dynamicRef", "$recursiveRef", "patternProperties"):
        if key in part:
            _refuse(f"A grader's schema may not use {key}.", None)
    if "$id" in part and part is not whole:
        _refuse("A grader's schema may have an $id only at its top.", None)
    if isinstance(part.get("pattern"), str):
        compiled(str(part["pattern"]), ignore_case=False)
    reference = part.get("$ref")
    if isinstance(reference, str) and not _points_into(reference, whole):
        _refuse(
            f"The schema refers to {reference!r:.80}, which is not in it.",
            'A reference looks like "#/$defs/name"; nothing is ever fetched.',
        )


def _points_into(reference: str, whole: object) -> bool:
    """Whether a JSON pointer (RFC 6901) leads to something in this schema."""
    first, *steps = reference.split("/")
    for step in steps:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(whole, list) and name.isdecimal() and int(name[:9]) < len(whole):
            whole = whole[int(name[:9])]
        elif isinstance(whole, dict) and name in whole:
            whole = whole[name]
        else:
            return False
    return first == "#"


_CHECKS: Final[Mapping[str, Callable[[object], None]]] = {
    "ignore_case": _check_flag,
    "labels": _check_labels,
    "pattern": _check_pattern,
    "tolerance": _check_tolerance,
    "schema": _check_schema,
}


def _expected_fault(spec: GraderSpec, expected: str) -> str | None:
    """Why nothing can be compared with this expected answer; None when it can."""
    match spec.kind:
        case "choice" if expected.strip().casefold() not in {
            label.casefold() for label in _labels(spec)
        }:
            return f"the expected answer is none of {', '.join(_labels(spec))}"
        case "contains" if not expected.strip():
            return "the expected answer is empty, and every answer contains that"
        case "number" if _last_number(expected) is None:
            return "the expected answer holds no number"
        case "json-fields" if not _fields(expected):
            return "the expected answer is no JSON object with fields"
        case "regex":
            try:
                compiled(expected, ignore_case=_ignores_case(spec))
            except InvalidField as error:
                return f"the expected answer is no pattern: {error.message}"
    return None


def _exact(spec: GraderSpec, answer: str, expected: str) -> Grade:
    found, wanted = answer.strip(), expected.strip()
    if _ignores_case(spec):
        found, wanted = found.casefold(), wanted.casefold()
    if found == wanted:
        return _graded(1, "the same as the expected answer")
    return _graded(0, "not the same as the expected answer")


def _contains(spec: GraderSpec, answer: str, expected: str) -> Grade:
    wanted = expected.strip()
    if _ignores_case(spec):
        answer, wanted = answer.casefold(), wanted.casefold()
    if wanted in answer:
        return _graded(1, "contains the expected answer")
    return _graded(0, "does not contain the expected answer")


def _choice(spec: GraderSpec, answer: str, expected: str) -> Grade:
    if len(answer) > LONGEST:
        return _graded(0, f"longer than {LONGEST} characters")
    # The longest first, so that "very good" is not also taken for "good".
    words = sorted((re.escape(label) for label in _labels(spec)), key=len, reverse=True)
    pattern = rf"(?<!\w)(?:{'|'.join(words)})(?!\w)"
    named = {found.casefold() for found in re.findall(pattern, answer, re.IGNORECASE)}
    if len(named) > 1:
        return _graded(0, f"names several labels: {', '.join(sorted(named))}")
    if not named:
        return _graded(0, "names none of the labels")
    if named == {expected.strip().casefold()}:
        return _graded(1, f"names {expected.strip()} and no other label")
    return _graded(0, f"names {', '.join(named)} instead of {expected.strip()}")


def _regex(spec: GraderSpec, answer: str, expected: str) -> Grade:
    pattern = str(spec.options.get("pattern", expected))
    if len(answer) > LONGEST:
        return _graded(0, f"longer than {LONGEST} characters")
    if compiled(pattern, ignore_case=_ignores_case(spec)).is_in(answer):
        return _graded(1, "matches the pattern")
    return _graded(0, "does not match the pattern")


def _number(spec: GraderSpec, answer: str, expected: str) -> Grade:
    found, wanted = _last_number(answer), _last_number(expected)
    if found is None or wanted is None:
        return _graded(0, "holds no number")
    with localcontext(prec=400):
        distance = abs(found - wanted)
    if distance <= Decimal(str(spec.options.get("tolerance", 0))):
        return _graded(1, f"{found:.12g} is the expected number")
    return _graded(0, f"{found:.12g} instead of {wanted:.12g}")


def _last_number(text: str) -> Decimal | None:
    """The last number in a text; a comma separates thousands, or else numbers.

    >>> _last_number("from -3 to 1,234.5"), _last_number("10-3"), _last_number("1, 2,20")
    (Decimal('1234.5'), Decimal('3'), Decimal('20'))
    """
    found = list(_NUMBER.finditer(text[-LONGEST_MATCHED:].replace("\u2212", "-")))
    if not found:
        return None
    last = found[-1]
    sign, body, power = last["sign"] or "", last["body"].rstrip(","), last["power"] or ""
    if _THOUSANDS.fullmatch(body):
        body = body.replace(",", "")
    elif "," in body:
        sign, body = "", body.rpartition(",")[2]
    # Beyond the range of a float nothing is a sensible answer, and arithmetic would raise.
    if len(power) > 6 or not math.isfinite(float(sign + body + power)):
        return None
    return Decimal(sign + body + power)


def _json_schema(spec: GraderSpec, answer: str, _: str) -> Grade:
    found = _parsed(answer)
    if found is None:
        return _graded(0, "is not JSON")
    try:
        validator = _validator(canonical(spec.options["schema"]).decode())
        error = next(validator.iter_errors(cast("bool", found.value)), None)
    except (ArithmeticError, ValueError, TypeError, RecursionError) as failed:
        return _graded(0, f"cannot be checked: {type(failed).__name__}")
    if error is None:
        return _graded(1, "valid by the schema")
    return _graded(0, f"{error.json_path:.60}: {error.message}")


@lru_cache(maxsize=64)
def _validator(schema: str) -> Validator:
    """A validator that fetches nothing, backtracks nowhere and compares no pairs of items."""
    from jsonschema import Draft202012Validator, validators  # noqa: PLC0415  # 0.3 s, for one kind
    from jsonschema.exceptions import SchemaError, ValidationError  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415

    def pattern(
        _: Validator, wanted: str, instance: object, __: object
    ) -> Iterator[ValidationError]:
        if isinstance(instance, str) and not compiled(wanted, ignore_case=False).is_in(instance):
            yield ValidationError("a text does not match its pattern")

    def unique(
        _: Validator, wanted: object, instance: object, __: object
    ) -> Iterator[ValidationError]:
        items = instance if wanted and isinstance(instance, list) else []
        if len({_key(item) for item in items}) < len(items):
            yield ValidationError("two items are the same")

    plain = json.loads(schema)
    base = validators.validator_for(plain, default=Draft202012Validator)
    try:
        base.check_schema(plain)
    except SchemaError as error:
        raise ValueError(error.message) from error
    bounded = validators.extend(  # type: ignore[no-untyped-call]  # so in its stubs
        base, {"pattern": pattern, "uniqueItems": unique}
    )
    return cast("Validator", bounded(plain, registry=Registry()))


def _json_fields(_: GraderSpec, answer: str, expected: str) -> Grade:
    found, wanted = _fields(answer), _fields(expected)
    if found is None or not wanted:
        return _graded(0, "is not a JSON object")
    wrong = [
        name for name in wanted if name not in found or _key(found[name]) != _key(wanted[name])
    ]
    right = len(wanted) - len(wrong)
    if not wrong:
        return _graded(1, "every expected field is right")
    return _graded(
        right / len(wanted), f"{right} of {len(wanted)} fields; not right: {', '.join(wrong)}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parsed:
    """A JSON value; in a box, because null is one too."""

    value: object


def _parsed(text: str) -> _Parsed | None:
    """The JSON that a text is, perhaps in a code fence; None when it is none, or out of bounds."""
    if len(text) > LONGEST:
        return None
    try:
        value: object = json.loads(_unfenced(text), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    level = [value]
    for _ in range(_DEEPEST):
        level = [part for one in level for part in _parts(one)]
        if not level:
            return _Parsed(value=value)
    return None


def _parts(value: object) -> Sequence[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else ()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _unfenced(text: str) -> str:
    r"""The inside of a Markdown code fence when that is all there is.

    >>> _unfenced("```json\n{}\n```")
    '{}'
    """
    text = text.strip()
    if not (text.startswith("```") and text.endswith("```") and "\n" in text):
        return text
    return text.partition("\n")[2].removesuffix("```").strip()


def _fields(text: str) -> dict[str, object] | None:
    found = _parsed(text)
    return found.value if found is not None and isinstance(found.value, dict) else None


def _key(value: object) -> str:
    """A text that is the same for JSON values that are the same: 1 is 1.0, and true is no 1."""
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


_GRADERS: Final[Mapping[str, Callable[[GraderSpec, str, str], Grade]]] = {
    "exact": _exact,
    "choice": _choice,
    "contains": _contains,
    "regex": _regex,
    "number": _number,
    "json-schema": _json_schema,
    "json-fields": _json_fields,
}
