"""`arbiter pull`: newer content for a name, and the old one kept for the way back."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.story.neighbours import A, B, Neighbour, offer
from tests.story.stage import name
from tests.story.test_discovery import Street, street

from arbiter.errors import EngineError, EngineRefused, InvalidField, ServerGone
from arbiter.swap.pulling import Pulled
from arbiter.swap.rollout import Phase


async def pulled(here: Street, model: str, url: str | None = None) -> Pulled:
    """Pull, and listen to nobody."""
    return await here.house.pulling.pull(model, url=url, tell=lambda _: None)


def tags(neighbour: Neighbour, url: str = A) -> dict[str, str]:
    """What a server offers, with the first digit of each content."""
    return {one.model: (one.digest or "")[7] for one in neighbour.servers[url]}


async def test_a_pull_keeps_the_old_content_under_a_dated_name_and_swaps_there_and_back(
    tmp_path: Path,
) -> None:
    neighbour = Neighbour(
        servers={A: [offer("ant:1b", "a")]}, library={"ant:1b": offer("ant:1b", "c")}
    )
    async with street(tmp_path, neighbour) as here:
        await here.look()
        told = await pulled(here, "ant:1b")
        assert (told.is_new, told.kept_as) == (True, "ant:1b-until-20260101")
        assert tags(neighbour) == {"ant:1b-until-20260101": "a", "ant:1b": "c"}
        assert here.names() == {"ant:1b": "a", "ant:1b-20260101": "c"}
        stored = await here.house.swap("ant:1b", "ant:1b-20260101", soak_s=0.0)
        rollout = stored.rollout.id
        while (await here.house.controller.find(rollout)).rollout.phase is Phase.VALIDATING:
            await here.house.database.settle()
        await here.house.controller.promote(rollout, who="test", why="seen enough")
        assert (await here.house.ask("hello", model="ant:1b")).text == "ant:1b at 7001"
        await here.house.undo("ant:1b")
        old = await here.house.ask("hello", model="ant:1b")
        assert old.text == "ant:1b-until-20260101 at 7001"


async def test_a_second_pull_before_any_swap_fetches_the_name_and_not_the_dated_one(
    tmp_path: Path,
) -> None:
    neighbour = Neighbour(
        servers={A: [offer("ant:1b", "a")]}, library={"ant:1b": offer("ant:1b", "c")}
    )
    async with street(tmp_path, neighbour) as here:
        await here.look()
        await pulled(here, "ant:1b")
        neighbour.library["ant:1b"] = offer("ant:1b", "d")
        told = await pulled(here, "ant:1b")
        assert (told.model, told.kept_as) == ("ant:1b", "ant:1b-until-20260101-2")
        assert here.names() == {"ant:1b": "a", "ant:1b-20260101": "c", "ant:1b-20260101-2": "d"}


async def test_a_pull_that_brings_nothing_new_leaves_nothing_behind(tmp_path: Path) -> None:
    neighbour = Neighbour(
        servers={A: [offer("ant:1b", "a")]}, library={"ant:1b": offer("ant:1b", "a")}
    )
    async with street(tmp_path, neighbour) as here:
        await here.look()
        told = await pulled(here, "ant:1b")
        assert (told.is_new, told.kept_as) == (False, None)
        assert tags(neighbour) == {"ant:1b": "a"}


async def test_a_pull_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    neighbour = Neighbour(servers={A: [offer("ant:1b", "a")]})
    async with street(tmp_path, neighbour) as here:
        await here.look()
        with pytest.raises(EngineRefused, match="file does not exist"):
            await pulled(here, "ant:1b")
        assert tags(neighbour) == {"ant:1b": "a"}
        assert (await here.house.ask("hello", model="ant:1b")).text == "ant:1b at 7001"


async def test_a_model_that_is_new_to_the_server_is_pulled_and_registered(tmp_path: Path) -> None:
    neighbour = Neighbour(servers={A: []}, library={"bee:2b": offer("bee:2b", "b")})
    async with street(tmp_path, neighbour) as here:
        told = await pulled(here, "bee:2b")
        assert (told.is_new, told.kept_as) == (True, None)
        assert (await here.house.ask("hello", model="bee:2b")).text == "bee:2b at 7001"


async def test_which_server_is_to_fetch_is_asked_when_several_could(tmp_path: Path) -> None:
    neighbour = Neighbour(servers={A: [], B: []}, library={"bee:2b": offer("bee:2b", "b")})
    async with street(tmp_path, neighbour) as here:
        with pytest.raises(InvalidField, match=r"Several servers could fetch it.*--from"):
            await pulled(here, "bee:2b")
        await pulled(here, "bee:2b", B)
        assert tags(neighbour, B) == {"bee:2b": "b"}
        assert here.version("bee:2b") == here.house.registry.resolve(name("bee:2b")).version


async def test_a_pull_without_any_server_says_what_to_do(tmp_path: Path) -> None:
    async with street(tmp_path, Neighbour()) as here:
        with pytest.raises(ServerGone, match="Start Ollama, or name its address"):
            await pulled(here, "ant")


async def test_the_old_content_stays_when_nobody_can_say_what_a_pull_brought(
    tmp_path: Path,
) -> None:
    neighbour = Neighbour(
        servers={A: [offer("ant:1b", "a")]},
        library={"ant:1b": offer("ant:1b", "c")},
        exhausted_by_pulls=True,
    )
    async with street(tmp_path, neighbour) as here:
        await here.look()
        with pytest.raises(ServerGone):
            await pulled(here, "ant:1b")
        assert neighbour.dropped == []


async def test_nothing_is_pulled_over_content_that_cannot_be_told(tmp_path: Path) -> None:
    neighbour = Neighbour(
        servers={A: [offer("ant:1b", "a")]}, library={"ant:1b": offer("ant:1b", "c")}
    )
    async with street(tmp_path, neighbour) as here:
        await here.look()
        neighbour.unread = frozenset({"ant:1b"})
        with pytest.raises(EngineError, match="nothing was pulled"):
            await pulled(here, "ant:1b")
        assert tags(neighbour) == {"ant:1b": "a"}


async def test_a_model_that_cannot_be_described_now_is_neither_lost_nor_another(
    tmp_path: Path,
) -> None:
    neighbour = Neighbour(servers={A: [offer("ant:1b", "a")]})
    async with street(tmp_path, neighbour) as here:
        await here.look()
        neighbour.unread = frozenset({"ant:1b"})
        assert await here.look() == {}
        assert (await here.house.ask("hello")).text == "ant:1b at 7001"
