"""Memory and slots: who is loaded, who leaves, who waits, and what they are told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.story.stage import Memory, Stage, name, stage

from arbiter.cost import Footprint, Method
from arbiter.engines.base import LoadSpec
from arbiter.engines.scripted import Hold, Say, Scripted, Step
from arbiter.errors import Busy, NoRoom, OutOfMemory, StillInUse, StreamCut
from arbiter.events import Event
from arbiter.inference import Ask, Chat, Delta, Generation, Message, Named
from arbiter.pool.instance import State
from arbiter.pool.pool import loadable
from arbiter.pool.shortage import BELIEVED_S
from arbiter.pool.space import AGAIN_S, RECOVERY_S, UNUSED_S
from arbiter.refs import VersionId

ONE_MB, TWO_MB = 60.0, 100.0
"""Memory for so many scripted models: each is planned with little over 40 MB."""
MB = 1_000_000


def _always(*steps: Step) -> Scripted:
    return Scripted(reply=lambda _: steps)


def _held(size_mb: int) -> Callable[[LoadSpec], Footprint]:
    """Every model holds so much for itself."""
    return lambda _: Footprint(
        anonymous_bytes=size_mb * MB, weights_bytes=0, method=Method.MEASURED
    )


async def _add(play: Stage, *titles: str) -> None:
    for title in titles:
        await play.house.admission.register(play.script(title, {title: 1.0}), name(title))


def _id(play: Stage, title: str) -> VersionId:
    return play.house.registry.resolve(name(title)).version


def _state(play: Stage, title: str) -> State | None:
    return play.house.pool.states().get(_id(play, title))


async def _settle(play: Stage) -> None:
    for _ in range(5):
        await play.house.database.settle()


async def _until(play: Stage, seen: Callable[[], bool]) -> None:
    while not seen():
        await play.house.database.settle()


async def _waits(play: Stage, title: str) -> None:
    """Until a model waits for memory: its file is looked at in a thread before that."""
    await _until(play, lambda: play.house.pool.space.waits_for(_id(play, title)) is not None)
    await _settle(play)


def _ask(model: str, text: str, *, caller: str = "local", helper: bool = False) -> Ask:
    return Ask(
        target=Named(name=name(model)),
        work=Chat(messages=(Message(role="user", content=text),)),
        stream=True,
        conversation=text,
        caller=caller,
        helper=helper,
    )


async def _text(
    play: Stage, model: str, text: str = "hello", *, caller: str = "local", helper: bool = False
) -> str:
    asked = _ask(model, text, caller=caller, helper=helper)
    async with play.house.dispatch.answer(asked) as reply:
        return "".join([c.text async for c in reply.chunks() if isinstance(c, Delta)])


def _asking(play: Stage, model: str, text: str, **more: bool) -> asyncio.Task[str]:
    return asyncio.create_task(_text(play, model, text, **more))  # type: ignore[arg-type]  # helper


async def test_different_models_load_at_the_same_time_where_they_fit(tmp_path: Path) -> None:
    engine = Scripted(reply=lambda _: [Say("yes")], load_gate=asyncio.Event())
    async with stage(tmp_path / "data", engine=engine) as play:
        await _add(play, "one", "two")
        asking = [_asking(play, "one", "a"), _asking(play, "two", "b")]
        await _until(play, lambda: len(engine.loads) == 2)
        assert {_state(play, "one"), _state(play, "two")} == {State.LOADING}
        assert engine.load_gate is not None
        engine.load_gate.set()
        assert await asyncio.gather(*asking) == ["yes", "yes"]


async def test_a_model_that_loads_is_never_put_out_by_another(tmp_path: Path) -> None:
    # llama.cpp 25528: a loading model was the victim
    engine = Scripted(reply=lambda _: [Say("yes")], load_gate=asyncio.Event())
    async with stage(tmp_path / "data", engine=engine, pool__memory_mb=ONE_MB) as play:
        await _add(play, "one", "two")
        first = _asking(play, "one", "a")
        await _until(play, lambda: len(engine.loads) == 1)
        second = _asking(play, "two", "b")
        await _waits(play, "two")
        play.clock.jump(60.0)
        await _settle(play)
        assert (_state(play, "one"), len(engine.loads)) == (State.LOADING, 1)
        progress = play.house.pool.progress(_id(play, "two"))
        assert progress is not None
        assert progress.sentence.startswith("waiting for memory for 60 s: 40.")
        assert engine.load_gate is not None
        engine.load_gate.set()
        assert [await first, await second] == ["yes", "yes"]


async def test_a_model_in_use_all_the_time_makes_way_after_a_turn_and_nobody_is_cut(
    tmp_path: Path,
) -> None:
    # nobody starves: without turns, a queue that never empties would hold its memory for ever
    gate = asyncio.Event()
    engine = _always(Hold(gate), Say("yes"))
    async with stage(
        tmp_path / "data", engine=engine, pool__memory_mb=ONE_MB, pool__slots=1
    ) as play:
        await _add(play, "one", "two")
        ones = [_asking(play, "one", f"a{n}") for n in range(3)]
        await _until(play, lambda: any(r.in_flight for r in engine.runners))
        two = _asking(play, "two", "b")
        await _waits(play, "two")
        play.clock.jump(29.0)
        await _settle(play)
        assert _state(play, "one") is State.READY
        play.clock.jump(2.0)
        await _until(play, lambda: _state(play, "one") is State.DRAINING)
        assert engine.runners[0].in_flight == 1
        gate.set()
        assert await asyncio.gather(*ones, two) == ["yes"] * 4
        order = [spec.version for spec in engine.loads]
        assert order == [_id(play, "one"), _id(play, "two"), _id(play, "one")]
        assert not any(runner.unloaded_while_serving for runner in engine.runners)


async def test_who_came_during_a_drain_has_a_turn_too(tmp_path: Path) -> None:
    gates = {"one": asyncio.Event(), "two": asyncio.Event()}

    def reply(request: Generation) -> Iterable[Step]:
        assert isinstance(request.work, Chat)
        return [Hold(gates[request.work.messages[0].content[:3]]), Say("yes")]

    engine = Scripted(reply=reply)
    async with stage(tmp_path / "data", engine=engine, pool__memory_mb=ONE_MB) as play:
        await _add(play, "one", "two")
        first = _asking(play, "one", "one first")
        await _until(play, lambda: any(r.in_flight for r in engine.runners))
        two = _asking(play, "two", "two")
        await _waits(play, "two")
        play.clock.jump(31.0)
        await _until(play, lambda: _state(play, "one") is State.DRAINING)
        late = _asking(play, "one", "one late")
        await _settle(play)
        gates["one"].set()
        await _until(play, lambda: _state(play, "two") is State.READY)
        await _waits(play, "one")
        play.clock.jump(31.0)
        await _until(play, lambda: _state(play, "two") is State.DRAINING)
        gates["two"].set()
        assert [await first, await two, await late] == ["yes"] * 3


async def test_the_houses_own_work_ends_nobodys_turn(tmp_path: Path) -> None:
    gate = asyncio.Event()
    engine = _always(Hold(gate), Say("yes"))
    async with stage(tmp_path / "data", engine=engine, pool__memory_mb=ONE_MB) as play:
        await _add(play, "one", "two")
        begun = _asking(play, "one", "a")
        await _until(play, lambda: any(r.in_flight for r in engine.runners))
        two = loadable(play.house.registry.resolve(name("two")))
        warming = asyncio.create_task(play.house.pool.warm(two))
        await _waits(play, "two")
        for _ in range(2):
            play.clock.jump(100.0)
            await _settle(play)
        assert _state(play, "one") is State.READY
        gate.set()
        assert await begun == "yes"
        await warming
        assert not any(runner.unloaded_while_serving for runner in engine.runners)


async def test_requests_for_the_same_model_are_served_together_before_another_is_loaded(
    tmp_path: Path,
) -> None:
    # llama-swap 612, Lemonade 2725: two models evict each other at every request
    engine = _always(Say("yes"))
    async with stage(tmp_path / "data", engine=engine, pool__memory_mb=ONE_MB) as play:
        await _add(play, "one", "two")
        both = [_asking(play, title, f"{title}{n}") for n in range(10) for title in ("one", "two")]
        assert await asyncio.gather(*both) == ["yes"] * 20
        assert len(engine.loads) == 2


async def test_what_a_person_loaded_stays_for_a_moment_though_nobody_asked_yet(
    tmp_path: Path,
) -> None:
    engine = _always(Say("yes"))
    async with stage(tmp_path / "data", engine=engine, pool__memory_mb=ONE_MB) as play:
        await _add(play, "one", "two")
        await play.house.pool.warm(loadable(play.house.registry.resolve(name("one"))))
        two = _asking(play, "two", "b")
        await _waits(play, "two")
        assert _state(play, "one") is State.READY
        play.clock.jump(11.0)
        assert await two == "yes"


async def test_a_large_model_that_waited_for_a_turn_is_not_passed_by_small_ones_for_ever(
    tmp_path: Path,
) -> None:
    sizes = {"big": 90, "small": 40, "tiny": 40, "other": 40}
    gate = asyncio.Event()
    gate.set()
    engine = Scripted(
        reply=lambda _: [Hold(gate), Say("yes")],
        holds=lambda spec: _held(sizes[spec.path.stem])(spec),
    )
    async with stage(tmp_path / "data", engine=engine, pool__memory_mb=TWO_MB) as play:
        await _add(play, *sizes)
        for title in ("big", "small", "tiny", "other"):
            await _text(play, title)  # from now on it is known what each holds
        gate.clear()
        await play.house.pool.unload(_id(play, "tiny"), reason="test")
        await play.house.pool.unload(_id(play, "other"), reason="test")
        first = _asking(play, "small", "a")
        await _until(play, lambda: any(r.in_flight for r in engine.runners))
        big = _asking(play, "big", "b")
        await _waits(play, "big")
        play.clock.jump(31.0)
        await _until(play, lambda: _state(play, "small") is State.DRAINING)
        late = _asking(play, "tiny", "c")
        await _waits(play, "tiny")
        play.clock.jump(5.0)
        await _settle(play)
        assert _state(play, "tiny") is State.LOADING
        assert play.house.pool.space.waits_for(_id(play, "tiny"))
        gate.set()
        assert await first == "yes"
        assert await big == "yes"
        assert await late == "yes"
        assert [spec.path.stem for spec in engine.loads][-2:] == ["big", "tiny"]


async def test_what_is_pinned_is_never_evicted_and_a_load_that_cannot_be_says_why(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path / "data", engine=_always(Say("yes")), pool__memory_mb=ONE_MB) as play:
        await _add(play, "one", "two")
        with play.house.announcer.listening() as listener:
            await play.house.pool.pin(name("one"), None)
            await play.house.pool.keep_pinned()
            heard = [await anext(aiter(listener.stream())) for _ in range(3)]
        assert [event.kind for event in heard] == ["pin.set", "instance.loading", "instance.ready"]
        with pytest.raises(NoRoom, match=r"40\.\d MB needed, 20\.0 MB free beside what is pinned"):
            await _text(play, "two")
        assert _state(play, "one") is State.READY
        assert await play.house.pool.unpin(name("one"))
        assert not await play.house.pool.unpin(name("one"))
        play.clock.jump(11.0)
        assert await _text(play, "two") == "yes"


async def test_a_pin_outlives_a_restart_follows_its_name_and_ends_at_its_date(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path / "data", engine=_always(Say("yes"))) as play:
        await _add(play, "one", "two")
        await play.alias("primary", "one")
        until = play.clock.now() + timedelta(hours=1)
        await play.house.pool.pin(name("primary"), until)
    async with stage(tmp_path / "data", engine=_always(Say("yes"))) as play:
        play.house.watch.look()
        await _until(play, lambda: _state(play, "one") is State.READY)
        await play.alias("primary", "two")
        play.house.watch.look()
        await _until(play, lambda: _state(play, "two") is State.READY)
        pinned = {view.version for view in play.house.pool.views() if view.is_pinned}
        assert pinned == {_id(play, "two")}
        play.clock.jump(3601.0)
        with play.house.announcer.listening() as listener:
            await play.house.pool.keep_pinned()
            heard: Event = await anext(aiter(listener.stream()))
        assert (heard.kind, heard.detail["reason"]) == ("pin.removed", "its date has passed")
        assert not play.house.pool.pins.all()


async def test_when_other_programs_need_memory_the_idle_leave_and_the_busy_stay(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    memory = Memory(total=10_000 * MB, available=10_000 * MB)
    engine = Scripted(reply=lambda _: [Say("a"), Hold(gate), Say("b")], holds=_held(100))
    async with stage(
        tmp_path / "data", engine=engine, memory=memory, pool__headroom_mb=500.0
    ) as play:
        await _add(play, "idle", "busy")
        gate.set()
        await _text(play, "idle")
        gate.clear()
        begun = _asking(play, "busy", "b")
        await _until(play, lambda: any(r.in_flight for r in engine.runners))
        play.house.watch.look()
        await _settle(play)
        assert _state(play, "idle") is State.READY
        memory.available = 450 * MB
        with play.house.announcer.listening() as listener:
            play.house.watch.look()
            heard = await anext(aiter(listener.stream()))
        assert heard.kind == "instance.draining"
        assert heard.detail["reason"] == (
            "evicted: models hold 50.0 MB more than there is for them now"
        )
        await _until(play, lambda: _state(play, "idle") is State.COLD)
        play.house.watch.look()
        await _settle(play)
        assert _state(play, "busy") is State.READY
        gate.set()
        assert await begun == "ab"


async def test_a_load_waits_until_the_memory_of_whoever_left_is_really_back(
    tmp_path: Path,
) -> None:
    # llama.cpp 23668, 20582: the next load began before the last one's memory was free
    memory = Memory(total=10_000 * MB, available=1_000 * MB)
    engine = Scripted(reply=lambda _: [Say("yes")], holds=_held(300))
    async with stage(
        tmp_path / "data",
        engine=engine,
        memory=memory,
        pool__headroom_mb=0.0,
        pool__memory_mb=500.0,
    ) as play:
        await _add(play, "one", "two")
        await _text(play, "two")  # from now on it is known what it holds
        await play.house.pool.unload(_id(play, "two"), reason="test")
        await _text(play, "one")
        memory.available = 100 * MB  # `one` holds 300 of what there is
        two = _asking(play, "two", "b")
        await _until(play, lambda: _state(play, "one") is State.COLD)
        why = "memory that was freed is not back yet"
        await _until(play, lambda: play.house.pool.space.waits_for(_id(play, "two")) == why)
        await _settle(play)
        assert len(engine.loads) == 2
        memory.available = 400 * MB
        play.clock.jump(1.0)
        assert await two == "yes"


async def test_what_was_measured_to_need_more_than_others_leave_is_refused_with_the_numbers(
    tmp_path: Path,
) -> None:
    memory = Memory(total=10_000 * MB, available=1_000 * MB)
    engine = Scripted(reply=lambda _: [Say("yes")], holds=_held(300))
    async with stage(
        tmp_path / "data", engine=engine, memory=memory, pool__headroom_mb=0.0
    ) as play:
        await _add(play, "one")
        await _text(play, "one")
        await play.house.pool.unload(_id(play, "one"), reason="test")
        memory.available = 200 * MB
        play.clock.jump(RECOVERY_S + 1.0)
        with pytest.raises(NoRoom, match=r"measured to need 300 MB.* leave 200 MB"):
            await _text(play, "one")
        memory.available = 400 * MB
        assert await _text(play, "one") == "yes"


async def test_a_load_that_ran_out_of_memory_is_not_tried_again_with_as_little(
    tmp_path: Path,
) -> None:
    memory = Memory(total=10_000 * MB, available=300 * MB)
    words = "8 layers\ncudaMalloc failed: out of memory"
    engine = Scripted(reply=lambda _: [Say("yes")], fail_load=words, holds=_held(200))
    async with stage(
        tmp_path / "data", engine=engine, memory=memory, pool__headroom_mb=0.0
    ) as play:
        await _add(play, "one")
        with pytest.raises(OutOfMemory, match="8 layers\ncudaMalloc failed"):
            await _text(play, "one")
        one = loadable(play.house.registry.resolve(name("one")))
        assert play.house.pool.predicted_bytes(one) == (300 * MB + 1, False)
        (view,) = play.house.pool.views()
        assert (view.too_little_bytes, view.measured_bytes) == ({"host": 300 * MB}, None)
        play.clock.jump(5.0)
        with pytest.raises(NoRoom, match=r"ran out of memory with 300 MB .* now there are 300 MB"):
            await _text(play, "one")
        assert len(engine.loads) == 1
        engine.fail_load = None
        memory.available = 400 * MB
        assert await _text(play, "one") == "yes"
        assert play.house.pool.predicted_bytes(one) == (200 * MB, True)


async def test_what_ran_out_of_memory_has_more_room_made_for_it_the_next_time(
    tmp_path: Path,
) -> None:
    memory = Memory(total=10_000 * MB, available=1_000 * MB)
    engine = Scripted(reply=lambda _: [Say("yes")], holds=_held(300))
    async with stage(
        tmp_path / "data", engine=engine, memory=memory, pool__headroom_mb=0.0
    ) as play:
        await _add(play, "one", "two")
        await _text(play, "two")
        memory.available = 700 * MB
        engine.fail_load = "std::bad_alloc"
        with pytest.raises(OutOfMemory):
            await _text(play, "one")
        engine.fail_load = None
        play.clock.jump(11.0)
        asking = _asking(play, "one", "a")
        await _until(play, lambda: _state(play, "two") is State.COLD)
        memory.available = 1_000 * MB
        play.clock.jump(1.0)
        assert await asking == "yes"


async def test_after_a_while_what_ran_out_of_memory_is_tried_all_the_same(tmp_path: Path) -> None:
    memory = Memory(total=10_000 * MB, available=300 * MB)
    engine = Scripted(reply=lambda _: [Say("yes")], fail_load="std::bad_alloc")
    async with stage(
        tmp_path / "data", engine=engine, memory=memory, pool__headroom_mb=0.0
    ) as play:
        await _add(play, "one")
        with pytest.raises(OutOfMemory):
            await _text(play, "one")
        play.clock.jump(BELIEVED_S[0] - 1.0)
        with pytest.raises(NoRoom):
            await _text(play, "one")
        play.clock.jump(1.0)
        with pytest.raises(OutOfMemory):
            await _text(play, "one")
        play.clock.jump(BELIEVED_S[0])
        with pytest.raises(NoRoom, match="in 20 minutes"):
            await _text(play, "one")


async def test_a_footprint_is_learned_here_and_what_another_host_measured_counts_nothing(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path / "data", engine=Scripted(holds=_held(70))) as play:
        await _add(play, "one")
        version = loadable(play.house.registry.resolve(name("one")))
        guess, is_measured = play.house.pool.predicted_bytes(version)
        assert (guess or 0) > 40 * MB
        assert not is_measured
        await play.house.pool.warm(version)
        assert play.house.pool.predicted_bytes(version) == (70 * MB, True)
        (view,) = play.house.pool.views()
        assert (view.predicted_bytes, view.measured_bytes) == (guess, 70 * MB)
        await play.house.database.settle()
        rows = await play.house.database.read("list_footprints", ("another host",))
        assert list(rows) == []
    async with stage(tmp_path / "data", engine=Scripted(), pool__context=512) as play:
        again = loadable(play.house.registry.resolve(name("one")))
        assert play.house.pool.predicted_bytes(again) == (guess, False)
    async with stage(tmp_path / "data", engine=Scripted(holds=_held(20))) as play:
        again = loadable(play.house.registry.resolve(name("one")))
        assert play.house.pool.predicted_bytes(again) == (70 * MB, True)
        await play.house.pool.warm(again)
        assert play.house.pool.predicted_bytes(again) == (63 * MB, True)


async def test_a_helper_puts_out_nobody_whom_people_use(tmp_path: Path) -> None:
    engine = _always(Say("yes"))
    async with stage(tmp_path / "data", engine=engine, pool__memory_mb=ONE_MB) as play:
        await _add(play, "main", "judge")
        await _text(play, "main")
        judged = _asking(play, "judge", "b", helper=True)
        await _waits(play, "judge")
        play.clock.jump(100.0)
        await _settle(play)
        assert _state(play, "main") is State.READY
        play.clock.jump(201.0)
        with pytest.raises(
            Busy, match=r"No memory became free for it in 300 s: 40\.\d MB needed, "
        ):
            await judged
        play.clock.jump(UNUSED_S)
        assert await _text(play, "judge", helper=True) == "yes"


async def test_keys_have_a_slot_in_turn_however_much_one_of_them_asks(tmp_path: Path) -> None:
    gate, order = asyncio.Event(), list[str]()

    def reply(request: Generation) -> Iterable[Step]:
        assert isinstance(request.work, Chat)
        order.append(request.work.messages[0].content)
        return [Hold(gate), Say("yes")]

    engine = Scripted(reply=reply)
    async with stage(tmp_path / "data", engine=engine, pool__slots=1) as play:
        await _add(play, "one")
        many = [asyncio.create_task(_text(play, "one", f"a{n}", caller="a")) for n in range(4)]
        await _until(play, lambda: any(r.in_flight for r in engine.runners))
        few = [asyncio.create_task(_text(play, "one", f"b{n}", caller="b")) for n in range(2)]
        await _until(play, lambda: sum(view.waiting for view in play.house.pool.views()) == 5)
        (view,) = play.house.pool.views()
        assert view.waiting_by == {"a": 3, "b": 2}
        gate.set()
        await asyncio.gather(*many, *few)
        assert order == ["a0", "a1", "b0", "a2", "b1", "a3"]


async def test_an_unload_that_takes_too_long_is_refused_and_one_that_cuts_ends_answers(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    engine = _always(Say("one "), Hold(gate), Say("two"))
    async with stage(tmp_path / "data", engine=engine) as play:
        await _add(play, "one")
        begun = _asking(play, "one", "a")
        await _until(play, lambda: any(r.in_flight for r in engine.runners))
        unloading = asyncio.create_task(play.house.pool.unload(_id(play, "one"), reason="test"))
        await _until(play, lambda: _state(play, "one") is State.DRAINING)
        await _settle(play)
        play.clock.jump(601.0)
        with pytest.raises(StillInUse, match="1 answers still run after 600 s"):
            await unloading
        assert (_state(play, "one"), begun.done()) == (State.READY, False)
        assert await play.house.pool.unload(_id(play, "one"), reason="test", cut=True)
        with pytest.raises(StreamCut):
            await begun


async def test_a_queue_that_stands_still_is_told_and_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # ollama 17408: a scheduler stood still for hours while everything looked well
    gate = asyncio.Event()
    engine = _always(Hold(gate), Say("yes"))
    async with stage(tmp_path / "data", engine=engine, pool__slots=1) as play:
        await _add(play, "one")
        first = _asking(play, "one", "a")
        await _until(play, lambda: any(r.in_flight for r in engine.runners))
        second = _asking(play, "one", "b")
        await _until(play, lambda: sum(view.waiting for view in play.house.pool.views()) == 1)
        play.house.watch.look()
        play.house.watch.look()
        assert play.house.watch.stuck == ()
        tenant = play.house.pool._tenants[_id(play, "one")]
        tenant.instance.turns.free += 1  # a fault, planted
        with (
            play.house.announcer.listening() as listener,
            caplog.at_level(logging.ERROR, logger="arbiter.pool"),
        ):
            play.house.watch.look()
            play.house.watch.look()
            heard = await anext(aiter(listener.stream()))
        assert (heard.kind, heard.detail["reason"]) == (
            "pool.stuck",
            "1 requests wait although 1 slots are free",
        )
        assert "stands still" in caplog.text
        gate.set()
        assert [await first, await second] == ["yes", "yes"]
        play.house.watch.look()
        assert play.house.watch.stuck == ()


async def test_who_waited_for_memory_and_hung_up_has_nothing_loaded_for_him(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    engine = _always(Hold(gate), Say("yes"))
    async with stage(tmp_path / "data", engine=engine, pool__memory_mb=ONE_MB) as play:
        await _add(play, "one", "two")
        first = _asking(play, "one", "a")
        await _until(play, lambda: any(r.in_flight for r in engine.runners))
        second = _asking(play, "two", "b")
        await _until(play, lambda: _state(play, "two") is State.LOADING)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        gate.set()
        assert await first == "yes"
        await _settle(play)
        play.clock.jump(AGAIN_S)
        await _settle(play)
        assert (_state(play, "one"), _state(play, "two")) == (State.READY, State.COLD)
        assert len(engine.loads) == 1


async def test_options_that_would_have_made_another_server_load_again_are_counted(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path / "data", engine=_always(Say("yes"))) as play:
        await _add(play, "one")
        for options in ((), (("num_ctx", "8192"),), (), ()):
            asked = Ask(
                target=Named(name=name("one")),
                work=Chat(messages=(Message(role="user", content="hello"),)),
                conversation="c",
                load_options=options,
            )
            async with play.house.dispatch.answer(asked) as reply:
                assert [chunk async for chunk in reply.chunks()]
        (view,) = play.house.pool.views()
        assert (view.reloads_avoided, view.loads) == (2, 1)


async def test_a_name_with_a_priority_leaves_after_one_without(tmp_path: Path) -> None:
    async with stage(
        tmp_path / "data",
        engine=_always(Say("yes")),
        pool__memory_mb=TWO_MB,
        pool__priorities={"one": 1},
    ) as play:
        await _add(play, "one", "two", "three")
        await _text(play, "one")
        play.clock.jump(100.0)
        await _text(play, "two")
        await _text(play, "three")
        assert (_state(play, "one"), _state(play, "two")) == (State.READY, State.COLD)
