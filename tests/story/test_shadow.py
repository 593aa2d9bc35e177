"""Some requests are asked of both versions: nobody notices, nobody waits, and the pairs count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Never

import pytest
from tests.story.stage import Stage, name, stage, task

from arbiter.engines.scripted import Die, Hold, Reply, Say, Scripted, Step
from arbiter.errors import ArbiterError, Busy, CannotDo, EngineTimeout, ServerGone
from arbiter.inference import (
    Arm,
    Ask,
    Chat,
    Generation,
    Message,
    Named,
    Sampling,
    Tool,
    Tools,
)
from arbiter.judge.grading import TaskGrader
from arbiter.pool.instance import State
from arbiter.pool.presence import Presence
from arbiter.refs import DecisionId, RolloutId, parse_task
from arbiter.swap.assignment import Assignment
from arbiter.swap.audit import audit, read_record
from arbiter.swap.pairing import MOST_OPEN
from arbiter.swap.rollout import Phase
from arbiter.swap.shadowing import QUIET_S, Copies, Copy, Shadowing


@asynccontextmanager
async def swapping(
    data_dir: Path,
    *,
    shadow: float = 1.0,
    reply: Reply | None = None,
    is_answering: bool = True,
    **how: object,
) -> AsyncIterator[tuple[Stage, RolloutId]]:
    """A rollout between two models that are right 7 times in 10, which validation cannot tell.

    is_answering: whether it is at its first step, and not where the candidate is only asked.
    """
    engine = Scripted(reply=reply)
    async with stage(data_dir, engine=engine, **how) as play:  # type: ignore[arg-type]  # shorthand
        await play.house.admission.add_task(task("chat", cases=10))
        for title in ("old", "new"):
            await play.add(title, {"chat case": 1.0, "chat live": 0.7})
        await play.alias("primary", "old")
        rollout = await play.swap(
            "primary", "new", shadow=shadow, soak_s=1e4, expiry_s=1e5, steps=[0.4, 0.5]
        )
        if is_answering:
            await play.house.controller.step(rollout, who="test", why="", to=1)
        yield play, rollout


def second_time(*steps: Step) -> Reply:
    """Answers ``yes``, and takes these steps when the same is asked of it once more."""
    known: set[str] = set()

    def reply(request: Generation) -> Iterator[Step]:
        words = str(request.work)
        if " live " in words and words in known:
            yield from steps
        known.add(words)
        yield Say("yes")

    return reply


async def pairs(play: Stage, rollout: RolloutId) -> tuple[int, int, int, int]:
    """Both right, only stable, only candidate, neither."""
    await play.house.database.settle()
    found = (await play.house.controller.view(rollout)).agreement
    return found.both, found.only_stable, found.only_candidate, found.neither


async def asked_again(play: Stage) -> None:
    """Wait until a copy is under way."""
    play.clock.jump(QUIET_S)
    while not any(runner.in_flight for runner in play.engine.runners):
        await play.house.database.settle()


async def quiet(play: Stage, seconds: float) -> None:
    play.clock.jump(seconds)
    for _ in range(20):
        await play.house.database.settle()


async def test_every_conversation_that_was_drawn_becomes_a_pair_and_no_unit(
    tmp_path: Path,
) -> None:
    async with swapping(tmp_path / "data", shadow=0.4) as (play, rollout):
        for _ in range(100):
            await play.ask()
            await play.copies()
        found = await play.house.controller.view(rollout)
        made = found.agreement.pairs
        assert 25 < made < 55
        assert found.open_pairs == 0
        assert found.judgement.n_pairs == made
        assert found.judgement.n_stable + found.judgement.n_candidate == 100 + made


async def test_nothing_of_a_copy_is_put_on_record(tmp_path: Path) -> None:
    async with swapping(tmp_path / "data") as (play, rollout):
        for _ in range(10):
            await play.ask()
        await play.copies()
        assert sum(await pairs(play, rollout)) == 10
        ((outcomes, *_),) = await play.house.database.read("count_outcomes")
        assert outcomes == 10


async def test_a_request_that_comes_while_a_copy_runs_is_served_as_if_there_were_none(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    reply = second_time(Hold(gate))
    async with swapping(tmp_path / "data", reply=reply, pool__slots=1) as (play, rollout):
        await play.ask()
        await asked_again(play)
        for _ in range(8):  # of both arms: with one slot, whoever held it has let it go
            assert await play.ask() == "yes"
        assert await pairs(play, rollout) == (0, 0, 0, 0)
        gate.set()
        await play.copies()
        assert await pairs(play, rollout) == (9, 0, 0, 0)


async def test_a_copy_that_was_cut_counts_once_and_is_never_given_up(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with swapping(tmp_path / "data", reply=second_time(Hold(gate))) as (play, rollout):
        await play.ask()
        for _ in range(5):
            await asked_again(play)
            await play.ask(model="old", expected=None)  # no part of the rollout
        assert play.house.shadowing.waiting == 1
        gate.set()
        await play.copies()
        assert await pairs(play, rollout) == (1, 0, 0, 0)


async def test_no_copy_begins_while_somebody_is_served_or_was_a_moment_ago(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    known: list[str] = []

    def reply(request: Generation) -> Iterator[Step]:
        known.append(str(request.work))
        if "slow" in known[-1]:
            yield Hold(gate)
        yield Say("yes")

    async with swapping(tmp_path / "data", reply=reply) as (play, rollout):
        await play.ask()
        slow = asyncio.create_task(play.house.ask("slow", model="old"))
        while "slow" not in known[-1]:
            await play.house.database.settle()
        await quiet(play, 100 * QUIET_S)
        assert sum(" live 1'" in one for one in known) == 1
        gate.set()
        await slow
        await quiet(play, QUIET_S / 2)
        assert sum(" live 1'" in one for one in known) == 1
        await play.copies()
        assert await pairs(play, rollout) == (1, 0, 0, 0)


async def test_while_nobody_has_time_no_more_than_a_few_prompts_are_kept(tmp_path: Path) -> None:
    async with swapping(tmp_path / "data") as (play, rollout):
        for _ in range(60):
            await play.ask()
        await play.house.database.settle()
        assert play.house.shadowing.waiting == 16
        found = await play.house.controller.view(rollout)
        assert found.judgement.n_stable + found.judgement.n_candidate == 44
        assert found.open_pairs == 16


async def test_a_copy_that_fails_counts_as_a_wrong_answer_of_its_version(tmp_path: Path) -> None:
    async with swapping(tmp_path / "data", reply=second_time(Say("y"), Die())) as (play, rollout):
        await play.ask()
        await play.copies()
        served_by_stable = play.arms[-1] is Arm.STABLE
        expected = (0, 1, 0, 0) if served_by_stable else (0, 0, 1, 0)
        assert await pairs(play, rollout) == expected


async def test_an_empty_copy_counts_as_its_grader_says(tmp_path: Path) -> None:
    known: set[str] = set()

    def reply(request: Generation) -> Iterator[Step]:
        words = str(request.work)
        yield Say("" if " live " in words and words in known else "yes")
        known.add(words)

    async with swapping(tmp_path / "data", reply=reply) as (play, rollout):
        await play.ask()
        await play.copies()
        assert sum((await pairs(play, rollout))[1:3]) == 1


async def test_a_hang_up_makes_no_pair_and_holds_nobody_back(tmp_path: Path) -> None:
    async with swapping(tmp_path / "data") as (play, rollout):
        async with play.house.dispatch.answer(_ask("chat live gone")):
            pass  # and left before the end
        await play.ask()
        await play.copies()
        assert sum(await pairs(play, rollout)) == 1
        assert (await play.house.controller.view(rollout)).open_pairs == 0


async def test_a_stream_makes_a_pair_like_any_other_answer(tmp_path: Path) -> None:
    async with swapping(tmp_path / "data") as (play, rollout):
        async with play.house.dispatch.answer(_ask("chat live streamed", stream=True)) as reply:
            assert [chunk async for chunk in reply.chunks()]
        await play.copies()
        assert sum(await pairs(play, rollout)) == 1


async def test_a_request_that_may_call_tools_is_asked_of_one_version_only(tmp_path: Path) -> None:
    seen: list[Generation] = []

    def reply(request: Generation) -> Iterator[Step]:
        seen.append(request)
        yield Say("yes")

    features = frozenset({"tools"})
    async with swapping(tmp_path / "data", reply=reply) as (play, rollout):
        play.engine.features = features
        tools = Tools(offered=(Tool(name="clock"),))
        before = len(seen)
        async with play.house.dispatch.answer(_ask("chat live tools", tools=tools)) as reply_:
            assert [chunk async for chunk in reply_.chunks()]
        await quiet(play, 10 * QUIET_S)
        assert len(seen) == before + 1
        assert await pairs(play, rollout) == (0, 0, 0, 0)


async def test_a_request_that_no_rule_can_grade_is_asked_of_one_version_only(
    tmp_path: Path,
) -> None:
    async with swapping(tmp_path / "data") as (play, rollout):
        await play.ask(expected=None)
        assert play.house.shadowing.waiting == 0
        assert (await play.house.controller.view(rollout)).open_pairs == 0


async def test_what_waits_when_a_rollout_ends_is_forgotten_and_never_asked(tmp_path: Path) -> None:
    async with swapping(tmp_path / "data") as (play, rollout):
        await play.ask()
        assert play.house.shadowing.waiting == 1
        await play.house.controller.abort(rollout, who="test", why="enough")
        await play.copies()
        assert await pairs(play, rollout) == (0, 0, 0, 0)


async def test_a_version_that_left_memory_is_loaded_for_a_copy_where_there_is_room(
    tmp_path: Path,
) -> None:
    async with swapping(tmp_path / "data") as (play, rollout):
        await play.ask()
        new = play.house.registry.resolve(name("new")).version
        old = play.house.registry.resolve(name("old")).version
        for version in (old, new):
            await play.house.pool.unload(version, reason="a story")
        await play.copies()
        assert sum(await pairs(play, rollout)) == 1


async def test_a_version_that_fits_beside_nobody_waits_and_puts_nobody_out(tmp_path: Path) -> None:
    async with swapping(tmp_path / "data", pool__memory_mb=100) as (play, rollout):
        await play.add("other", {"chat": 1.0})
        while play.arms[-1:] != (Arm.STABLE,):
            await play.ask()
            if play.arms[-1] is Arm.CANDIDATE:
                await play.copies()
        await play.ask(model="other", expected=None)
        states = play.house.pool.states()
        candidate = play.house.registry.resolve(name("new")).version
        assert states[candidate] is not State.READY
        before = await pairs(play, rollout)
        await quiet(play, QUIET_S)
        assert play.house.pool.states()[candidate] is not State.READY
        assert await pairs(play, rollout) == before
        assert play.house.shadowing.waiting == 1


async def test_after_a_restart_the_pairs_are_the_same_evidence_to_the_bit(tmp_path: Path) -> None:
    async with swapping(tmp_path / "data", shadow=0.5) as (play, rollout):
        for number in range(60):
            await play.ask()
            if number % 3 == 0:
                await play.copies()
        await play.house.database.settle()
        before = await play.house.controller.view(rollout)
        assert before.open_pairs
    async with stage(tmp_path / "data", seed=8) as again:
        after = await again.house.controller.view(rollout)
        assert after.judgement == before.judgement
        assert after.tasks == before.tasks
        assert after.agreement == before.agreement
        assert after.open_pairs == 0
        assert again.house.shadowing.waiting == 0


async def test_a_retry_goes_on_with_the_pairs_of_the_rollout_before(tmp_path: Path) -> None:
    async with swapping(tmp_path / "data") as (play, rollout):
        for _ in range(10):
            await play.ask()
        await play.copies()
        before = (await play.house.controller.view(rollout)).judgement
        await play.house.controller.abort(rollout, who="test", why="")
        again = await play.house.controller.retry(rollout, who="test", why="")
        found = await play.house.controller.view(again.rollout.id)
        assert found.judgement.n_pairs == before.n_pairs == 10
        assert found.judgement.e_not_worse == before.e_not_worse


async def test_an_equal_model_is_promoted_by_pairs_with_fewer_conversations(tmp_path: Path) -> None:
    asked = {}
    for shadow in (0.0, 1.0):
        async with stage(tmp_path / f"{shadow:g}") as play:
            await play.house.admission.add_task(task("chat", cases=10))
            for title in ("old", "new"):
                await play.add(title, {"chat case": 1.0, "chat live": 0.8})
            await play.alias("primary", "old")
            rollout = await play.swap("primary", "new", shadow=shadow)
            found = await play.live(rollout)
            asked[shadow] = play.asked
            assert found.stored.rollout.phase is Phase.PROMOTED
            record = await read_record(rollout, play.house.database, play.house.ledger)
            # those that were still asked when it ended are on record and decided nothing
            later = found.agreement.pairs - audit(record).pairs
            assert 0 <= later <= MOST_OPEN
            assert bool(found.agreement.pairs) == (shadow > 0.0)
    assert asked[1.0] < asked[0.0]


def _ask(words: str, *, stream: bool = False, tools: Tools | None = None) -> Ask:
    return Ask(
        target=Named(name=name("primary")),
        work=Chat(messages=(Message(role="user", content=words),), tools=tools),
        stream=stream,
        task=parse_task("chat"),
        conversation=words,
        expected="yes",
    )


async def test_an_unproven_candidate_answers_nobody_before_it_was_asked_beside_the_old_one(
    tmp_path: Path,
) -> None:
    async with swapping(tmp_path / "data", is_answering=False) as (play, rollout):
        for _ in range(19):
            await play.ask()
            await play.copies()
            await play.tick()
        assert set(play.arms) == {Arm.STABLE}
        view = await play.house.controller.view(rollout)
        assert (view.weight, view.judgement.n_pairs) == (0.0, 19)
        await play.ask()
        await play.copies()
        await play.tick()
        view = await play.house.controller.view(rollout)
        assert (view.weight, view.log[-1].weight, view.log[-1].units) == (0.05, 0.05, 20)
        assert view.log[-1].reason.startswith("Asked beside the stable version 20 times.")
        while Arm.CANDIDATE not in play.arms:
            await play.ask()


async def test_a_restart_finds_it_still_asked_only_and_its_conversations_stay_with_the_old_one(
    tmp_path: Path,
) -> None:
    async with swapping(tmp_path / "data", is_answering=False) as (play, rollout):
        for number in range(12):
            await play.ask(conversation=f"talk {number}")
        await play.copies()
        assert sum(await pairs(play, rollout)) == 12
    async with stage(tmp_path / "data", seed=8) as again:
        assert (await again.house.controller.view(rollout)).weight == 0.0
        await again.house.controller.step(rollout, who="test", why="", to=1)
        for number in range(12):
            await again.ask(conversation=f"talk {number}")
        await again.house.database.settle()
        assert set(again.arms) == {Arm.STABLE}
        found = (await again.house.controller.view(rollout)).judgement
        assert (found.n_stable, found.n_candidate) == (12, 12)


class Refuses:
    """Whoever is asked fails like this."""

    def __init__(self, error: ArbiterError) -> None:
        self._error = error

    def answer(self, ask: Ask) -> Refuses:
        """Whatever is asked."""
        del ask
        return self

    async def __aenter__(self) -> Never:
        raise self._error

    async def __aexit__(self, *error: object) -> None:
        """It never gets here."""


@pytest.mark.parametrize(
    ("error", "expected", "left"),
    [
        pytest.param(EngineTimeout(), 1, 0, id="it took too long"),
        pytest.param(CannotDo(), 1, 0, id="it cannot do that"),
        pytest.param(ServerGone(), 0, 0, id="its server is gone"),
        pytest.param(Busy(), 0, 1, id="the house is full"),
    ],
)
async def test_only_what_is_a_versions_doing_counts(
    tmp_path: Path, error: ArbiterError, expected: int, left: int
) -> None:
    async with swapping(tmp_path / "data") as (play, rollout):
        house, copies = play.house, Copies()
        assignment = house.controller.draw(
            name("primary"), "one", fits=lambda _: False, may_pair=lambda: True
        )
        assert isinstance(assignment, Assignment)
        copies.add(
            Copy(
                assignment=assignment,
                decision=DecisionId("dec"),
                task=house.tasks.get(parse_task("chat")),
                work=Chat(messages=()),
                sampling=Sampling(),
                stream=False,
                expected="yes",
                served=1.0,
            )
        )
        shadowing = Shadowing(
            copies=copies,
            answer=Refuses(error),
            track=house.controller.track,
            registry=house.registry,
            pool=house.pool,
            presence=Presence(play.clock),
            grader=TaskGrader(),
            database=house.database,
            clock=play.clock,
            announcer=house.announcer,
        )
        shadowing.open()
        await quiet(play, QUIET_S)
        assert sum(await pairs(play, rollout)) == expected
        assert len(copies) == left
        await shadowing.close()
