"""Names: found, pinned, picked as arms, set and removed by hand."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.registry_file import (
    FAST,
    HERON,
    MINE,
    OWL,
    PRIMARY,
    WREN,
    artifact,
    moved,
    opened,
    version,
)

from arbiter.errors import Conflict, InvalidField, StillInUse, UnknownAlias, UnknownModel
from arbiter.refs import ModelName, VersionId
from arbiter.registry.registry import Kind, Name, Registry, Standing


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
