"""What a swap finds out before the candidate gets any traffic, and what follows from it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.standins.faulty import faulty, reply
from tests.story.stage import Stage, name, stage, task

from arbiter.errors import InvalidField, UnknownModel
from arbiter.inference import Chat, Limits, Message, Sampling, Tool, Tools
from arbiter.knowledge.asked import read_asked
from arbiter.refs import VersionId
from arbiter.registry.registry import Standing
from arbiter.swap.crashing import Place
from arbiter.swap.driving import RETRY_S
from arbiter.swap.findings import Compatibility
from arbiter.swap.fitting import ENOUGH_SEEN
from arbiter.swap.plan import Apart
from arbiter.swap.rollout import Phase, ValidationVerdict

ONE_MB = 60
"""Memory for one scripted model: each is planned with little over 40 MB."""

CLOCK = Chat(
    messages=(Message(role="user", content="what time is it"),),
    tools=Tools(offered=(Tool(name="clock"),)),
)


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage(tmp_path / "data") as play:
        await play.house.admission.add_task(task("chat", cases=32))
        await play.add("old", {"chat": 0.75}, capabilities=["chat", "tools"])
        await play.alias("primary", "old")
        yield play


def words(report: Compatibility) -> dict[str, str]:
    """What is said of each thing; the task stands for its quality."""
    return {one.task or one.about: one.word for one in report.findings}


def sentence(report: Compatibility, about: str) -> str:
    (found,) = [one for one in report.findings if one.about == about]
    return found.sentence


def version(play: Stage, title: str) -> VersionId:
    return play.house.registry.resolve(name(title)).version


async def test_a_check_tells_everything_and_moves_nothing(play: Stage) -> None:
    await play.house.admission.register(play.script("new", {"chat": 1.0}), name("new"))
    told: list[tuple[str, int, int]] = []
    report = await play.house.check(
        "primary", "new", progress=lambda one, done, total: told.append((one, done, total))
    )
    assert words(report) == {
        "context": "pass",
        "capabilities": "unproven",
        "memory": "pass",
        "chat": "pass",
    }
    assert report.advice is ValidationVerdict.UNPROVEN
    assert told[-1] == ("chat", 32, 32)
    assert await play.house.controller.list() == ()
    assert version(play, "primary") == version(play, "old")
    assert play.house.registry.resolve(name("new")).standing is Standing.ACTIVE


async def test_what_a_check_has_run_a_swap_does_not_run_again(play: Stage) -> None:
    await play.house.admission.register(play.script("new", {"chat": 1.0}), name("new"))
    report = await play.house.check("primary", "new")
    rollout = await play.swap("primary", "new")
    view = await play.house.controller.view(rollout)
    assert view.stored.findings == report.findings
    assert view.progress == {}


async def test_a_check_refuses_what_a_swap_refuses(play: Stage) -> None:
    with pytest.raises(UnknownModel):
        await play.house.check("primary", "nobody")
    with pytest.raises(InvalidField, match="already"):
        await play.house.check("primary", "old")


async def test_an_unproven_candidate_starts_at_a_twentieth_and_a_proven_one_at_a_tenth(
    play: Stage,
) -> None:
    await play.add("same", {"chat": 0.75}, capabilities=["chat", "tools"])
    await play.add("fine", {"chat": 1.0}, capabilities=["chat", "tools"])
    for title, weight in (("same", 0.05), ("fine", 0.1)):
        rollout = await play.swap("primary", title)
        view = await play.house.controller.view(rollout)
        assert view.stored.rollout.phase is Phase.PROGRESSING
        assert view.weight == weight
        await play.house.controller.abort(rollout, who="ada", why="seen")


async def test_a_tool_that_was_used_blocks_a_candidate_that_knows_none(play: Stage) -> None:
    await play.house.ask(CLOCK, model="primary")
    await play.add("new", {"chat": 1.0})
    found = await play.house.controller.find(await play.swap("primary", "new"))
    assert found.rollout.phase is Phase.BLOCKED
    assert "It cannot do what is needed: tools (1 of 1 requests)." in found.rollout.reason


async def test_what_others_used_under_another_name_is_not_asked_of_the_alias(play: Stage) -> None:
    await play.house.ask(CLOCK, model="old")
    asked = await read_asked(play.house.database, name("primary"))
    assert asked.requests == 0


async def test_a_task_that_needs_what_the_candidate_cannot_do_blocks_it(play: Stage) -> None:
    needs = Limits(needs=frozenset({"tools"}))
    await play.house.admission.add_task(task("tools", cases=0, limits=needs))
    await play.add("new", {"chat": 1.0})
    report = await play.house.check("primary", "new")
    assert sentence(report, "capabilities") == ("It cannot do what is needed: tools (task tools).")


async def test_what_nobody_needed_in_many_requests_only_warns(play: Stage) -> None:
    await play.add("new", {"chat": 1.0}, context=1024)
    for _ in range(ENOUGH_SEEN):
        await play.ask()
    report = await play.house.check("primary", "new")
    assert words(report) == {
        "context": "warn",
        "capabilities": "warn",
        "memory": "pass",
        "chat": "pass",
    }
    assert report.advice is ValidationVerdict.PASS


async def test_a_window_that_is_smaller_than_what_was_asked_blocks(play: Stage) -> None:
    await play.house.ask("word " * 900, model="primary")
    await play.add("new", {"chat": 1.0}, context=512)
    report = await play.house.check("primary", "new")
    assert words(report)["context"] == "block"
    assert sentence(report, "context").startswith(
        "Its context window is too small: 512 tokens against 4096, and 99.9% of 1 requests took up "
    )


async def test_the_room_that_was_asked_for_an_answer_counts(play: Stage) -> None:
    await play.house.ask("hello", model="primary", sampling=Sampling(max_tokens=1000))
    asked = await read_asked(play.house.database, name("primary"))
    assert asked.usual_tokens is not None
    assert 1000 < asked.usual_tokens < 1100
    await play.add("new", {"chat": 1.0}, context=512)
    assert words(await play.house.check("primary", "new"))["context"] == "block"


async def test_what_was_asked_outlives_a_restart_and_not_forgetting(tmp_path: Path) -> None:
    async with stage(tmp_path / "data") as play:
        await play.house.admission.add_task(task("chat"))
        await play.add("old", {"chat": 0.75}, capabilities=["chat", "tools"])
        await play.alias("primary", "old")
        await play.house.ask(CLOCK, model="primary", task="chat")
    async with stage(tmp_path / "data") as play:
        asked = await read_asked(play.house.database, name("primary"))
        assert asked.needs == {"chat": 1, "tools": 1}
        await play.house.carrier.forget(task=task("chat").name, who="ada")
        assert (await read_asked(play.house.database, name("primary"))).requests == 0


# -- memory for one


async def narrow(play: Stage, *, new: float = 1.0) -> None:
    await play.house.admission.add_task(task("chat", cases=32))
    await play.add("old", {"chat": 0.75})
    await play.add("new", {"chat": new})
    await play.alias("primary", "old")


async def test_two_that_do_not_fit_together_share_no_traffic(tmp_path: Path) -> None:
    async with stage(tmp_path / "data", pool__memory_mb=ONE_MB) as play:
        await narrow(play)
        found = await play.house.controller.find(await play.swap("primary", "new"))
        assert found.rollout.phase is Phase.BLOCKED
        assert "--apart replay" in found.rollout.reason
        assert version(play, "primary") == version(play, "old")


async def test_kept_apart_a_better_one_is_promoted_on_recorded_cases_and_undone(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path / "data", pool__memory_mb=ONE_MB) as play:
        await narrow(play)
        report = await play.house.check("primary", "new", apart="replay")
        assert words(report)["memory"] == "warn"
        rollout = await play.swap("primary", "new", apart="replay")
        found = (await play.house.controller.find(rollout)).rollout
        assert found.phase is Phase.PROMOTED
        assert found.reason == (
            "Promoted on recorded cases, without traffic. Validation passed on every task."
        )
        assert version(play, "primary") == version(play, "new")
        assert play.house.registry.resolve(name("old")).standing is Standing.RETIRED
        await play.house.undo("primary", why="on second thoughts")
        assert version(play, "primary") == version(play, "old")


async def test_kept_apart_every_case_of_a_task_is_run(tmp_path: Path) -> None:
    async with stage(tmp_path / "data", pool__memory_mb=ONE_MB) as play:
        await narrow(play)
        await play.house.admission.add_task(task("chat", cases=50))
        usual = await play.house.check("primary", "new")
        whole = await play.house.check("primary", "new", apart="replay")
        assert "on 48 cases" in sentence(usual, "quality")
        assert "on 50 cases" in sentence(whole, "quality")


async def test_kept_apart_an_unproven_one_is_blocked(tmp_path: Path) -> None:
    async with stage(tmp_path / "data", pool__memory_mb=ONE_MB) as play:
        await narrow(play, new=0.7)
        rollout = await play.swap("primary", "new", apart="replay")
        found = (await play.house.controller.find(rollout)).rollout
        assert found.phase is Phase.BLOCKED
        assert found.reason.startswith("Recorded cases alone were to decide, and they do not.")
        assert version(play, "primary") == version(play, "old")


class Killed(Exception):
    """Stands for the end of the process, where nothing after it is done."""


@pytest.mark.parametrize("place", [Place.VALIDATING, Place.BEGINNING, Place.MOVED])
async def test_kept_apart_a_house_that_dies_anywhere_promotes_once(
    tmp_path: Path, place: Place
) -> None:
    def crash(at: Place) -> None:
        if at is place:
            raise Killed

    async with stage(tmp_path / "data", crash=crash, untouched=False) as play:
        await narrow(play)
        stored = await play.house.swap("primary", "new", apart="replay")
        driving = next(one for one in asyncio.all_tasks() if stored.rollout.id in one.get_name())
        await asyncio.wait({driving})
    async with stage(tmp_path / "data") as play:
        while play.house.controller.aliases():
            await play.house.database.settle()
        found = (await play.house.controller.view(stored.rollout.id)).log
        assert [entry.phase for entry in found] == [Phase.VALIDATING, Phase.PROMOTED]
        assert version(play, "primary") == version(play, "new")
        assert len(await play.house.registry.moves(name("primary"))) == 2


async def test_a_hook_is_asked_before_recorded_cases_promote(tmp_path: Path) -> None:
    answers = [
        reply({"answer": "go"}),  # is told that it has started
        reply({"answer": "block", "reason": "not today"}),
        reply({"answer": "go"}),
    ]
    async with (
        faulty({"/hook": answers}) as hook,
        stage(tmp_path / "data", rollout__hooks=[hook.url + "/hook"]) as play,
    ):
        await narrow(play)
        stored = await play.house.swap("primary", "new", apart="replay")
        while len(hook.bodies("/hook")) < 2:
            await play.house.database.settle()
        while not play.clock.sleepers:
            await play.house.database.settle()
        found = await play.house.controller.find(stored.rollout.id)
        assert found.rollout.phase is Phase.VALIDATING
        while not found.rollout.phase.is_final:
            play.clock.jump(RETRY_S)
            await play.house.database.settle()
            found = await play.house.controller.find(stored.rollout.id)
        assert found.rollout.phase is Phase.PROMOTED


async def test_a_hook_may_call_off_what_recorded_cases_would_promote(tmp_path: Path) -> None:
    answers = [reply({"answer": "go"}), reply({"answer": "abort", "reason": "legal says no"})]
    async with (
        faulty({"/hook": answers}) as hook,
        stage(tmp_path / "data", rollout__hooks=[hook.url + "/hook"]) as play,
    ):
        await narrow(play)
        rollout = await play.swap("primary", "new", apart=Apart.REPLAY.value)
        found = (await play.house.controller.find(rollout)).rollout
        assert found.phase is Phase.ABORTED
        assert "legal says no" in found.reason
        assert version(play, "primary") == version(play, "old")
