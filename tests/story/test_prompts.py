"""Requests are kept only when the user says so; they become cases, and are forgotten for good."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.story.stage import Stage, name, stage, task

from arbiter.errors import InvalidField, UnknownTask
from arbiter.inference import Chat, Message, Shape
from arbiter.knowledge.prompts import TRIM_EVERY
from arbiter.refs import TaskName
from arbiter.swap.harvest import Harvest

CHAT = TaskName("chat")
DAY_S = 86_400.0


@asynccontextmanager
async def keeping(data_dir: Path, **how: object) -> AsyncIterator[Stage]:
    """A house that keeps requests, with a model that is always right and a task of ten cases."""
    given = {"privacy__store_prompts": True, **how}
    async with stage(data_dir, **given) as play:  # type: ignore[arg-type]  # a test's shorthand
        for title in ("chat", "tales"):
            await play.house.admission.add_task(task(title, cases=10))
        if not play.house.registry.versions():
            right = {"chat": 1.0, "tales": 1.0}
            path = play.script("yea", right, capabilities=["chat", "json"])
            await play.house.admission.register(path, name("yea"))
        yield play


async def counted(play: Stage) -> dict[str, int]:
    """How many requests are kept, by task."""
    return {one.task: one.count for one in await play.house.prompts.kept()}


async def harvested(play: Stage, **how: object) -> Harvest:
    given = {"limit": 50, **how}
    return await play.house.harvesting.harvest(CHAT, **given)  # type: ignore[arg-type]  # as above


async def test_nothing_is_kept_unless_the_user_says_so(tmp_path: Path) -> None:
    async with keeping(tmp_path / "data", privacy__store_prompts=False) as play:
        await play.ask(model="yea")
        assert await counted(play) == {}
        with pytest.raises(InvalidField, match="store_prompts = true"):
            await harvested(play)


async def test_a_request_with_its_right_answer_becomes_a_case_of_its_task(tmp_path: Path) -> None:
    async with keeping(tmp_path / "data") as play:
        before = play.house.tasks.get(CHAT)
        await play.ask("chat", model="yea")
        await play.ask("tales", model="yea")
        found = await harvested(play)
        after = play.house.tasks.get(CHAT)
        assert [c.messages[0].content for c in after.cases[10:]] == ["chat live 1"]
        assert (found.before, found.after) == (before.digest, after.digest)
        assert before.digest != after.digest
        assert len(play.house.tasks.get(TaskName("tales")).cases) == 10


async def test_a_request_becomes_a_case_only_once(tmp_path: Path) -> None:
    async with keeping(tmp_path / "data") as play:
        await play.ask(model="yea")
        assert (await harvested(play)).is_added
        again = await harvested(play)
        assert not again.is_added
        assert [one.why for one in again.left] == ["a case with this prompt is there already"]
        assert len(play.house.tasks.get(CHAT).cases) == 11


async def test_a_dry_run_shows_what_would_be_added_and_changes_nothing(tmp_path: Path) -> None:
    async with keeping(tmp_path / "data") as play:
        before = play.house.tasks.get(CHAT)
        await play.ask(model="yea")
        found = await harvested(play, dry_run=True)
        assert (len(found.taken), found.is_added, found.cases) == (1, False, 11)
        assert play.house.tasks.get(CHAT) is before


async def test_an_answer_that_a_person_judged_right_becomes_a_case(tmp_path: Path) -> None:
    async with keeping(tmp_path / "data") as play:
        for score in (1.0, 0.5):
            await play.ask(model="yea", expected=None)
            await play.house.feedback(play.decided[-1].decision, score)
        found = await harvested(play)
        assert [(one.case.messages[0].content, one.case.expected) for one in found.taken] == [
            ("chat live 1", "yes")
        ]


async def test_only_the_decisions_that_were_named_are_taken(tmp_path: Path) -> None:
    async with keeping(tmp_path / "data") as play:
        await play.ask(model="yea")
        await play.ask(model="yea")
        await play.ask("tales", model="yea")
        first, _, other = [one.decision for one in play.decided]
        found = await harvested(play, decisions=[first, other])
        assert [one.decision for one in found.taken] == [first]
        assert [one.decision for one in found.left] == [other]


async def test_what_no_case_can_say_again_is_not_kept(tmp_path: Path) -> None:
    async with keeping(tmp_path / "data") as play:
        turn = Message(role="user", content="chat as JSON")
        shaped = Chat(messages=(turn,), shape=Shape())
        told = Chat(messages=(turn, Message(role="assistant", content="y")))
        for work in (shaped, told):
            await play.house.ask(work, model="yea", task="chat")
        await play.house.ask("chat without a task", model="yea")
        assert await counted(play) == {}


async def test_the_bound_in_rows_is_kept_with_the_newest(tmp_path: Path) -> None:
    async with keeping(tmp_path / "data", privacy__most_prompts=5) as play:
        for _ in range(TRIM_EVERY):
            play.clock.jump(0.01)
            await play.ask(model="yea")
        assert await counted(play) == {"chat": 5}
        found = await harvested(play, limit=1, dry_run=True)
        assert found.taken[0].case.messages[0].content == f"chat live {TRIM_EVERY}"


async def test_requests_are_deleted_when_they_are_too_old(tmp_path: Path) -> None:
    async with keeping(tmp_path / "data", privacy__keep_days=2) as play:
        await play.ask(model="yea")
        assert await counted(play) == {"chat": 1}
        play.clock.jump(2 * DAY_S + 1)
        while await counted(play):
            await play.house.database.settle()


async def test_what_was_kept_expires_although_nothing_is_kept_any_more(tmp_path: Path) -> None:
    async with keeping(tmp_path / "data") as play:
        await play.ask(model="yea")
    how = {"privacy__store_prompts": False, "privacy__keep_days": 1}
    async with keeping(tmp_path / "data", **how) as play:
        await play.ask(model="yea")
        assert await counted(play) == {"chat": 1}
        play.clock.jump(DAY_S + 1)
        while await counted(play):
            await play.house.database.settle()


async def test_what_was_forgotten_is_nowhere_in_the_data_directory(tmp_path: Path) -> None:
    async with keeping(tmp_path / "data") as play:
        await play.ask("chat", model="yea")
        await play.ask("tales", model="yea")
        assert await counted(play) == {"chat": 1, "tales": 1}
        assert _says(tmp_path / "data", b"chat live 1")
        assert await play.house.prompts.forget(CHAT) == 1
        assert await counted(play) == {"tales": 1}
        assert not _says(tmp_path / "data", b"chat live 1")
        assert await play.house.prompts.forget() == 1
        assert not _says(tmp_path / "data", b"tales live 2")


def _says(folder: Path, words: bytes) -> bool:
    return any(words in file.read_bytes() for file in folder.rglob("*") if file.is_file())


async def test_nothing_of_a_request_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with keeping(tmp_path / "data") as play:
        await play.ask(model="yea")
        await harvested(play)
        await play.house.prompts.forget()
    assert "chat live" not in caplog.text


async def test_a_task_that_is_not_there_is_named(tmp_path: Path) -> None:
    async with keeping(tmp_path / "data") as play:
        with pytest.raises(UnknownTask):
            await play.house.harvesting.harvest(TaskName("sums"), limit=1)
