"""Prompts that are longer than some contexts, and models that are slower than a limit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.story.stage import Stage, name, stage, task

from arbiter.errors import NothingCapable, PromptTooLong
from arbiter.inference import Limits, Sampling
from arbiter.knowledge.rules import Rule
from arbiter.knowledge.speed import Timing

LONG = "word " * 8_000  # 40,000 characters: 10,000 tokens or so


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage(tmp_path / "home", pool__context=65_536) as found:
        await found.house.admission.add_task(task("chat"))
        await found.add("good", {"chat": 1.0}, context=4096)
        await found.add("wide", {"chat": 0.5}, context=32_768)
        yield found


async def test_a_prompt_that_is_too_long_goes_to_who_has_room(play: Stage) -> None:
    short = await play.house.ask("chat live 1", task="chat")
    long = await play.house.ask(LONG, task="chat")
    assert (short.reply.decided.alias, long.reply.decided.alias) == ("good", "wide")
    (drop,) = long.reply.decided.dropped
    assert (drop.name, drop.reason) == (
        "good",
        (
            "the prompt has about 9,700 tokens (estimated at 4.0 characters each), "
            "its context holds 4,096"
        ),
    )


async def test_an_answer_that_may_get_long_goes_to_who_has_room_for_it(play: Stage) -> None:
    answered = await play.house.ask("chat", task="chat", sampling=Sampling(max_tokens=8192))
    assert answered.reply.decided.alias == "wide"


async def test_room_for_the_longest_answer_is_asked_of_nobody_when_nobody_has_it(
    play: Stage,
) -> None:
    answered = await play.house.ask("chat", task="chat", sampling=Sampling(max_tokens=100_000))
    assert answered.reply.decided.alias == "good"


async def test_a_prompt_that_fits_nowhere_is_too_long_for_the_one_with_the_most_room(
    play: Stage,
) -> None:
    with pytest.raises(PromptTooLong) as raised:
        await play.house.ask(LONG * 10, task="chat", sampling=Sampling(max_tokens=10))
    assert str(raised.value).startswith(
        "The prompt has about 100,000 tokens (estimated at 4.0 characters each), and no model that "
        "could serve it has room for so many: the most is 32,768, of wide."
    )
    assert (raised.value.tokens, raised.value.room) == (100_000, 32_768)
    assert raised.value.param == "messages"


async def test_who_lacks_more_than_room_is_no_reason_to_shorten_a_prompt(play: Stage) -> None:
    limits = Limits(needs=frozenset({"vision"}))
    with pytest.raises(NothingCapable, match="wide: cannot do vision"):
        await play.house.ask(LONG * 10, task="chat", limits=limits)


async def test_the_room_that_is_told_is_of_those_that_could_serve_it(play: Stage) -> None:
    await play.add("huge", {"chat": 1.0}, context=65_536, capabilities=["chat"])
    await play.house.add(
        play.script("seer", {"chat": 1.0}, capabilities=["chat", "vision"], context=8192), "seer"
    )
    with pytest.raises(PromptTooLong, match=r"the most is 8,192, of seer\."):
        await play.house.ask(LONG * 10, task="chat", limits=Limits(needs=frozenset({"vision"})))


async def test_a_rule_that_takes_one_model_alone_says_how_much_room_that_one_has(
    play: Stage,
) -> None:
    rule = Rule(task=task("chat").name, only=name("good"))
    await play.house.rules.add(rule)
    with pytest.raises(PromptTooLong, match=r"the most is 4,096, of good\."):
        await play.house.ask(LONG, task="chat")


async def test_a_model_that_is_named_gets_the_prompt_whatever_its_length(play: Stage) -> None:
    answered = await play.house.ask(LONG[:20_000], task="chat", model="good")
    assert answered.reply.decided.version == play.house.registry.resolve(name("good")).version


async def test_the_context_that_counts_is_the_one_that_is_loaded(tmp_path: Path) -> None:
    async with stage(tmp_path / "home", pool__context=2048) as play:
        await play.house.admission.add_task(task("chat"))
        await play.add("good", {"chat": 1.0}, context=131_072)
        with pytest.raises(PromptTooLong, match="the most is 2,048, of good"):
            await play.house.ask(LONG, task="chat")


async def test_what_prompts_had_is_learned_and_outlives_a_restart(tmp_path: Path) -> None:
    async with stage(tmp_path / "home", pool__context=65_536) as play:
        await play.house.admission.add_task(task("chat"))
        await play.add("wide", {"chat": 1.0}, context=32_768)
        version = play.house.registry.resolve(name("wide")).version
        for number in range(12):
            await play.house.ask(f"{number} " + "word " * 400, task="chat")
        learned = play.house.profiles.speeds.get(version, task("chat").name).chars_per_token
        assert learned is not None
    async with stage(tmp_path / "home", pool__context=65_536) as play:
        speeds = play.house.profiles.speeds
        assert speeds.get(version, task("chat").name).chars_per_token == learned


async def test_a_model_that_is_too_slow_in_most_answers_is_passed_over(play: Stage) -> None:
    version = play.house.registry.resolve(name("good")).version
    for _ in range(200):
        play.house.profiles.speeds.add(version, task("chat").name, Timing(latency_ms=2_300.0))
    limits = Limits(max_latency_ms=2000)
    choice = play.house.select("chat", limits=limits)
    assert choice.alias == "wide"
    (drop,) = choice.dropped
    assert drop.reason.startswith("takes up to 2,")
    assert drop.reason.endswith(" ms in 9 of 10 answers (200 timed), the limit is 2,000 ms")
