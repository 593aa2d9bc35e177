"""What the ledger is told of versions and names."""

from __future__ import annotations

import pytest
from tests.contract.registry_file import HERON, MINE, OWL, SWAPPED, artifact, moved, version
from tests.contract.test_registry_moves import REFUSED

from arbiter.errors import Conflict
from arbiter.registry.provenance import Claim
from arbiter.registry.registry import Registry
from arbiter.storage.database import Statement


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
