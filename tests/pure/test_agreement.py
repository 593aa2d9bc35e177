"""What the entries say is registered, beside what is: the first difference is named."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from arbiter.ledger import Entry, Kind, Note, link
from arbiter.registry.agreement import Registered, disagreement, told

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
FACTS = ("/owl.gguf", "sha256:" + "c" * 64)


def entries(*notes: tuple[Kind, Mapping[str, object]]) -> list[Entry]:
    chain: list[Entry] = []
    for kind, body in notes:
        note = Note(kind=kind, who="ada", body=body)
        chain.append(link(note, at="t", after=chain[-1] if chain else None))
    return chain


def registered(version: str, path: str = FACTS[0]) -> tuple[Kind, Mapping[str, object]]:
    return Kind.VERSION_REGISTERED, {"version": version, "path": path, "content": FACTS[1]}


def state(versions: Mapping[str, tuple[str, str]] | None = None, **names: str) -> Registered:
    return Registered(versions={A: FACTS} if versions is None else versions, names=names)


def test_names_are_added_moved_set_and_forgotten_in_order() -> None:
    said = told(
        entries(
            registered(A),
            (Kind.NAME_ADDED, {"name": "owl", "to": A}),
            (Kind.ALIAS_SET, {"name": "primary", "from": None, "to": A}),
            registered(B),
            (Kind.NAME_MOVED, {"name": "primary", "from": A, "to": B}),
            (Kind.ROLLOUT_STARTED, {"name": "primary", "to": A}),
            (Kind.NAME_REMOVED, {"name": "owl", "from": A, "to": None}),
        )
    )
    assert said == state({A: FACTS, B: FACTS}, primary=B)


def test_a_version_that_moved_to_another_path_has_the_last_one() -> None:
    said = told(entries(registered(A), registered(A, "/elsewhere.gguf")))
    assert said.versions == {A: ("/elsewhere.gguf", FACTS[1])}


def test_what_agrees_has_no_fault() -> None:
    assert disagreement(state(owl=A), state(owl=A)) is None


@pytest.mark.parametrize(
    ("said", "stands", "sentence"),
    [
        (state({}), state(owl=A), "The version aaaaaaaaaaaa is registered, but no entry says so."),
        (state(), state({}), "An entry registers the version aaaaaaaaaaaa, but it is not"),
        (state(), state({A: ("/x.gguf", FACTS[1])}), "/x.gguf with the content cccccccccccc"),
        (state(owl=A), state(owl=B), "The name owl stands for bbbbbbbbbbbb, but the entries say a"),
        (state(), state(owl=A), "The name owl stands for aaaaaaaaaaaa, but no entry says so."),
        (state(owl=A), state(), "say that owl stands for aaaaaaaaaaaa, but it is no name."),
        (state(owl=A, ant=A), state(owl=B, ant=B), "The name ant"),
    ],
)
def test_the_first_difference_is_named(said: Registered, stands: Registered, sentence: str) -> None:
    assert sentence in (disagreement(said, stands) or "")
