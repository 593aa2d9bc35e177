"""Graders: what scores, what does not, and that no answer makes them fail or dawdle."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbiter.errors import InvalidField
from arbiter.judge.graders import (
    KINDS,
    LONGEST,
    Grade,
    check_expected,
    grade,
    needs_expected,
    parse_grader,
)

SCHEMA: Mapping[str, object] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Z]"},
        "ages": {"type": "array", "items": {"$ref": "#/$defs/age"}, "uniqueItems": True},
    },
    "required": ["name"],
    "$defs": {"age": {"type": "integer", "minimum": 0}},
}
OPTIONS: Mapping[str, Mapping[str, object]] = {
    "choice": {"labels": ["positive", "negative", "very positive"]},
    "regex": {"pattern": r"^(\w+\s?)+$"},
    "number": {"tolerance": 0.5},
    "json-schema": {"schema": SCHEMA},
}
EXPECTED = {"choice": "positive", "number": "4", "json-fields": '{"a": 1}'}


def score(kind: str, answer: str, expected: str | None = None, **options: object) -> float:
    return grade(parse_grader(kind, options), answer=answer, expected=expected).score


@pytest.mark.parametrize(
    ("answer", "expected", "ignore_case", "points"),
    [
        ("Paris", "Paris", False, 1),
        ("  Paris\n", "Paris ", False, 1),
        ("paris", "Paris", False, 0),
        ("paris", "Paris", True, 1),
        ("STRASSE", "stra\u00dfe", True, 1),
        ("Paris.", "Paris", False, 0),
        ("", "", False, 1),
    ],
)
def test_exact(answer: str, expected: str, points: float, *, ignore_case: bool) -> None:
    assert score("exact", answer, expected, ignore_case=ignore_case) == points


@pytest.mark.parametrize(
    ("answer", "points"),
    [
        ("positive", 1),
        ("It is POSITIVE.", 1),
        ("positive, yes: positive", 1),
        ("positive or negative", 0),
        ("negative", 0),
        ("very positive", 0),
        ("positively", 0),
        ("unpositive", 0),
        ("", 0),
        ("positive" + " " * LONGEST, 0),
    ],
)
def test_choice(answer: str, points: float) -> None:
    assert score("choice", answer, "Positive", **OPTIONS["choice"]) == points


def test_a_label_within_a_longer_label_is_not_named() -> None:
    assert score("choice", "Very positive!", "very positive", **OPTIONS["choice"]) == 1


@pytest.mark.parametrize(
    ("answer", "expected", "ignore_case", "points"),
    [
        ("in Paris, France", "Paris", False, 1),
        ("in paris", "Paris", False, 0),
        ("in paris", " Paris ", True, 1),
        ("", "Paris", False, 0),
    ],
)
def test_contains(answer: str, expected: str, points: float, *, ignore_case: bool) -> None:
    assert score("contains", answer, expected, ignore_case=ignore_case) == points


@pytest.mark.parametrize(
    ("pattern", "answer", "points"),
    [
        (r"\b42\b", "it is 42.", 1),
        (r"\b42\b", "it is 421", 0),
        (r"^[A-Z]{3}-\d{4}$", "ABC-1234\n", 1),
        (r"\A[A-Z]{3}-\d{4}\z", " ABC-1234\n", 1),
        (r"(?i)^yes\b", "YES, it is", 1),
        (r"(?m)^b$", "a\nb\nc", 1),
        (r"^b$", "a\nb\nc", 0),
        (r"a.c", "a\nc", 0),
        (r"(?s)a.c", "a\nc", 1),
        (r"colou?r|gr[ae]y", "a grey one", 1),
        (r"[^\d\s]", "1 2 3", 0),
        (r"\D\S\W\w\d\s", "ab-c1 d", 1),
        (r"x\By", "xy", 1),
        (r"(?:ab){2,3}?c", "ababababc", 1),
        (r"(a|b)*abb", "babaabb", 1),
        (r"[^a]b", "ab", 0),
        (r"", "", 1),
    ],
)
def test_regex(pattern: str, answer: str, points: float) -> None:
    assert score("regex", answer, None, pattern=pattern) == points
    assert score("regex", answer, pattern) == points


def test_a_pattern_may_ignore_case() -> None:
    assert score("regex", "PARIS", "^[p-p]aris$", ignore_case=True) == 1


def test_a_pattern_that_backtracks_without_end_in_others_grades_at_once() -> None:
    assert score("regex", "a" * 50_000 + "!", None, pattern=r"^(a+)+$") == 0
    assert score("regex", "a" * 50_000, None, pattern=r"^(a|a|a)*$") == 1


@pytest.mark.parametrize(
    ("answer", "expected", "points"),
    [
        ("42", "42", 1),
        ("The sum of 3 and 4 is 7.", "7", 1),
        ("7 is the sum", "7", 1),
        ("1,234.5", "1234.5", 1),
        ("1234.50", "1,234.5", 1),
        ("-3", "-3", 1),
        ("\u22123", "-3", 1),
        ("10-3", "3", 1),
        ("x = -3", "-3", 1),
        ("1e3", "1000", 1),
        ("1.5E-1", "0.15", 1),
        (".5", "0.5", 1),
        ("choose 1, 2,20", "20", 1),
        ("12345678901234567890123456789012", "12345678901234567890123456789013", 0),
        ("0.1", "0.10", 1),
        ("no number", "1", 0),
        ("1e999", "1", 0),
        ("1e-99999999999999999999999", "0", 0),
        ("9" * 400, "1", 0),
        ("\u0664\u0662", "42", 0),
    ],
)
def test_number(answer: str, expected: str, points: float) -> None:
    assert score("number", answer, expected) == points


def test_a_number_within_the_tolerance_is_right() -> None:
    assert score("number", "3.14", "3.1416", tolerance=0.01) == 1
    assert score("number", "3.14", "3.1416", tolerance=0.001) == 0


@given(number=st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
def test_every_number_is_found_as_it_is_written(number: float) -> None:
    assert score("number", f"The answer is {number}.", str(number)) == 1


@pytest.mark.parametrize(
    ("answer", "points"),
    [
        ('{"name": "Ada"}', 1),
        ('```json\n{"name": "Ada"}\n```', 1),
        ('```\n{"name": "Ada"}```', 1),
        ('{"name": "Ada", "ages": [1, 2]}', 1),
        ('{"name": "Ada", "ages": [1, 1.0]}', 0),
        ('{"name": "Ada", "ages": [-1]}', 0),
        ('{"name": "ada"}', 0),
        ('{"name": 1}', 0),
        ("{}", 0),
        ("[]", 0),
        ("null", 0),
        ("", 0),
        ('Here: {"name": "Ada"}', 0),
        ('{"name": NaN}', 0),
    ],
)
def test_json_schema(answer: str, points: float) -> None:
    assert score("json-schema", answer, schema=SCHEMA) == points


@pytest.mark.parametrize(
    ("answer", "expected", "points"),
    [
        ('{"a": 1, "b": "x"}', '{"a": 1, "b": "x"}', 1),
        ('{"b": "x", "a": 1.0}', '{"a": 1, "b": "x"}', 1),
        ('{"a": 1, "b": "y"}', '{"a": 1, "b": "x"}', 0.5),
        ('{"a": true}', '{"a": 1}', 0),
        ('{"a": "1"}', '{"a": 1}', 0),
        ('{"a": 1, "more": 2}', '{"a": 1}', 1),
        ('{"a": {"b": [1, null]}}', '{"a": {"b": [1.0, null]}}', 1),
        ("{}", '{"a": null}', 0),
        ("not JSON", '{"a": 1}', 0),
        ("[1]", '{"a": 1}', 0),
    ],
)
def test_json_fields(answer: str, expected: str, points: float) -> None:
    assert score("json-fields", answer, expected) == points


def test_a_grade_says_why() -> None:
    spec = parse_grader("json-fields", {})
    found = grade(spec, answer='{"a": 1}', expected='{"a": 1, "b": 2}')
    assert found == Grade(score=0.5, reason="1 of 2 fields; not right: b")


def test_only_a_schema_or_an_own_pattern_needs_no_expected_answer() -> None:
    alone = {
        kind for kind in KINDS if not needs_expected(parse_grader(kind, OPTIONS.get(kind, {})))
    }
    assert alone == {"json-schema", "regex"}
    assert needs_expected(parse_grader("regex", {}))


@pytest.mark.parametrize(
    ("kind", "options", "fault"),
    [
        ("vibes", {}, "The graders are exact, choice, contains, regex, number"),
        ("exact", {"case": True}, "has no option 'case'. It takes ignore_case."),
        ("json-fields", {"x": 1}, "It takes no options."),
        ("exact", {"ignore_case": "yes"}, "must be true or false"),
        ("choice", {}, "needs labels"),
        ("choice", {"labels": ["a"]}, "2 to 100 different words"),
        ("choice", {"labels": ["a", "A"]}, "2 to 100 different words"),
        ("choice", {"labels": ["a", " "]}, "2 to 100 different words"),
        ("choice", {"labels": "ab"}, "2 to 100 different words"),
        ("number", {"tolerance": -1}, "from 0 to 1e300"),
        ("number", {"tolerance": float("nan")}, "from 0 to 1e300"),
        ("number", {"tolerance": True}, "from 0 to 1e300"),
        ("number", {"tolerance": 10**400}, "from 0 to 1e300"),
        ("regex", {"pattern": 1}, "pattern must be a text"),
        ("regex", {"pattern": "("}, "is no pattern"),
        ("regex", {"pattern": "(" * 900 + ")" * 900}, ""),
        ("regex", {"pattern": "a" * 1001}, "at most 1000 characters"),
        ("regex", {"pattern": r"(a)\1"}, "invalid escape sequence"),
        ("regex", {"pattern": "(?=a)"}, "no looking around"),
        ("regex", {"pattern": "(?<!a)b"}, "no looking around"),
        ("regex", {"pattern": "(?>a)"}, "is no pattern"),
        ("regex", {"pattern": "(?a)b"}, "is no pattern"),
        ("regex", {"pattern": "(){9999}"}, "repetition"),
        ("json-schema", {}, "needs a schema"),
        ("json-schema", {"schema": True}, "must be a JSON object"),
        ("json-schema", {"schema": {"type": "text"}}, "is not a JSON schema"),
        ("json-schema", {"schema": {"const": {1}}}, "is not a JSON schema"),
        ("json-schema", {"schema": {"$ref": "http://example.com/s"}}, "nothing is ever fetched"),
        ("json-schema", {"schema": {"$ref": "file:///etc/passwd"}}, "nothing is ever fetched"),
        ("json-schema", {"schema": {"$ref": "#/$defs/gone"}}, "which is not in it"),
        ("json-schema", {"schema": {"anyOf": [{"$ref": "#/anyOf/7"}]}}, "which is not in it"),
        ("json-schema", {"schema": {"$ref": "#"}}, "is not a JSON schema"),
        ("json-schema", {"schema": {"$dynamicRef": "#a"}}, "may not use $dynamicRef"),
        ("json-schema", {"schema": {"patternProperties": {}}}, "may not use patternProperties"),
        ("json-schema", {"schema": {"items": {"$id": "http://a/"}}}, "only at its top"),
        ("json-schema", {"schema": {"pattern": r"(a)\1"}}, "invalid escape sequence"),
    ],
)
def test_a_grader_that_makes_no_sense_is_refused(
    kind: str, options: dict[str, object], fault: str
) -> None:
    with pytest.raises(InvalidField) as caught:
        parse_grader(kind, options)
    assert fault in caught.value.sentence


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("exact", None),
        ("choice", "maybe"),
        ("contains", " "),
        ("number", "many"),
        ("json-fields", "[]"),
        ("json-fields", "{}"),
        ("regex", "("),
    ],
)
def test_an_expected_answer_that_is_of_no_use_is_refused_and_scores_nothing(
    kind: str, expected: str | None
) -> None:
    spec = parse_grader(kind, OPTIONS.get(kind, {}) if kind != "regex" else {})
    with pytest.raises(InvalidField):
        check_expected(spec, expected)
    found = grade(spec, answer="maybe 3", expected=expected)
    assert found.score == 0
    assert "expected answer" in found.reason


@pytest.mark.parametrize("kind", KINDS)
def test_a_useful_expected_answer_passes(kind: str) -> None:
    check_expected(parse_grader(kind, OPTIONS.get(kind, {})), EXPECTED.get(kind, "x"))


_HOSTILE = {
    "a megabyte": "a" * 1_000_000,
    "a megabyte of digits": "1" * 1_000_000,
    "a megabyte of groups": "111," * 250_000 + "x",
    "a megabyte of labels": "positive " * 110_000,
    "nearly a match, repeated": "aaaa " * 3_900 + "!",
    "words without end": "a" * 19_999 + "!",
    "deep lists": "[" * 50_000 + "]" * 50_000,
    "deep objects": '{"a":' * 19_000 + "1" + "}" * 19_000,
    "a bomb of objects": json.dumps({"name": "A", "ages": [{"a": n} for n in range(9_000)]}),
    "NaN": "NaN",
    "infinity": '{"name": -Infinity}',
    "a number that overflows": '{"name": 1e999, "a": 1e999}',
    "a huge whole number": '{"a": ' + "9" * 4_000 + "}",
    "a number too long to parse": '{"a": ' + "9" * 9_000 + "}",
    "a lone surrogate": "\ud800",
    "a lone surrogate in JSON": '{"name": "\\ud800", "\\udfff": 1}',
    "NUL": "\0" * 1000,
    "fences": "```\n" * 20_000 + "```",
    "nothing": "",
}


@pytest.mark.parametrize("answer", _HOSTILE.values(), ids=_HOSTILE.keys())
@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_answer_is_graded_and_never_hangs(kind: str, answer: str) -> None:
    spec = parse_grader(kind, OPTIONS.get(kind, {}))
    found = grade(spec, answer=answer, expected=EXPECTED.get(kind, "x"))
    assert 0 <= found.score <= 1
    assert found.reason.encode()


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    answer=st.one_of(
        st.text(st.characters(), max_size=50),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=3)),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3),
                st.dictionaries(st.sampled_from(["name", "ages", "a"]), inner, max_size=3),
            ),
        ).map(json.dumps),
    ),
    expected=st.one_of(st.none(), st.text(st.characters(), max_size=20)),
)
def test_any_answer_and_any_expected_answer_give_a_score_from_0_to_1(
    kind: str, answer: str, expected: str | None
) -> None:
    spec = parse_grader(kind, OPTIONS.get(kind, {}))
    found = grade(spec, answer=answer, expected=expected)
    assert 0 <= found.score <= 1
    assert found.reason.encode()
    assert grade(spec, answer=answer, expected=expected) == found


@given(text=st.text(max_size=30))
def test_an_answer_that_is_the_expected_one_scores_1(text: str) -> None:
    assert score("exact", text, text) == 1


@given(
    fields=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), min_size=1),
    wrong=st.sets(st.integers(0, 4)),
)
def test_the_score_of_fields_is_the_share_that_is_right(
    fields: dict[str, object], wrong: set[int]
) -> None:
    answer = {
        name: None if number in wrong else value
        for number, (name, value) in enumerate(fields.items())
    }
    right = sum(number not in wrong for number in range(len(fields)))
    assert score("json-fields", json.dumps(answer), json.dumps(fields)) == right / len(fields)


def test_json_deeper_than_anything_sensible_is_not_looked_at() -> None:
    deep = '{"a": ' * 64 + "1" + "}" * 64
    assert score("json-fields", deep, '{"a": 1}') == 0
    assert score("json-schema", deep, schema={}) == 0


def test_what_a_schema_cannot_be_checked_for_scores_nothing() -> None:
    spec = parse_grader("json-schema", {"schema": {"multipleOf": 0.5}})
    found = grade(spec, answer="9" * 4000, expected=None)
    assert (found.score, found.reason) == (0, "cannot be checked: OverflowError")


def test_a_schema_may_refer_into_its_own_lists() -> None:
    schema = {"anyOf": [{"type": "null"}, {"items": {"$ref": "#/anyOf/0"}, "type": "array"}]}
    assert score("json-schema", "[null]", schema=schema) == 1
    assert score("json-schema", "[1]", schema=schema) == 0
