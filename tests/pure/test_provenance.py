"""Where a version comes from: claims and what a file says, written down and read back apart."""

from __future__ import annotations

import pytest

from arbiter.errors import InvalidField
from arbiter.ledger import Entry, Kind, Note, link
from arbiter.refs import VersionId
from arbiter.registry.artifact import Artifact, KnownBy
from arbiter.registry.provenance import (
    LONGEST,
    MOST,
    Claim,
    Claimed,
    Provenance,
    claim_note,
    provenance_of,
    read_note,
)

A, B = VersionId("sha256:" + "a" * 64), VersionId("sha256:" + "b" * 64)
CLAIM = Claim(trained_on=("reviews", "tickets"), base="heron", licence="mit")
SAID = {"trained_on": ["reviews", "tickets"], "base": "heron", "licence": "mit"}


def artifact(
    known_by: KnownBy = "content", *, licence: str | None = "mit", **said: str
) -> Artifact:
    return Artifact(
        version=A,
        format="gguf",
        path="/m.gguf",
        size_bytes=1,
        identity=None,
        known_by=known_by,
        content_digest=A,
        name_hint="m",
        licence=licence,
        provenance=said,
    )


def entries(*notes: Note | None) -> list[Entry]:
    found: list[Entry] = []
    for note in notes:
        assert note is not None
        found.append(link(note, at="t", after=found[-1] if found else None))
    return found


def test_a_claim_is_written_down_as_it_was_made_and_no_more() -> None:
    assert CLAIM.to_plain() == SAID


def test_claims_and_what_was_read_stay_apart() -> None:
    read = read_note(artifact(author="Eve"), who="ada")
    assert provenance_of(A, entries(read, claim_note(A, CLAIM, who="bob"))) == Provenance(
        claimed=(Claimed(seq=2, at="t", who="bob", claim=SAID),),
        read={"author": "Eve", "licence": "mit"},
        read_from="file",
    )


def test_a_later_claim_stands_beside_the_earlier_one() -> None:
    later = Claim(licence="gpl-3.0")
    notes = (claim_note(A, CLAIM, who="ada"), claim_note(A, later, who="bob"))
    found = provenance_of(A, entries(*notes)).claimed
    assert [one.claim["licence"] for one in found] == ["mit", "gpl-3.0"]


def test_a_claim_about_another_version_is_not_this_ones() -> None:
    assert provenance_of(B, entries(claim_note(A, CLAIM, who="ada"))) == Provenance()


def test_a_body_that_is_no_object_says_nothing_of_any_version() -> None:
    note = Note(kind=Kind.PROVENANCE_CLAIMED, who="ada", body={})
    assert provenance_of(A, entries(note)) == Provenance()


@pytest.mark.parametrize(("known_by", "source"), [("server", "server"), ("claims", "server")])
def test_what_a_server_says_is_not_told_as_read_from_a_file(known_by: KnownBy, source: str) -> None:
    note = read_note(artifact(known_by), who="ada")
    assert note is not None
    assert note.body["from"] == source


def test_a_file_that_says_nothing_leaves_no_note() -> None:
    assert read_note(artifact(licence=None), who="ada") is None


def test_of_a_text_without_end_the_beginning_is_written_down() -> None:
    note = read_note(artifact(licence=None, author="x" * 600_000), who="ada")
    assert note is not None
    assert note.body["said"] == {"author": "x" * LONGEST + "..."}


NOTHING = [Claim(), Claim(trained_on=(), specializations=())]


@pytest.mark.parametrize("claim", NOTHING)
def test_a_claim_of_nothing_is_empty(claim: Claim) -> None:
    assert claim.is_empty
    assert not CLAIM.is_empty


BAD: list[dict[str, object]] = [
    {"base": ""},
    {"licence": "  "},
    {"trainer": "x" * (LONGEST + 1)},
    {"trained_on": ("good", "")},
    {"trained_on": ("x",) * (MOST + 1)},
]


@pytest.mark.parametrize("fields", BAD)
def test_what_cannot_be_claimed_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidField, match=r"1 to 1000 letters|at most 100 texts"):
        Claim(**fields)  # type: ignore[arg-type]  # the tests' own words
