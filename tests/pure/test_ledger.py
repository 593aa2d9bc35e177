"""The chain: whatever is changed in it is found, and the first bad entry is the one named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.errors import InvalidField
from arbiter.ledger import Entry, Fault, Kind, Note, Verdict, hash_of, link, parse_head, verify
from arbiter.refs import digest

NOTES = [
    Note(kind=Kind.VERSION_REGISTERED, who="ada", body={"version": "a", "size_bytes": 1}),
    Note(kind=Kind.NAME_ADDED, who="ada", body={"name": "heron", "to": "a"}),
    Note(kind=Kind.ALIAS_SET, who="bob", body={"name": "primary", "from": None, "to": "a"}),
    Note(kind=Kind.ROLLOUT_STARTED, who="ada", body={"weight": 0.1, "why": "Größe, 大きさ"}),
    Note(kind=Kind.NAME_REMOVED, who="bob", body={}),
]


def chain(notes: Sequence[Note]) -> list[Entry]:
    """The entries of these notes, a second apart."""
    entries: list[Entry] = []
    for second, note in enumerate(notes):
        at = f"2026-01-01T00:00:{second:02}+00:00"
        entries.append(link(note, at=at, after=entries[-1] if entries else None))
    return entries


def changed(place: int, **values: object) -> list[Entry]:
    """The chain with one entry changed."""
    entries = chain(NOTES)
    entries[place] = replace(entries[place], **values)  # type: ignore[arg-type]  # any lie
    return entries


def resigned(place: int, **values: object) -> list[Entry]:
    """The same, with the hash made to fit."""
    entries = changed(place, **values)
    entries[place] = replace(entries[place], hash=hash_of(entries[place]))
    return entries


def found(verdict: Verdict) -> tuple[int | None, Fault] | None:
    return None if verdict.bad is None else (verdict.bad.seq, verdict.bad.fault)


# -- what is right


def test_a_chain_that_nobody_touched_is_good_to_its_head() -> None:
    entries = chain(NOTES)
    assert verify(entries) == Verdict(good=5, head=entries[-1].hash, bad=None)


def test_no_entry_at_all_is_good() -> None:
    assert verify([]) == Verdict(good=0, head=None, bad=None)


def test_the_hash_is_over_the_canonical_form_of_everything_else() -> None:
    (first,) = chain(NOTES[:1])
    expected = digest(
        "arbiter.ledger.v1",
        {
            "seq": 1,
            "kind": "version.registered",
            "at": "2026-01-01T00:00:00+00:00",
            "who": "ada",
            "body": '{"size_bytes":1,"version":"a"}',
            "previous": None,
        },
    )
    assert first.hash == expected


def test_the_hash_of_a_first_entry_stays_what_it_is() -> None:
    # a ledger written by this release is to be read by every later one
    (first,) = chain(NOTES[:1])
    assert first.hash == GOLDEN


GOLDEN = "sha256:a2ea8b3cec929fe55e3628dbfcbf5017c773e7caa50df0ac2d4f99eaadba940f"

LETTERS = 'aZ09.:{}[]"\\ \n\0\u007fßΩ大\U0001f426'
"""Enough of what may go wrong in JSON; all of Unicode is slow to draw from."""

WORD = st.text(LETTERS, max_size=8)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | WORD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORD, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
ANY_NOTE = st.builds(
    Note, kind=st.sampled_from(Kind), who=WORD, body=st.dictionaries(WORD, PLAIN, max_size=4)
)


@given(st.lists(ANY_NOTE, max_size=6))
def test_whatever_is_written_is_good(notes: list[Note]) -> None:
    assert verify(chain(notes)).good == len(notes)
    assert verify(chain(notes)).bad is None


# -- what is wrong

FIELDS = [field.name for field in fields(Entry)]
LIES = st.text(LETTERS + "\ud800", max_size=80) | st.sampled_from([kind.value for kind in Kind])


@given(place=st.integers(0, 4), field=st.sampled_from(FIELDS), data=st.data())
def test_any_one_change_is_found_where_it_was_made(
    place: int, field: str, data: st.DataObject
) -> None:
    entries = chain(NOTES)
    truth = getattr(entries[place], field)
    lies = {"seq": st.integers(-3, 9), "previous": st.none() | LIES | _hashes(entries)}
    lie = data.draw(lies.get(field, LIES | _hashes(entries)).filter(lambda value: value != truth))
    verdict = verify(changed(place, **{field: lie}))
    assert verdict.bad is not None
    assert (verdict.bad.seq, verdict.good) == (place + 1, place)


def _hashes(entries: Sequence[Entry]) -> st.SearchStrategy[str]:
    return st.sampled_from([entry.hash for entry in entries])


@given(place=st.integers(0, 4), at=st.integers(0, 200), letter=st.sampled_from(LETTERS))
def test_any_one_letter_of_a_body_is_found(place: int, at: int, letter: str) -> None:
    body = chain(NOTES)[place].body
    where = at % len(body)
    lie = body[:where] + letter + body[where + 1 :]
    assert (verify(changed(place, body=lie)).bad is None) == (lie == body)


@given(place=st.integers(0, 3), count=st.integers(1, 4))
def test_entries_that_were_taken_out_are_found_where_they_were(place: int, count: int) -> None:
    entries = chain(NOTES)
    left = entries[:place] + entries[place + count :]
    cut_off = place + count >= len(entries)
    assert found(verify(left)) == (None if cut_off else (place + 1, Fault.GAP))


@given(st.permutations(range(5)))
def test_entries_in_another_order_are_found_at_the_first_that_is_misplaced(
    order: Sequence[int],
) -> None:
    entries = chain(NOTES)
    right = next((place for place, was in enumerate(order) if place != was), None)
    verdict = verify([entries[was] for was in order])
    assert (None if verdict.bad is None else verdict.bad.seq) == (
        None if right is None else right + 1
    )


def test_an_entry_that_was_put_in_is_found() -> None:
    entries = chain(NOTES)
    forged = link(NOTES[0], at="t", after=entries[1])
    assert found(verify([*entries[:2], forged, *entries[2:]])) == (4, Fault.ORDER)


FAULTS = [
    (changed(2, seq=7), Fault.GAP, "it is missing; the next that is there is 7"),
    (changed(2, seq=1), Fault.ORDER, "in its place stands one with the number 1"),
    (changed(2, previous=None), Fault.LINK, "does not carry the hash of the entry before it"),
    (changed(2, who="eve"), Fault.HASH, "its hash is not that of what stands in it"),
    (changed(2, who="\ud800"), Fault.HASH, "its hash is not that of what stands in it"),
    (changed(2, body="{"), Fault.NOT_CANONICAL, "not the JSON that was written"),
    (resigned(2, kind="lunch"), Fault.KIND, "writes no entry of the kind 'lunch'"),
    (resigned(2, body='{"a": 1}'), Fault.NOT_CANONICAL, "not the JSON that was written"),
    (resigned(2, body='{"a":1,"a":1}'), Fault.NOT_CANONICAL, "not the JSON that was written"),
    (resigned(2, body='{"a":NaN}'), Fault.NOT_CANONICAL, "not the JSON that was written"),
    (resigned(2, body="[" * 100_000), Fault.NOT_CANONICAL, "not the JSON that was written"),
]


@pytest.mark.parametrize(("entries", "fault", "sentence"), FAULTS)
def test_what_is_wrong_is_said_in_a_sentence(
    entries: list[Entry], fault: Fault, sentence: str
) -> None:
    verdict = verify(entries)
    assert found(verdict) == (3, fault)
    assert verdict.bad is not None
    assert verdict.bad.sentence.startswith("Entry 3: ")
    assert sentence in verdict.bad.sentence


def test_an_entry_changed_together_with_its_hash_breaks_the_one_after_it() -> None:
    assert found(verify(resigned(1, who="eve"))) == (3, Fault.LINK)


# -- the head


@pytest.mark.parametrize("place", range(5))
def test_a_head_that_was_written_down_earlier_is_still_there(place: int) -> None:
    entries = chain(NOTES)
    assert verify(entries, heads=[entries[place].hash]).bad is None


def test_a_chain_that_was_cut_off_has_lost_its_head() -> None:
    entries = chain(NOTES)
    verdict = verify(entries[:-1], heads=[entries[-1].hash])
    assert (found(verdict), verdict.good) == ((None, Fault.HEAD), 4)


def test_a_whole_new_chain_is_good_by_itself_and_is_told_by_the_old_head() -> None:
    forged = list(
        accumulate(
            NOTES[1:],
            lambda last, note: link(note, at="t", after=last),
            initial=link(NOTES[0], at="t", after=None),
        )
    )
    assert verify(forged).bad is None
    assert found(verify(forged, heads=[chain(NOTES)[-1].hash])) == (None, Fault.HEAD)


def test_a_bad_entry_is_named_before_a_head_that_is_missing() -> None:
    assert found(verify(changed(0, who="eve"), heads=["sha256:0"])) == (1, Fault.HASH)


@pytest.mark.parametrize("text", ["sha256:" + "ab" * 32, "ab" * 32, "  sha256:" + "ab" * 32 + "\n"])
def test_a_head_may_be_given_as_it_was_copied(text: str) -> None:
    assert parse_head(text) == "sha256:" + "ab" * 32


@pytest.mark.parametrize("text", ["", "sha256:", "ab" * 31, "AB" * 32, "latest"])
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(InvalidField, match="arbiter ledger list shows the head"):
        parse_head(text)


# -- writing


@pytest.mark.parametrize("body", [{"why": "\ud800"}, {"e": float("nan")}, {"e": float("inf")}])
def test_what_has_no_canonical_form_is_not_written(body: dict[str, object]) -> None:
    with pytest.raises(InvalidField, match="cannot be written into the ledger"):
        link(Note(kind=Kind.ALIAS_SET, who="ada", body=body), at="t", after=None)
