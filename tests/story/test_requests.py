"""A request from the door to its record, with scripted models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.story.asks import add_slow, asked, said
from tests.story.stage import Stage, name, stage, task

from arbiter.engines.scripted import Hold, Say, Scripted, Step
from arbiter.errors import (
    EngineRefused,
    LoadFailed,
    NothingCapable,
    UnknownDecision,
    UnknownModel,
    UnknownTask,
)
from arbiter.gateway.rendering import known
from arbiter.inference import Ask, Chat, Delta, Generation, Limits, Message, Pinned
from arbiter.knowledge.outcome import Status
from arbiter.knowledge.rules import Rule
from arbiter.knowledge.tasks import Grading
from arbiter.refs import parse_task


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage(tmp_path / "data") as play:
        await play.house.admission.add_task(task("chat"))
        await play.house.admission.add_task(task("sort"))
        await play.add("wren", {"chat": 0.95, "sort": 0.3})
        await play.add("owl", {"chat": 0.6, "sort": 0.9})
        yield play


async def test_auto_picks_another_model_for_another_task_and_says_why(play: Stage) -> None:
    await play.ask("chat", model="auto")
    await play.ask("sort", model="auto")
    assert [decided.alias for decided in play.decided] == ["wren", "owl"]
    assert "wren scores" in play.decided[0].reason
    assert "next owl" in play.decided[0].reason
    assert play.decided[0].fallback == "owl"


async def test_a_named_model_is_served_by_it_whatever_the_scores_say(play: Stage) -> None:
    await play.ask("sort", model="wren")
    assert play.decided[0].alias == "wren"
    assert play.decided[0].reason == "the caller named wren"


async def test_a_name_without_its_latest_takes_part_in_that_names_rollout(play: Stage) -> None:
    await play.add("gull:latest", {"chat": 1.0})
    await play.add("tern:latest", {"chat": 1.0})
    rollout = await play.swap("gull", "tern")
    await play.ask("chat", model="gull")
    assert (play.decided[0].alias, play.decided[0].rollout) == ("gull:latest", rollout)


async def test_a_pinned_version_is_served_by_exactly_that_version(play: Stage) -> None:
    version = play.house.registry.resolve(name("owl")).version
    ask = Ask(
        target=Pinned(name=name("wren"), digest_prefix=version[7:19]),
        work=Chat(messages=(Message(role="user", content="hello"),)),
        conversation="c",
    )
    async with play.house.dispatch.answer(ask) as reply:
        assert reply.decided.version == version


async def test_a_rule_wins_over_the_scores(play: Stage) -> None:
    await play.house.rules.add(Rule(task=parse_task("sort"), prefer=name("wren"), why="taste"))
    await play.ask("sort", model="auto")
    assert play.decided[0].alias == "wren"
    assert play.decided[0].reason == "rule: sort prefers wren (taste)"


async def test_a_request_may_narrow_a_task_and_learns_why_nothing_is_left(play: Stage) -> None:
    with pytest.raises(NothingCapable) as caught:
        play.house.select("sort", limits=Limits(needs=frozenset({"vision"}), threshold=0.5))
    assert "owl: cannot do vision" in caught.value.message
    assert "wren: cannot do vision" in caught.value.message
    choice = play.house.select("sort", limits=Limits(threshold=0.5))
    assert [drop.name for drop in choice.dropped] == ["wren"]
    assert "below the threshold 0.50" in choice.dropped[0].reason


async def test_an_unknown_model_or_task_is_told_with_what_there_is(play: Stage) -> None:
    with pytest.raises(UnknownModel, match="Known: owl, wren"):
        await play.ask(model="ghost")
    with pytest.raises(UnknownTask, match="Known tasks: chat, sort"):
        await play.ask("ghost", model="auto")


async def test_when_the_pick_cannot_load_the_next_one_serves_and_it_is_on_record(
    play: Stage,
) -> None:
    await play.house.pool.unload(play.house.registry.resolve(name("wren")).version, reason="test")
    play.script("wren", {}, fail_load="gone")  # the file changes under the registered version
    await play.ask("chat", model="auto")
    record = await play.house.record(play.decided[0].decision)
    assert record.outcome is not None
    assert record.outcome.version == play.house.registry.resolve(name("owl")).version
    assert [attempt.error for attempt in record.outcome.attempts] == ["load_failed"]


async def test_every_request_leaves_a_decision_and_an_outcome(play: Stage) -> None:
    await play.ask("chat", model="auto")
    record = await play.house.record(play.decided[0].decision)
    assert record.outcome is not None
    assert record.outcome.status is Status.SUCCESS
    assert record.outcome.grade in {0.0, 1.0}
    assert record.outcome.usage.completion_tokens == 1
    assert (record.outcome.cpu.value, record.outcome.cpu.note) == (
        None,
        "the engine has no process of its own",
    )


async def test_feedback_counts_once_and_the_latest_counts(play: Stage) -> None:
    await play.ask("chat", model="wren", expected=None)
    decision = play.decided[0].decision
    version = play.decided[0].version
    before = play.house.profiles.get(version, parse_task("chat"))
    assert await play.house.feedback(decision, 1.0) is True
    assert await play.house.feedback(decision, 1.0) is False
    assert await play.house.feedback(decision, 0.0) is True
    after = play.house.profiles.get(version, parse_task("chat"))
    assert (after.graded - before.graded, after.quality - before.quality) == (1, 0.0)
    with pytest.raises(UnknownDecision):
        await play.house.feedback("dec_" + "0" * 26, 1.0)


async def test_feedback_may_come_while_the_answer_is_still_streaming(tmp_path: Path) -> None:
    gate = asyncio.Event()
    engine = Scripted(reply=lambda _: [Say("one "), Hold(gate), Say("two")])
    async with stage(tmp_path / "data", engine=engine) as play:
        await play.house.admission.register(play.script("slow", {}), name("slow"))
        async with play.house.dispatch.answer(asked("slow")) as reply:
            assert await play.house.feedback(reply.decided.decision, 0.5) is True
            gate.set()
            text = "".join([c.text async for c in reply.chunks() if isinstance(c, Delta)])
        assert text == "one two"


async def test_calibration_gives_a_new_version_its_first_samples(play: Stage) -> None:
    version = play.house.registry.resolve(name("wren")).version
    profile = play.house.profiles.get(version, parse_task("chat"))
    assert (profile.samples, profile.graded) == (30, 30)


async def test_a_new_task_is_run_on_every_model_that_is_there(play: Stage) -> None:
    late = await play.house.admission.add_task(task("late", cases=12))
    await play.house.admission.calibrate_task(late)
    version = play.house.registry.resolve(name("owl")).version
    assert play.house.profiles.get(version, parse_task("late")).samples == 12


async def test_cases_graded_wrongly_do_not_count_once_the_grader_is_put_right(
    play: Stage,
) -> None:
    version = play.house.registry.resolve(name("wren")).version
    right = play.house.profiles.get(version, parse_task("chat"))
    wrong = replace(task("chat"), grading=Grading(kind="regex", options={"pattern": "^never$"}))
    await play.house.admission.calibrate_task(await play.house.admission.add_task(wrong))
    assert play.house.profiles.get(version, parse_task("chat")).mean_quality == 0.0
    await play.house.admission.calibrate_task(await play.house.admission.add_task(task("chat")))
    again = play.house.profiles.get(version, parse_task("chat"))
    assert (again.samples, again.quality) == (right.samples, right.quality)


async def test_a_file_that_changed_under_a_registered_version_is_never_served(
    play: Stage,
) -> None:
    version = play.house.registry.resolve(name("wren")).version
    await play.house.pool.unload(version, reason="test")
    play.script("wren", {"chat": 0.0})
    with pytest.raises(LoadFailed, match="register it anew"):
        await said(play, "wren")


async def test_a_prompt_that_is_too_long_is_no_fault_of_any_model(play: Stage) -> None:
    version = play.house.registry.resolve(name("wren")).version
    before = play.house.profiles.get(version, parse_task("chat"))
    with pytest.raises(EngineRefused, match="tokens"):
        await play.house.ask("chat " + "word " * 5000, model="auto", task="chat")
    assert play.house.profiles.get(version, parse_task("chat")) == before
    await play.house.database.settle()
    rows = await play.house.database.read("count_outcomes")
    assert rows[0][1] == 0


async def test_a_fault_of_the_house_is_on_record_as_a_failure_and_not_as_a_hang_up(
    tmp_path: Path,
) -> None:
    def reply(request: Generation) -> Iterable[Step]:
        raise RuntimeError(f"a fault at {request.work!r:.20}")

    async with stage(tmp_path / "data", engine=Scripted(reply=reply)) as play:
        await add_slow(play)
        with pytest.raises(RuntimeError, match="a fault"):
            await said(play, "slow")
        await play.house.database.settle()
        ((_, failed, *_),) = await play.house.database.read("count_outcomes")
        assert failed == 1


async def test_a_model_that_cannot_be_loaded_is_told_once_in_the_log(
    play: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    # low finding of the review: one line for each request, for as long as an outage lasts
    wren = play.house.registry.resolve(name("wren")).version
    await play.house.pool.unload(wren, reason="test")
    play.engine.fail_load = "out of cheese"
    for _ in range(5):
        with pytest.raises(LoadFailed) as failed:
            await play.ask(model="wren")
        known(failed.value)
    assert ["out of cheese" in line for line in caplog.messages] == [True]
