"""Rules that pin and ban, in an open house: through swaps, guesses, names and servers that go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.story.stage import Stage, name, stage, task

from arbiter.errors import LoadFailed, NothingCapable, StillInUse
from arbiter.inference import Arm, Limits
from arbiter.knowledge.rules import Rule
from arbiter.knowledge.tasks import Task
from arbiter.refs import GENERAL, ModelName, TaskName
from arbiter.swap.rollout import Phase

CHAT, FINE = TaskName("chat"), TaskName("chat.fine")
FAST, PRIMARY, OWL, WREN = map(name, ("fast", "primary", "owl", "wren"))


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Stage]:
    """Owl is good and primary, wren is not and fast."""
    async with stage(tmp_path / "data") as play:
        await furnish(play)
        yield play


async def furnish(play: Stage) -> None:
    await play.house.admission.add_task(task("chat"))
    await play.house.admission.add_task(Task(name=FINE, parent=CHAT))
    await play.add("owl", {"chat": 0.95})
    await play.add("wren", {"chat": 0.3})
    await play.alias("primary", "owl")
    await play.alias("fast", "wren")


async def test_the_only_one_who_may_answers(play: Stage) -> None:
    await play.house.rules.add(Rule(task=CHAT, only=FAST, why="checked"))
    await play.ask(model="auto")
    decided = play.decided[0]
    assert (decided.alias, decided.fallback) == ("fast", None)
    assert decided.reason == "rule: only fast answers chat (checked)"
    assert [(one.name, one.reason) for one in decided.dropped] == [("primary", decided.reason)]


async def test_the_only_one_who_may_fails_and_nobody_answers_in_its_place(play: Stage) -> None:
    broken = play.script("broken", {}, fail_load="out of memory")
    await play.house.admission.register(broken, name("broken"))
    await play.house.rules.add(Rule(task=CHAT, only=name("broken")))
    with pytest.raises(LoadFailed, match="out of memory"):
        await play.ask(model="auto")


async def test_a_pin_moves_with_its_alias(play: Stage) -> None:
    await play.house.rules.add(Rule(task=CHAT, only=FAST))
    before = play.house.knowledge()
    first = play.house.select(CHAT).primary.contender.version
    await play.alias("fast", "owl")
    assert play.house.select(CHAT).primary.contender.version != first
    assert play.house.knowledge() == before


async def test_a_ban_moves_with_its_alias(play: Stage) -> None:
    await play.house.rules.add(Rule(task=CHAT, never=(FAST,), why="too sloppy"))
    choice = play.house.select(CHAT)
    assert [(one.name, one.reason) for one in choice.dropped] == [
        ("fast", "rule: never fast (too sloppy)")
    ]
    await play.alias("fast", "owl")
    assert play.house.select(CHAT).alias == "wren"


async def test_the_rule_of_a_parent_holds_until_the_finer_task_has_one(play: Stage) -> None:
    await play.house.rules.add(Rule(task=CHAT, prefer=FAST, why="cheap"))
    assert play.house.select(FINE).reason == "rule for chat: chat.fine prefers fast (cheap)"
    await play.house.rules.add(Rule(task=FINE, prefer=PRIMARY))
    assert play.house.select(FINE).reason == "rule: chat.fine prefers primary"
    await play.house.rules.remove(FINE)
    await play.house.admission.add_task(Task(name=FINE))
    assert play.house.select(FINE).reason.split()[1] == "scores", "chat is above it no more"


async def test_the_rule_of_the_general_task_holds_for_every_task(play: Stage) -> None:
    await play.house.rules.add(Rule(task=GENERAL, prefer=FAST))
    assert play.house.select(FINE).reason == "rule for all tasks: chat.fine prefers fast"
    assert play.house.select().reason == "rule: general prefers fast"


async def test_a_caller_who_names_a_model_is_under_no_rule(play: Stage) -> None:
    await play.house.rules.add(Rule(task=CHAT, only=PRIMARY, never=(FAST,)))
    await play.ask(model="fast")
    assert play.decided[0].alias == "fast"


async def test_a_model_that_a_rule_names_is_not_removed(play: Stage) -> None:
    await play.house.rules.add(Rule(task=CHAT, never=(WREN,)))
    with pytest.raises(StillInUse, match=r"The rule for task chat names wren\. Remove it first"):
        await play.house.admission.remove_model(WREN)


async def test_a_pin_of_a_guessed_task_costs_nobody_an_answer(tmp_path: Path) -> None:
    async with stage(tmp_path / "guessing") as play:
        await furnish(play)
        await play.house.admission.add_task(task("sort", limits=Limits(max_memory_mb=1e-6)))
        await play.house.rules.add(Rule(task=CHAT, only=FAST))
        await play.house.admission.add_task(task("chat", limits=Limits(needs=frozenset({"tools"}))))
        with pytest.raises(NothingCapable, match="only fast answers chat, which cannot"):
            play.house.select(CHAT)
        answered = await play.house.ask("chat case 41")
        assert (answered.reply.decided.task, answered.reply.decided.guessed) == (GENERAL, None)


# -- swaps


async def test_a_rollout_sends_nothing_of_a_task_to_a_candidate_that_is_banned_there(
    play: Stage,
) -> None:
    await play.house.rules.add(Rule(task=CHAT, never=(name("next"),), why="not for chats"))
    await play.add("next", {"chat": 0.95, "sort": 0.95})
    await play.swap("primary", "next", steps=[0.4, 0.5])
    for _ in range(20):
        await play.ask(model="auto")
    assert set(play.arms) == {Arm.NONE}
    assert {decided.alias for decided in play.decided} == {"primary"}
    assert play.decided[0].reason.endswith(
        "; its rollout passes by: rule: never next (not for chats)"
    )
    await play.house.rules.add(Rule(task=GENERAL, prefer=PRIMARY))
    arms = set()
    for number in range(20):
        answered = await play.house.ask(f"more {number}", conversation=f"more {number}")
        arms.add(answered.reply.decided.arm)
    assert arms == {Arm.STABLE, Arm.CANDIDATE}, "other tasks are split as before"


ALIASES = st.sampled_from([FAST, PRIMARY, OWL, WREN, name("next")])


@st.composite
def a_rule(draw: st.DrawFn, about: TaskName) -> Rule:
    """Any rule that can be."""
    takes: ModelName | None = draw(st.none() | ALIASES)
    never = tuple(one for one in draw(st.sets(ALIASES, max_size=3)) if one != takes)
    if takes is None:
        return Rule(task=about, never=never or (FAST,), why=draw(st.text("so", max_size=3)))
    if draw(st.booleans()):
        return Rule(task=about, only=takes, never=never)
    return Rule(task=about, prefer=takes, never=never)


@settings(max_examples=12, deadline=None)
@given(
    rules=st.fixed_dictionaries({}, optional={one: a_rule(one) for one in (CHAT, FINE, GENERAL)}),
    candidate=st.sampled_from([0.97, 0.5, 0.0]),
    undo=st.booleans(),
)
async def test_rules_outlive_every_swap_digest_for_digest(
    rules: dict[TaskName, Rule], candidate: float, undo: bool
) -> None:
    with TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        async with stage(data) as play:
            await furnish(play)
            for rule in rules.values():
                await play.house.rules.add(rule)
            before, kept = play.house.knowledge(), play.house.rules.all()
            await play.add("next", {"chat": candidate})
            rollout = await play.swap("primary", "next", min_units=5, margin=0.2)
            view = await play.live(rollout, ("chat", "chat.fine"), most=300)
            if play.house.controller.active(PRIMARY) is not None:
                await play.house.controller.abort(rollout, who="test", why="it takes too long")
            elif undo and view.stored.rollout.phase is Phase.PROMOTED:
                await play.house.undo("primary")
            assert (play.house.knowledge(), play.house.rules.all()) == (before, kept)
        async with stage(data) as play:
            assert (play.house.knowledge(), play.house.rules.all()) == (before, kept)
