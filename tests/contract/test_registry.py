"""Versions and names over a real file: immutable content, moving names, nothing half done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from arbiter.clock import ManualClock
from arbiter.errors import (
    Conflict,
    InvalidField,
    NameTaken,
    StillInUse,
    UnknownAlias,
    UnknownModel,
)
from arbiter.ledger import Ledger
from arbiter.refs import ModelName, RolloutId, VersionId
from arbiter.registry.artifact import Artifact, Identity
from arbiter.registry.moves import Move
from arbiter.registry.provenance import Claim
from arbiter.registry.registry import Kind, Name, Registry, Standing, Version
from arbiter.storage.database import Statement
from arbiter.storage.sqlite import open_sqlite

PRIMARY, FAST, MINE = ModelName("primary"), ModelName("fast"), ModelName("mine")
HERON, OWL, WREN = ModelName("heron"), ModelName("owl"), ModelName("wren")


def version(letter: str) -> VersionId:
    return VersionId("sha256:" + letter * 64)


def artifact(letter: str, *, path: str = "/models/m.gguf") -> Artifact:
    return Artifact(
        version=version(letter),
        format="gguf",
        path=path,
        size_bytes=1_000,
        identity=Identity(device=1, inode=2, size=1_000, mtime_ns=3, ctime_ns=4),
        content_digest=version(letter),
        architecture="llama",
        parameters=1_000_000,
        context_length=4096,
        capabilities=frozenset({"chat", "tools"}),
        name_hint="m",
        provenance={"general.name": "M", "general.license": "mit"},
        options={"chat_template": "t"},
    )


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Registry]:
    database = await open_sqlite(path)
    clock = ManualClock()
    registry = Registry(database, clock, Ledger(database, clock))
    try:
        await registry.load()
        yield registry
    finally:
        await database.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arbiter.db"


@pytest.fixture
async def registry(path: Path) -> AsyncIterator[Registry]:
    """Heron (a), owl (b) and wren (c), with `primary` at heron."""
    async with opened(path) as found:
        for letter, name in (("a", HERON), ("b", OWL), ("c", WREN)):
            await found.add(artifact(letter), name)
        await found.set_alias(PRIMARY, HERON, who="user")
        yield found


def moved(to: str, **changes: object) -> Move:
    whole = Move(
        name=PRIMARY,
        from_version=version("a"),
        to_version=version(to),
        who="rollout",
        why="promoted",
        rollout=RolloutId("rol_" + "0" * 26),
        keep_until="2026-01-08T00:00:00+00:00",
        at="2026-01-01T00:00:00+00:00",
    )
    return replace(whole, **changes)  # type: ignore[arg-type]  # the tests' own words


SWAPPED = {version("a"): Standing.RETIRED, version("b"): Standing.ACTIVE}


def everything(registry: Registry) -> object:
    versions = registry.versions()
    return (
        sorted(versions, key=lambda one: one.version),
        registry.names(),
        registry.arms(),
        [registry.kept_until(one.version) for one in versions],
    )


# -- names without their tag


async def test_a_name_without_a_tag_means_its_latest(registry: Registry) -> None:
    await registry.add(artifact("d"), ModelName("gull:latest"))
    assert registry.meant(ModelName("gull")) == "gull:latest"
    assert registry.resolve(ModelName("gull")).version == version("d")
    assert registry.pinned(ModelName("gull"), "dddddd").version == version("d")
    with pytest.raises(UnknownModel, match="called 'gull:1b'"):
        registry.resolve(ModelName("gull:1b"))


async def test_a_name_that_is_registered_as_it_was_written_comes_first(registry: Registry) -> None:
    await registry.add(artifact("d"), ModelName("owl:latest"))
    assert registry.resolve(OWL).version == version("b")


# -- adding


async def test_an_added_model_answers_under_its_name(registry: Registry) -> None:
    assert registry.resolve(HERON) == Version(
        version=version("a"),
        artifact=artifact("a"),
        predecessor=None,
        standing=Standing.ACTIVE,
        registered_at="2026-01-01T00:00:00+00:00",
    )


async def test_the_same_content_under_two_names_is_one_version(registry: Registry) -> None:
    await registry.add(artifact("a"), MINE)
    assert len(registry.versions()) == 3
    assert registry.names_of(version("a")) == (HERON, MINE, PRIMARY)


async def test_the_same_content_again_notes_where_it_is_now(path: Path, registry: Registry) -> None:
    before = registry.names()
    await registry.add(artifact("a", path="/elsewhere.gguf"), HERON)
    assert registry.resolve(HERON).artifact.path == "/elsewhere.gguf"
    assert registry.names() == before
    async with opened(path) as again:
        assert again.resolve(HERON).artifact.path == "/elsewhere.gguf"


async def test_a_name_that_stands_for_other_content_is_taken(registry: Registry) -> None:
    with pytest.raises(NameTaken) as caught:
        await registry.add(artifact("d"), HERON)
    assert str(caught.value) == (
        "'heron' already stands for aaaaaaaaaaaa. Add the new file under another name, "
        "then: arbiter swap heron NEWNAME."
    )
    with pytest.raises(UnknownModel):
        registry.version(version("d"))


async def test_a_name_that_is_none_is_refused(registry: Registry) -> None:
    with pytest.raises(InvalidField, match="is reserved"):
        await registry.add(artifact("d"), ModelName("auto"))


async def test_a_predecessor_is_kept_and_never_replaced(registry: Registry) -> None:
    await registry.add(artifact("d"), MINE, predecessor=version("a"))
    await registry.add(artifact("d"), MINE, predecessor=version("b"))
    assert registry.resolve(MINE).predecessor == version("a")


async def test_a_predecessor_that_is_not_there_is_refused(registry: Registry) -> None:
    with pytest.raises(Conflict):
        await registry.add(artifact("d"), MINE, predecessor=version("f"))
    with pytest.raises(UnknownModel):
        registry.resolve(MINE)


async def test_adding_again_does_not_bring_a_retired_version_back(registry: Registry) -> None:
    await registry.stand({version("a"): Standing.RETIRED})
    await registry.add(artifact("a"), HERON)
    assert registry.resolve(HERON).standing is Standing.RETIRED


async def test_a_successor_is_noted_once(path: Path, registry: Registry) -> None:
    before = registry.revision
    await registry.descend(version("b"), version("a"))
    await registry.descend(version("b"), version("c"))
    await registry.descend(version("a"), version("a"))
    assert registry.version(version("b")).predecessor == version("a")
    assert registry.version(version("a")).predecessor is None
    assert registry.revision == before + 1
    async with opened(path) as again:
        assert again.version(version("b")).predecessor == version("a")


# -- finding


async def test_an_unknown_name_lists_the_known_ones(registry: Registry) -> None:
    with pytest.raises(UnknownModel) as caught:
        registry.resolve(MINE)
    assert str(caught.value) == (
        "No model or alias is called 'mine'. Known: heron, owl, primary, wren."
    )
    assert caught.value.param == "model"


async def test_an_empty_house_says_how_to_add_a_model(path: Path) -> None:
    async with opened(path) as empty:
        with pytest.raises(UnknownModel, match="none yet: arbiter models add FILE"):
            empty.resolve(HERON)


async def test_an_unknown_version_is_named_in_short(registry: Registry) -> None:
    with pytest.raises(UnknownModel, match="No version ffffffffffff is registered"):
        registry.version(version("f"))


PINS = ["a" * 6, "a" * 64, "sha256:" + "a" * 6]


@pytest.mark.parametrize("prefix", PINS)
async def test_a_pin_finds_its_version_under_any_name(registry: Registry, prefix: str) -> None:
    assert registry.pinned(OWL, prefix).version == version("a")


async def test_a_pin_on_a_name_that_is_none_is_overlooked_by_nobody(registry: Registry) -> None:
    with pytest.raises(UnknownModel, match="is called 'mine'"):
        registry.pinned(MINE, "a" * 6)


@pytest.mark.parametrize("prefix", ["", "aaaaa", "AAAAAA", "latest", "a" * 65])
async def test_a_pin_that_is_no_digest_is_refused(registry: Registry, prefix: str) -> None:
    with pytest.raises(InvalidField, match="is not the beginning of a digest"):
        registry.pinned(HERON, prefix)


async def test_a_pin_that_fits_nothing_is_unknown(registry: Registry) -> None:
    with pytest.raises(UnknownModel, match="No version begins with 'ffffff'"):
        registry.pinned(HERON, "f" * 6)


async def test_a_pin_that_fits_two_versions_is_refused(registry: Registry) -> None:
    twin = VersionId("sha256:" + "a" * 63 + "0")
    await registry.add(replace(artifact("a"), version=twin), MINE)
    with pytest.raises(InvalidField, match="fits 2 versions; give more digits"):
        registry.pinned(HERON, "a" * 6)


# -- arms


async def test_a_version_is_one_arm_under_its_role(registry: Registry) -> None:
    await registry.set_alias(FAST, HERON, who="user")
    await registry.set_alias(MINE, HERON, who="user")
    assert registry.arms() == {version("a"): PRIMARY, version("b"): OWL, version("c"): WREN}


ARMS = [
    (("mine", "fast", "alternative"), (), "fast"),
    (("mine", "alternative"), (), "alternative"),
    (("mine",), (), "mine"),
    (("zeta", "beta"), (), "beta"),
    ((), (), "owl"),
    (("mine", "fast"), ("mine",), "mine"),
    (("mine", "fast"), ("owl",), "owl"),
    (("mine", "fast"), ("heron",), "fast"),
]


@pytest.mark.parametrize(("aliases", "first", "name"), ARMS)
async def test_an_arm_has_the_name_that_says_most(
    registry: Registry, aliases: tuple[str, ...], first: tuple[str, ...], name: str
) -> None:
    for alias in aliases:
        await registry.set_alias(ModelName(alias), OWL, who="user")
    assert registry.arms([ModelName(one) for one in first])[version("b")] == name


@pytest.mark.parametrize("standing", [Standing.CANDIDATE, Standing.ROLLED_BACK, Standing.RETIRED])
async def test_only_active_versions_are_arms(registry: Registry, standing: Standing) -> None:
    await registry.stand({version("a"): standing})
    assert list(registry.arms()) == [version("b"), version("c")]


async def test_a_version_without_a_name_is_no_arm(registry: Registry) -> None:
    await registry.remove(OWL)
    assert list(registry.arms()) == [version("a"), version("c")]
    assert registry.version(version("b")).standing is Standing.ACTIVE


# -- aliases set and names removed by hand


async def test_an_alias_points_at_what_the_other_name_points_at(registry: Registry) -> None:
    await registry.set_alias(MINE, PRIMARY, who="user")
    await registry.set_alias(PRIMARY, OWL, who="user")
    assert registry.resolve(MINE).version == version("a")
    assert registry.resolve(PRIMARY).version == version("b")


async def test_a_models_own_name_that_is_set_elsewhere_stays_a_models_name(
    registry: Registry,
) -> None:
    found = await registry.set_alias(HERON, OWL, who="user")
    assert found == Name(name=HERON, version=version("b"), kind=Kind.MODEL)


async def test_setting_an_alias_brings_its_version_back(path: Path, registry: Registry) -> None:
    await registry.stand({version("b"): Standing.ROLLED_BACK})
    await registry.set_alias(PRIMARY, OWL, who="user")
    assert registry.resolve(PRIMARY).standing is Standing.ACTIVE
    async with opened(path) as again:
        assert again.resolve(PRIMARY).standing is Standing.ACTIVE


async def test_an_alias_cannot_be_set_to_a_candidate(registry: Registry) -> None:
    await registry.stand({version("b"): Standing.CANDIDATE})
    with pytest.raises(Conflict, match="is the candidate of a rollout"):
        await registry.set_alias(PRIMARY, OWL, who="user")
    assert registry.resolve(PRIMARY).version == version("a")


async def test_an_alias_that_is_moved_meanwhile_is_not_set(path: Path, registry: Registry) -> None:
    # Memory said owl and the file wren: a restart changed what answered.
    results = await asyncio.gather(
        registry.move(moved("c"), standings={}),
        registry.set_alias(PRIMARY, OWL, who="user"),
        return_exceptions=True,
    )
    assert isinstance(results[1], Conflict)
    async with opened(path) as again:
        assert again.resolve(PRIMARY) == registry.resolve(PRIMARY)


async def test_a_removed_name_is_gone_and_its_version_stays(path: Path, registry: Registry) -> None:
    await registry.remove(OWL)
    async with opened(path) as again:
        assert again.version(version("b")) == registry.version(version("b"))
        for one in (registry, again):
            with pytest.raises(UnknownModel):
                one.resolve(OWL)


async def test_a_name_that_is_not_there_cannot_be_removed(registry: Registry) -> None:
    with pytest.raises(UnknownAlias, match="is called 'mine'"):
        await registry.remove(MINE)


async def test_a_name_removed_twice_at_once_is_unknown_the_second_time(registry: Registry) -> None:
    # A KeyError came out.
    results = await asyncio.gather(
        registry.remove(OWL), registry.remove(OWL), return_exceptions=True
    )
    assert results[0] is None
    assert isinstance(results[1], UnknownAlias)


async def test_the_name_of_a_candidate_cannot_be_removed(registry: Registry) -> None:
    await registry.stand({version("b"): Standing.CANDIDATE})
    with pytest.raises(StillInUse, match="owl is the candidate of a rollout"):
        await registry.remove(OWL)


# -- moves


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


# -- what the ledger is told


async def entered(registry: Registry, *, after: int) -> list[str]:
    """The kinds of the entries after the first so many: the fixture's."""
    return [entry.kind for entry in (await registry._ledger.list())[::-1][after:]]


