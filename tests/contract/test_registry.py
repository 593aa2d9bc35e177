"""Versions and names over a real file: immutable content, moving names, nothing half done."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.contract.registry_file import HERON, MINE, OWL, PRIMARY, artifact, opened, version

from arbiter.errors import Conflict, InvalidField, NameTaken, UnknownModel
from arbiter.refs import ModelName
from arbiter.registry.registry import Registry, Standing, Version


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
