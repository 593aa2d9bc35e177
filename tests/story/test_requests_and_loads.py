"""Requests that hang up, wait, load and cut: slots and memory, through the real pool."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.story.asks import add_slow, always, asked, said
from tests.story.stage import name, stage, task

from arbiter.engines.base import LoadSpec, Runner
from arbiter.engines.scripted import Die, Hold, Say, Scripted, Step
from arbiter.errors import Busy, LoadFailed, ShuttingDown, StreamCut
from arbiter.inference import Delta, Generation
from arbiter.knowledge.outcome import Status
from arbiter.pool.instance import State
from arbiter.refs import parse_task


async def test_a_hang_up_frees_the_slot_and_is_no_fault_of_the_model(tmp_path: Path) -> None:
    engine = always([Say("one "), Hold(asyncio.Event()), Say("two")])
    async with stage(tmp_path / "data", engine=engine, pool__slots=1) as play:
        await add_slow(play)
        async with play.house.dispatch.answer(asked("slow")) as reply:
            decision = reply.decided.decision
        assert engine.runners[0].in_flight == 0
        record = await play.house.record(decision)
        assert record.outcome is not None
        assert record.outcome.status is Status.CANCELLED
        assert play.house.profiles.get(reply.decided.version, parse_task("general")).samples == 0


async def test_a_hang_up_before_the_first_token_leaves_the_queue(tmp_path: Path) -> None:
    gate = asyncio.Event()
    engine = always([Hold(gate), Say("one")])
    async with stage(tmp_path / "data", engine=engine, pool__slots=1) as play:
        await add_slow(play)

        async def client() -> None:
            async with play.house.dispatch.answer(asked("slow")) as reply:
                assert [c async for c in reply.chunks()]

        first, second = asyncio.create_task(client()), asyncio.create_task(client())
        while not engine.runners or not engine.runners[0].in_flight:
            await play.house.database.settle()
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        (view,) = play.house.pool.views()
        assert (view.leases, view.waiting) == (1, 0)
        gate.set()
        await first


async def test_an_unload_waits_for_the_answer_that_runs_and_the_next_request_loads_again(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    engine = always([Say("one "), Hold(gate), Say("two")])
    async with stage(tmp_path / "data", engine=engine) as play:
        await add_slow(play)
        version = play.house.registry.resolve(name("slow")).version
        async with play.house.dispatch.answer(asked("slow")) as reply:
            unloading = asyncio.create_task(play.house.pool.unload(version, reason="test"))
            while play.house.pool.states()[version] is not State.DRAINING:
                await play.house.database.settle()
            late = asyncio.create_task(said(play, "slow"))
            await play.house.database.settle()
            gate.set()
            text = "".join([c.text async for c in reply.chunks() if isinstance(c, Delta)])
        assert text == "one two"
        assert await unloading
        assert await late == "one two"
        assert len(engine.loads) == 2
        assert not any(runner.unloaded_while_serving for runner in engine.runners)
        assert not any(runner.generated_after_unload for runner in engine.runners)


async def test_many_first_requests_cause_one_load(tmp_path: Path) -> None:
    gate = asyncio.Event()
    engine = Scripted(reply=lambda _: [Say("yes")], load_gate=gate)
    async with stage(tmp_path / "data", engine=engine) as play:
        await add_slow(play)
        asking = [asyncio.create_task(said(play, "slow", f"q{n}")) for n in range(20)]
        await play.house.database.settle()
        gate.set()
        assert await asyncio.gather(*asking) == ["yes"] * 20
        assert len(engine.loads) == 1


async def test_one_client_that_hangs_up_does_not_cancel_the_load_of_the_others(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    engine = Scripted(reply=lambda _: [Say("yes")], load_gate=gate)
    async with stage(tmp_path / "data", engine=engine) as play:
        await add_slow(play)
        first = asyncio.create_task(said(play, "slow"))
        second = asyncio.create_task(said(play, "slow"))
        while not engine.loads:
            await play.house.database.settle()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        gate.set()
        assert await second == "yes"
        assert len(engine.loads) == 1


async def test_two_models_that_do_not_fit_together_both_finish(tmp_path: Path) -> None:
    engine = Scripted(reply=lambda _: [Say("yes")])
    async with stage(tmp_path / "data", engine=engine, pool__memory_mb=60.0) as play:
        for title in ("one", "two", "three"):
            await play.house.admission.register(play.script(title, {title: 1.0}), name(title))
        titles = ["one", "two", "three", "two", "one"]
        assert await asyncio.gather(*(said(play, title) for title in titles)) == ["yes"] * 5
        states = list(play.house.pool.states().values())
        assert states.count(State.READY) == 1
        assert not any(runner.unloaded_while_serving for runner in engine.runners)


async def test_an_instance_that_dies_before_the_first_byte_is_replaced_unnoticed(
    tmp_path: Path,
) -> None:
    deaths = iter([True, True, False])

    def reply(request: Generation) -> Iterable[Step]:
        del request
        return [Die()] if next(deaths) else [Say("yes")]

    engine = Scripted(reply=reply)
    async with stage(tmp_path / "data", engine=engine) as play:
        await add_slow(play)
        asking = asyncio.create_task(said(play, "slow"))
        while not asking.done():
            await play.house.database.settle()
            play.clock.jump(5.0)
        assert await asking == "yes"
        assert len(engine.loads) == 3


async def test_an_instance_that_dies_in_the_middle_cuts_the_stream_and_is_not_retried(
    tmp_path: Path,
) -> None:
    engine = always([Say("one "), Die("boom")])
    async with stage(tmp_path / "data", engine=engine) as play:
        await add_slow(play)
        with pytest.raises(StreamCut):
            await said(play, "slow")
        assert len(engine.loads) == 1


async def test_a_load_that_fails_says_so_and_backs_off(tmp_path: Path) -> None:
    engine = Scripted(fail_load="no room")
    async with stage(tmp_path / "data", engine=engine) as play:
        await add_slow(play)
        for _ in range(3):
            with pytest.raises(LoadFailed, match="no room"):
                await said(play, "slow")
        assert len(engine.loads) == 1
        play.clock.jump(2.0)
        engine.fail_load = None
        assert await said(play, "slow") == "no"


async def test_beyond_the_bound_a_request_is_told_to_come_again(tmp_path: Path) -> None:
    gate = asyncio.Event()
    engine = always([Hold(gate), Say("yes")])
    async with stage(tmp_path / "data", engine=engine, pool__slots=1, pool__queue=2) as play:
        await add_slow(play)
        asking = [asyncio.create_task(said(play, "slow", f"q{n}")) for n in range(3)]
        while sum(view.waiting + view.leases for view in play.house.pool.views()) < 3:
            await play.house.database.settle()
        with pytest.raises(Busy, match="2 requests wait"):
            await said(play, "slow", "one too many")
        gate.set()
        assert await asyncio.gather(*asking) == ["yes"] * 3


async def test_a_house_that_closes_lets_answers_end_and_takes_no_new_ones(tmp_path: Path) -> None:
    gate = asyncio.Event()
    engine = always([Say("one "), Hold(gate), Say("two")])
    async with stage(tmp_path / "data", engine=engine) as play:
        await add_slow(play)
        running = asyncio.create_task(said(play, "slow"))
        while not engine.runners or not engine.runners[0].in_flight:
            await play.house.database.settle()
        play.house.dispatch.close()
        with pytest.raises(ShuttingDown):
            await said(play, "slow")
        closing = asyncio.create_task(play.house.pool.close())
        await play.house.database.settle()
        gate.set()
        assert await running == "one two"
        await closing
        assert not engine.runners[0].unloaded_while_serving


async def test_a_rehearsal_waits_where_a_client_would_be_sent_away(tmp_path: Path) -> None:
    async with stage(tmp_path / "data", pool__slots=1, pool__queue=1) as play:
        await play.house.admission.add_task(task("chat"))
        await play.add("wren", {"chat": 1.0})
        version = play.house.registry.resolve(name("wren")).version
        assert play.house.profiles.get(version, parse_task("chat")).success_rate == 1.0


async def test_a_request_that_waited_too_long_for_a_slot_is_told_to_come_again(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    engine = always([Hold(gate), Say("yes")])
    async with stage(tmp_path / "data", engine=engine, pool__slots=1) as play:
        await add_slow(play)
        first = asyncio.create_task(said(play, "slow", "one"))
        while not engine.runners or not engine.runners[0].in_flight:
            await play.house.database.settle()  # or its load would be what takes too long
        second = asyncio.create_task(said(play, "slow", "two"))
        while sum(view.waiting for view in play.house.pool.views()) < 1:
            await play.house.database.settle()
        play.clock.jump(301.0)
        with pytest.raises(Busy, match="No slot became free"):
            await second
        gate.set()
        assert await first == "yes"


async def test_a_runner_that_dies_during_a_drain_leaves_nothing_behind(tmp_path: Path) -> None:
    gate = asyncio.Event()
    engine = always([Say("one "), Hold(gate), Say("two")])
    async with stage(tmp_path / "data", engine=engine) as play:
        await add_slow(play)
        version = play.house.registry.resolve(name("slow")).version
        begun = asyncio.create_task(said(play, "slow"))
        while not engine.runners or not engine.runners[0].in_flight:
            await play.house.database.settle()
        draining = asyncio.create_task(play.house.pool.unload(version, reason="test"))
        await play.house.database.settle()
        engine.runners[0].die("boom")
        late = asyncio.create_task(said(play, "slow", "late"))
        with pytest.raises(StreamCut):
            await begun
        await draining
        gate.set()
        assert await late == "one two"
        assert play.house.pool.states()[version] is State.READY
        assert not engine.runners[-1].unloaded_while_serving


class _Refusing(Scripted):
    """The system refuses the first load: too many open files, say."""

    async def load(self, spec: LoadSpec) -> Runner:
        if not self.loads:
            self.loads.append(spec)
            raise OSError(24, "Too many open files")
        return await super().load(spec)


async def test_a_load_that_the_system_refuses_is_said_and_tried_again(tmp_path: Path) -> None:
    engine = _Refusing(reply=lambda _: [Say("yes")])
    async with stage(tmp_path / "data", engine=engine) as play:
        await add_slow(play)
        with pytest.raises(LoadFailed, match="Too many open files"):
            await said(play, "slow")
        play.clock.jump(2.0)
        assert await said(play, "slow") == "yes"


async def test_a_house_that_gives_up_waiting_ends_a_load_and_leaves_no_runner(
    tmp_path: Path,
) -> None:
    engine = Scripted(reply=lambda _: [Say("yes")], load_gate=asyncio.Event())
    async with stage(tmp_path / "data", engine=engine) as play:
        await add_slow(play)
        asking = asyncio.create_task(said(play, "slow"))
        while not engine.loads:
            await play.house.database.settle()
        await play.house.pool.abandon()
        assert engine.runners == []
        assert set(play.house.pool.states().values()) == {State.COLD}
        await asyncio.gather(asking, return_exceptions=True)
        assert asking.done()