async def test_a_version_its_name_and_what_its_file_says_are_entered(registry: Registry) -> None:
    await registry.add(artifact("d"), MINE, claim=Claim(licence="mit"), who="ada")
    expected = ["version.registered", "provenance.read", "name.added", "provenance.claimed"]
    assert await entered(registry, after=10) == expected


async def test_the_same_again_is_entered_only_as_far_as_it_is_new(registry: Registry) -> None:
    await registry.add(artifact("a"), HERON)
    assert await entered(registry, after=10) == []
    await registry.add(artifact("a"), MINE)
    assert await entered(registry, after=10) == ["name.added"]
    await registry.add(artifact("a", path="/elsewhere.gguf"), HERON)
    assert await entered(registry, after=11) == ["version.registered"]


async def test_moves_and_removals_are_entered_with_who_and_why(registry: Registry) -> None:
    await registry.move(moved("b"), standings=SWAPPED)
    await registry.remove(OWL, who="ada")
    removed, move = await registry._ledger.list(limit=2)
    assert (move.kind, move.who, move.plain()) == (
        "name.moved",
        "rollout",
        {
            "name": "primary",
            "from": version("a"),
            "to": version("b"),
            "why": "promoted",
            "rollout": "rol_" + "0" * 26,
            "keep_until": "2026-01-08T00:00:00+00:00",
        },
    )
    assert (removed.kind, removed.who) == ("name.removed", "ada")


@pytest.mark.parametrize("also", REFUSED)
async def test_a_move_that_was_refused_is_not_entered(registry: Registry, also: Statement) -> None:
    with pytest.raises(Conflict):
        await registry.move(moved("b"), standings=SWAPPED, also=[also])
    assert await entered(registry, after=10) == []


async def test_a_name_that_could_not_be_added_left_nothing_behind(registry: Registry) -> None:
    with pytest.raises(Conflict):
        await registry.add(artifact("d"), MINE, predecessor=version("f"))
    assert await entered(registry, after=10) == []
    assert (await registry._ledger.verify()).bad is None
