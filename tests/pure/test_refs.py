"""Names and ids: what passes, what is refused, and what identity is made of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbiter.errors import InvalidField
from arbiter.refs import (
    VersionId,
    canonical,
    digest,
    is_id,
    is_short_digest,
    new_id,
    parse_name,
    parse_task,
    parse_version,
    short,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

GOOD_NAMES = ["a", "gemma3n:e2b", "org/model-7b_v1.2", "0", "x" * 128, "Auto", "tasks"]
BAD_NAMES = [
    "",
    " ",
    "a b",
    "a\n",
    "a\0",
    "-a",
    "/etc/passwd",
    "../a",
    "a/../b",
    "a..b",
    "a//b",
    "a@b",
    "ä",
    "a\u202eb",
    "a\ud800",
    "x" * 129,
]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_name_is_taken_as_it_was_written(name: str) -> None:
    assert parse_name(name) == name


@pytest.mark.security("S-10")
@pytest.mark.parametrize("name", BAD_NAMES)
def test_what_is_no_name_is_refused_and_the_field_named(name: str) -> None:
    with pytest.raises(InvalidField, match="is not a alias") as caught:
        parse_name(name, what="alias")
    assert caught.value.param == "alias"


@pytest.mark.parametrize("name", ["auto", "task:sums"])
def test_reserved_words_are_no_names(name: str) -> None:
    with pytest.raises(InvalidField, match="is reserved"):
        parse_name(name)


def test_a_refusal_does_not_repeat_a_long_text_whole() -> None:
    with pytest.raises(InvalidField) as caught:
        parse_name("!" * 10_000)
    assert len(str(caught.value)) < 250


def test_a_task_has_the_letters_of_a_name() -> None:
    assert parse_task("sums") == "sums"
    with pytest.raises(InvalidField, match="is not a task") as caught:
        parse_task("two words")
    assert caught.value.param == "task"


GOOD_VERSION = "sha256:" + "0123456789abcdef" * 4


def test_a_version_is_the_digest_of_its_content() -> None:
    assert parse_version(GOOD_VERSION) == GOOD_VERSION


@pytest.mark.security("S-10")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        GOOD_VERSION[:-1],
        GOOD_VERSION + "0",
        GOOD_VERSION.upper(),
        GOOD_VERSION + "\n",
    ],
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(InvalidField, match="is not a version"):
        parse_version(text)


SHORT_DIGESTS = [
    ("abcdef", True),
    ("0" * 64, True),
    ("abcde", False),
    ("0" * 65, False),
    ("ABCDEF", False),
    ("abcdeg", False),
    ("abcdef\n", False),
]


@pytest.mark.parametrize(("text", "is_short"), SHORT_DIGESTS)
def test_a_short_digest_has_six_to_64_small_digits(text: str, *, is_short: bool) -> None:
    assert is_short_digest(text) is is_short


def test_no_version_is_short_for_nothing() -> None:
    assert short(None) == ""


def test_a_version_is_shown_by_its_first_twelve_digits() -> None:
    assert short(VersionId(GOOD_VERSION)) == "0123456789ab"


IDS = [
    ("dec_" + "0" * 26, True),
    ("rol_" + "z" * 26, True),
    ("dec_" + "0" * 25, False),
    ("dec_" + "0" * 27, False),
    ("dec_" + "0" * 26 + "\n", False),
    ("req_" + "0" * 26, False),
    ("DEC_" + "0" * 26, False),
    ("", False),
]


@pytest.mark.parametrize(("text", "expected"), IDS)
def test_an_id_is_known_by_its_looks(text: str, *, expected: bool) -> None:
    assert is_id(text) is expected


def test_an_id_is_this_for_this_time_and_these_dice() -> None:
    assert new_id("dec", now=NOON, dice=Random(1)) == "dec_01kdwpvng0v3rs3dtr98h6bcfn"


@settings(deadline=None)
@given(seed=st.integers(), seconds=st.integers(1, 10**8))
def test_ids_sort_by_the_time_they_were_made(seed: int, seconds: int) -> None:
    dice = Random(seed)
    earlier = new_id("dec", now=NOON, dice=dice)
    later = new_id("dec", now=NOON + timedelta(milliseconds=seconds), dice=dice)
    assert earlier < later
    assert is_id(earlier)
    assert is_id(later)


@given(milliseconds=st.integers(0, 10**14), seed=st.integers())
def test_an_id_can_be_read_back_to_its_time_and_its_dice(milliseconds: int, seed: int) -> None:
    at = NOON + timedelta(milliseconds=milliseconds)
    number = 0
    for letter in new_id("dec", now=at, dice=Random(seed)).removeprefix("dec_"):
        number = number * 32 + "0123456789abcdefghjkmnpqrstvwxyz".index(letter)
    assert number >> 80 == int(at.timestamp() * 1000)
    assert number & (2**80 - 1) == Random(seed).getrandbits(80)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(value=st.dictionaries(st.text(max_size=5), JSON, max_size=6))
def test_the_canonical_form_does_not_depend_on_the_order_of_keys(value: dict[str, object]) -> None:
    assert canonical(dict(reversed(value.items()))) == canonical(value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_no_json_can_carry_has_no_canonical_form(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"x": number})


def test_the_canonical_form_is_utf_8() -> None:
    assert canonical("ä") == b'"\xc3\xa4"'


def test_a_digest_is_this() -> None:
    # printf 'arbiter.case.v1\0{"a":1}' | sha256sum
    assert digest("arbiter.case.v1", {"a": 1}) == (
        "sha256:9d6fc68cf02dd3d50d6ced27c482ede5b35157872466798e9b8b567cbe93106b"
    )


def test_the_domain_keeps_kinds_apart() -> None:
    assert digest("arbiter.case.v1", []) != digest("arbiter.rule.v1", [])
