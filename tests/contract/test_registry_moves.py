"""Moves of a name, and what is kept after them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.contract.registry_file import (
    FAST,
    HERON,
    MINE,
    OWL,
    PRIMARY,
    SWAPPED,
    WREN,
    artifact,
    everything,
    moved,
    opened,
    version,
)

from arbiter.errors import Conflict
from arbiter.registry.moves import Move
from arbiter.registry.registry import Registry, Standing
from arbiter.storage.database import Statement


async def test_a_move_changes_name_standings_and_what_is_kept_together(
    registry: Registry,
) -> None:
    await registry.move(moved("b"), standings=SWAPPED)
    assert registry.resolve(PRIMARY).version == version("b")
    assert registry.version(version("a")).standing is Standing.RETIRED
    assert registry.kept_until(version("a")) == datetime(2026, 1, 8, tzinfo=UTC)
    assert registry.kept_until(version("b")) is None


async def test_the_version_with_the_latest_date_is_the_first_of_those_kept(
    registry: Registry,
) -> None:
    await registry.move(moved("b"), standings=SWAPPED)
    later = moved("c", from_version=version("b"), keep_until="2026-01-09T00:00:00+00:00")
    await registry.move(later, standings={version("b"): Standing.RETIRED})
    assert registry.kept() == (version("b"), version("a"))


async def test_a_date_that_has_passed_keeps_nothing(registry: Registry) -> None:
    await registry.move(moved("b", keep_until="2026-01-01T00:00:00+00:00"), standings=SWAPPED)
    assert (registry.kept_until(version("a")), registry.kept()) == (None, ())


async def test_what_is_in_use_again_has_no_date(registry: Registry) -> None:
    await registry.move(moved("b"), standings=SWAPPED)
    await registry.set_alias(FAST, HERON, who="user")
    assert (registry.kept_until(version("a")), registry.kept()) == (None, ())
    assert registry.no_longer_kept() == ()


async def test_what_is_kept_no_longer_is_named_once(registry: Registry) -> None:
    await registry.move(moved("b"), standings=SWAPPED)
    assert registry.no_longer_kept() == ()
    registry.keep(version("a"), 0.0)
    assert registry.no_longer_kept() == (version("a"),)
    assert registry.no_longer_kept() == ()


async def test_how_long_something_is_kept_is_a_time_and_no_date(registry: Registry) -> None:
    await registry.move(moved("b"), standings=SWAPPED)
    registry.keep(version("a"), 60.0)
    assert registry.kept_until(version("a")) == datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
    registry.keep(version("a"), None)
    assert (registry.kept_until(version("a")), registry.kept()) == (None, ())


async def test_what_else_must_be_true_is_written_with_the_move(registry: Registry) -> None:
    note = Statement(query="add_rule", parameters=("sums", "primary", None, "[]", "", "t"))
    await registry.move(moved("b"), standings=SWAPPED, also=[note])
    assert len(await registry._database.read("list_rules")) == 1


REFUSED = [
    Statement(query="remove_rule", parameters=("absent",), must_change=True),
    Statement(query="add_name", parameters=("heron", version("a"), "model", "t")),
    Statement(query="add_name", parameters=("new", version("f"), "model", "t")),
]


@pytest.mark.parametrize("also", REFUSED)
async def test_a_move_whose_other_half_is_refused_did_not_happen(
    path: Path, registry: Registry, also: Statement
) -> None:
    before = everything(registry)
    with pytest.raises(Conflict):
        await registry.move(moved("b"), standings=SWAPPED, also=[also])
    assert everything(registry) == before
    async with opened(path) as again:
        assert everything(again) == before


BAD_MOVES = [
    moved("b", from_version=version("c")),
    moved("b", name=MINE),
    moved("f"),
    moved("b", from_version=None),
    moved("b", to_version=None),
]


@pytest.mark.parametrize("move", BAD_MOVES)
async def test_a_move_that_does_not_start_where_the_name_is_is_refused(
    path: Path, registry: Registry, move: Move
) -> None:
    before = everything(registry)
    with pytest.raises(Conflict):
        await registry.move(move, standings=SWAPPED)
    assert everything(registry) == before
    async with opened(path) as again:
        assert everything(again) == before


async def test_two_moves_at_once_move_once(registry: Registry) -> None:
    results = await asyncio.gather(
        registry.move(moved("b"), standings={}),
        registry.move(moved("c"), standings={}),
        return_exceptions=True,
    )
    assert results[0] is None
    assert isinstance(results[1], Conflict)
    assert registry.resolve(PRIMARY).version == version("b")


async def test_a_standing_whose_other_half_is_refused_did_not_change(registry: Registry) -> None:
    with pytest.raises(Conflict, match="look and try again"):
        await registry.stand({version("a"): Standing.CANDIDATE}, also=[REFUSED[0]])
    assert registry.version(version("a")).standing is Standing.ACTIVE


async def test_every_move_of_a_name_is_told_the_oldest_first(registry: Registry) -> None:
    await registry.move(moved("b"), standings=SWAPPED)
    await registry.remove(PRIMARY)
    found = await registry.moves(PRIMARY)
    assert [(move.from_version, move.to_version, move.why) for move in found] == [
        (None, version("a"), "set by hand"),
        (version("a"), version("b"), "promoted"),
        (version("b"), None, "removed"),
    ]
    assert found[1] == moved("b")


async def test_every_change_makes_the_revision_grow(registry: Registry) -> None:
    revisions = [registry.revision]
    for change in (
        registry.add(artifact("d"), MINE),
        registry.set_alias(FAST, OWL, who="user"),
        registry.move(moved("b"), standings=SWAPPED),
        registry.stand({version("c"): Standing.RETIRED}),
        registry.descend(version("b"), version("a")),
        registry.remove(WREN),
    ):
        await change
        revisions.append(registry.revision)
    assert revisions == sorted(set(revisions))


async def test_everything_is_the_same_after_a_restart(path: Path, registry: Registry) -> None:
    await registry.add(artifact("d"), MINE, predecessor=version("b"))
    await registry.set_alias(FAST, MINE, who="user")
    await registry.move(moved("b"), standings=SWAPPED)
    await registry.stand({version("c"): Standing.ROLLED_BACK})
    await registry.remove(OWL)
    async with opened(path) as again:
        assert everything(again) == everything(registry)
