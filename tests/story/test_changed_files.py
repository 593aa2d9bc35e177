"""A file that somebody writes over while its model is loaded."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.story.houses import MODELS, house_with
from tests.story.stage import Stage, name, stage, task

from arbiter.engines.scripted import Hold, Say, Scripted
from arbiter.errors import LoadFailed
from arbiter.inference import Ask, Chat, Delta, Message, Named
from arbiter.pool.instance import State
from arbiter.pool.model_file import LOOK_S
from arbiter.pool.pool import loadable


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage(tmp_path / "data") as play:
        await play.house.admission.add_task(task("chat"))
        await play.add("wren", {"chat": 0.95})
        await play.add("owl", {"chat": 0.6})
        await play.ask("chat", model="wren")
        yield play


def _write_over(play: Stage, title: str) -> None:
    """Other content under the same path, and the next request comes a second later."""
    play.script(title, {"chat": 0.0}, salt="other")
    play.clock.jump(LOOK_S)


def _state(play: Stage, title: str) -> State:
    return play.house.pool.states()[play.house.registry.resolve(name(title)).version]


async def test_a_model_whose_file_was_written_over_answers_no_more(play: Stage) -> None:
    _write_over(play, "wren")
    with pytest.raises(LoadFailed, match=r"has other content than when it was registered.*anew"):
        await play.ask("chat", model="wren")
    assert _state(play, "wren") is State.FAILED
    assert play.engine.runners[0].unloads == 1


async def test_auto_goes_on_to_the_next_when_the_file_of_its_pick_was_written_over(
    play: Stage,
) -> None:
    _write_over(play, "wren")
    await play.ask("chat", model="auto")
    owl = play.house.registry.resolve(name("owl")).version
    assert play.decided[-1].alias == "wren"
    assert play.decided[-1].version == owl


async def test_everybody_who_asks_at_that_moment_is_refused_by_one_look(play: Stage) -> None:
    _write_over(play, "wren")
    asked = [play.ask("chat", model="wren") for _ in range(3)]
    ends = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(end) for end in ends] == [LoadFailed] * 3


async def test_a_file_that_is_put_back_is_served_again(play: Stage, tmp_path: Path) -> None:
    path = play.folder / "wren.json"
    kept = shutil.copy(path, tmp_path / "kept.json")
    _write_over(play, "wren")
    with pytest.raises(LoadFailed):
        await play.ask("chat", model="wren")
    shutil.copy(kept, path)
    play.clock.jump(2.0)
    assert await play.ask("chat", model="wren") in {"yes", "no"}


async def test_a_file_that_was_only_touched_stays_loaded(play: Stage) -> None:
    os.utime(play.folder / "wren.json", ns=(1, 1))
    play.clock.jump(LOOK_S)
    await play.ask("chat", model="wren")
    play.clock.jump(LOOK_S)
    await play.ask("chat", model="wren")
    wren = play.house.registry.resolve(name("wren")).version
    assert [view.loads for view in play.house.pool.views() if view.version == wren] == [1]


async def test_a_file_that_is_gone_is_told(play: Stage) -> None:
    (play.folder / "wren.json").unlink()
    play.clock.jump(LOOK_S)
    with pytest.raises(LoadFailed, match="There is no file"):
        await play.ask("chat", model="wren")


async def test_an_answer_that_has_begun_is_served_to_its_end(tmp_path: Path) -> None:
    gate = asyncio.Event()
    engine = Scripted(reply=lambda _: [Say("one"), Hold(gate), Say("two")])
    async with stage(tmp_path / "data", engine=engine) as play:
        await play.house.add(play.script("wren", {}), "wren")
        work = Chat(messages=(Message(role="user", content="go"),))
        ask = Ask(target=Named(name=name("wren")), work=work, stream=True, conversation="c")
        async with play.house.dispatch.answer(ask) as reply:
            _write_over(play, "wren")
            with pytest.raises(LoadFailed):
                await play.house.ask("go", model="wren")
            gate.set()
            said = [chunk.text async for chunk in reply.chunks() if isinstance(chunk, Delta)]
        assert said == ["one", "two"]
        await play.house.pool.unload(
            play.house.registry.resolve(name("wren")).version, reason="test"
        )
        assert (engine.runners[0].unloads, engine.runners[0].unloaded_while_serving) == (1, False)


async def test_weights_that_were_written_over_right_after_their_load_are_not_served(
    tmp_path: Path,
) -> None:
    path = Path(shutil.copy(MODELS / "owl.gguf", tmp_path / "bird.gguf"))
    async with house_with(tmp_path / "data", [], []) as house:
        version = await house.add(path, "bird")
        await house.pool.warm(loadable(version))
        # in place, as a download that resumes does: the mapped weights are others from now on
        shutil.copyfile(MODELS / "sparrow.gguf", path)
        with pytest.raises(LoadFailed, match="has other content than when it was registered"):
            await house.ask("Hello", model="bird")
        assert house.pool.states()[version.version] is State.FAILED
