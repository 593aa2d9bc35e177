"""Several instances of one version on this machine: who is asked, and what one does to another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.story.houses import settings
from tests.story.pooled import ONE_MB, THREE_MB, TWO_MB, add, settle, until, version_of
from tests.story.stage import Stage, name, stage

from arbiter.config import Settings
from arbiter.engines.scripted import Die, Hold, Say, Scripted, Step
from arbiter.errors import ConfigError, NoRoom
from arbiter.inference import Generation
from arbiter.pool.breaker import FAILURES, Sign
from arbiter.pool.health import Health
from arbiter.pool.instance import State
from arbiter.pool.pool import loadable

TWO = {"one": 2}
LONG = "Tell me all that you know of herons, please. " * 4


async def _said(play: Stage, text: str = "hello", *, model: str = "one") -> str:
    return (await play.house.ask(text, model=model)).text


def _asking(play: Stage, text: str = "hello", *, model: str = "one") -> asyncio.Task[str]:
    return asyncio.create_task(_said(play, text, model=model))


def _states(play: Stage, title: str = "one") -> list[State]:
    version = version_of(play, title)
    return [view.state for view in play.house.pool.views() if view.version == version]


async def _both_loaded(play: Stage, title: str = "one") -> None:
    await play.house.pool.warm(
        loadable(play.house.registry.version(version_of(play, title))), count=2
    )
    assert _states(play, title) == [State.READY, State.READY]
    play.clock.jump(60.0)  # no slow start


@asynccontextmanager
async def _two(folder: Path, engine: Scripted | None = None, **more: Any) -> AsyncIterator[Stage]:
    """A house with a model of which two instances are loaded."""
    how = {"pool__instances": TWO, **more}
    async with stage(folder / "data", engine=engine or _yes(), **how) as play:
        await add(play, "one")
        await _both_loaded(play)
        yield play


def _yes() -> Scripted:
    return Scripted(reply=lambda _: [Say("yes")])


class _Held:
    """Answers that are held up until a story lets them go, and who gave them."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    def engine(self) -> Scripted:
        return Scripted(reply=self._reply)

    def _reply(self, _: Generation) -> Iterable[Step]:
        return [Hold(self.gate), Say("yes")]


def _in_flight(play: Stage) -> list[int]:
    return [runner.in_flight for runner in play.engine.runners]


async def test_one_more_is_loaded_when_every_slot_is_taken_and_serves_who_waited(
    tmp_path: Path,
) -> None:
    held = _Held()
    async with stage(
        tmp_path / "data", engine=held.engine(), pool__instances=TWO, pool__slots=1
    ) as play:
        await add(play, "one")
        first = _asking(play)
        await until(play, lambda: _in_flight(play) == [1])
        assert len(_states(play)) == 2
        assert _states(play)[1] is State.COLD
        second = _asking(play)
        await until(play, lambda: _in_flight(play) == [1, 1])
        held.gate.set()
        assert [await first, await second] == ["yes", "yes"]
        assert [view.number for view in play.house.pool.views()] == [1, 2]
        assert {view.most for view in play.house.pool.views()} == {2}


async def test_a_version_of_which_nobody_said_more_has_one_instance(tmp_path: Path) -> None:
    held = _Held()
    async with stage(tmp_path / "data", engine=held.engine(), pool__slots=1) as play:
        await add(play, "one")
        asking = [_asking(play) for _ in range(3)]
        await until(play, lambda: _in_flight(play) == [1])
        await settle(play)
        assert len(play.house.pool.views()) == 1
        held.gate.set()
        assert await asyncio.gather(*asking) == ["yes"] * 3


async def test_requests_are_shared_out_and_a_conversation_goes_back_to_its_cache(
    tmp_path: Path,
) -> None:
    asked: list[tuple[int, str]] = []

    async with _two(tmp_path, pool__slots=4) as play:
        for text in (f"{n} {LONG}" for n in range(8)):
            before = [runner.spec for runner in play.engine.runners]
            assert len(before) == 2
            was = {v.number: v.leases for v in play.house.pool.views()}
            assert was == {1: 0, 2: 0}
            reply = await play.house.ask(text, model="one")
            siblings = play.house.pool.siblings(version_of(play))
            assert siblings is not None
            assert siblings.last is not None
            first = siblings.last.id
            assert reply.text == "yes"
            await play.house.ask(text, model="one")
            assert siblings.last.id == first
            assert siblings.last.reason == f"it has seen {len(text)} characters of this prompt"
            asked.append((len(first), text))
        assert len({length for length, _ in asked}) == 2  # both have some conversations


async def test_the_death_of_one_takes_only_itself_out_and_no_request_is_lost(
    tmp_path: Path,
) -> None:
    held = _Held()
    async with _two(tmp_path, held.engine(), pool__slots=4) as play:
        asking = [_asking(play, f"question {n}") for n in range(6)]
        await until(play, lambda: _in_flight(play) == [3, 3])
        play.engine.runners[0].die()
        await until(play, lambda: _in_flight(play)[1] == 4)
        held.gate.set()
        assert await asyncio.gather(*asking) == ["yes"] * 6
        assert _states(play)[1] is State.READY
        assert play.engine.runners[1].unloads == 0


async def test_what_fails_at_one_instance_before_its_first_byte_is_answered_by_the_other(
    tmp_path: Path,
) -> None:
    deaths = iter([True])

    def reply(_: Generation) -> Iterable[Step]:
        return [Die("killed")] if next(deaths, False) else [Say("yes")]

    async with _two(tmp_path, Scripted(reply=reply), pool__slots=2) as play:
        assert await _said(play) == "yes"
        assert sorted(_states(play)) == [State.FAILED, State.READY]
        assert len(play.engine.loads) == 2  # nobody waited for a load


async def test_an_instance_that_cannot_be_loaded_does_not_take_the_others_requests(
    tmp_path: Path,
) -> None:
    held = _Held()
    async with stage(
        tmp_path / "data", engine=held.engine(), pool__instances=TWO, pool__slots=1
    ) as play:
        await add(play, "one")
        first = _asking(play)
        await until(play, lambda: _in_flight(play) == [1])
        play.engine.fail_load = "no"
        second = _asking(play)
        await until(play, lambda: _states(play)[1] is State.FAILED)
        held.gate.set()
        assert [await first, await second] == ["yes", "yes"]
        assert len(play.engine.loads) == 2


async def test_one_is_drained_while_the_other_serves_and_who_waits_there_goes_on_there(
    tmp_path: Path,
) -> None:
    held = _Held()
    async with _two(tmp_path, held.engine(), pool__slots=2) as play:
        asking = [_asking(play, f"question {n}") for n in range(6)]
        await until(play, lambda: _in_flight(play) == [2, 2])
        unloading = asyncio.create_task(
            play.house.pool.unload(version_of(play), reason="test", number=1)
        )
        await until(play, lambda: _states(play)[0] is State.DRAINING)
        await until(play, lambda: [v.waiting for v in play.house.pool.views()] == [0, 2])
        assert not unloading.done()
        held.gate.set()
        assert await asyncio.gather(*asking) == ["yes"] * 6
        assert await unloading
        assert _states(play) == [State.COLD, State.READY]
        assert not any(runner.unloaded_while_serving for runner in play.engine.runners)


async def test_other_settings_load_one_after_the_other_and_somebody_serves_all_the_time(
    tmp_path: Path,
) -> None:
    changed: dict[str, object] = {}

    def reread() -> Settings:
        return settings(tmp_path / "data", pool__instances=TWO, pool__look_s=0.0, **changed)

    seen: list[list[State]] = []

    def are_new() -> bool:
        seen.append(_states(play))
        return len(engine.loads) == 4

    engine = _yes()
    async with _two(tmp_path, engine, reread=reread) as play:
        changed["pool__slots"] = 2
        reloaded = await play.house.reloading.reload()
        assert reloaded.loaded_again == (version_of(play),)
        await until(play, are_new)
        await until(play, lambda: _states(play) == [State.READY, State.READY])
        assert all(State.READY in states for states in seen)
        assert [spec.slots for spec in engine.loads] == [4, 4, 2, 2]
        assert await _said(play) == "yes"


async def test_fewer_instances_by_the_settings_means_that_one_is_drained_and_forgotten(
    tmp_path: Path,
) -> None:
    counts = iter([1, 2])

    def reread() -> Settings:
        return settings(tmp_path / "data", pool__instances={"one": next(counts)}, pool__look_s=0.0)

    async with stage(
        tmp_path / "data",
        engine=_yes(),
        reread=reread,
        pool__instances=TWO,
    ) as play:
        await add(play, "one")
        await _both_loaded(play)
        await play.house.reloading.reload()
        await until(play, lambda: _states(play) == [State.READY])
        await play.house.reloading.reload()
        await _both_loaded(play)


async def test_one_more_leaves_memory_before_the_last_of_a_version_and_before_it_is_missed(
    tmp_path: Path,
) -> None:
    async with stage(
        tmp_path / "data",
        engine=_yes(),
        pool__instances={"two": 2},
        pool__memory_mb=THREE_MB,
    ) as play:
        await add(play, "one", "two", "three")
        await _said(play, model="one")
        play.clock.jump(60.0)
        await _both_loaded(play, "two")
        for _ in range(20):
            await _said(play, model="two")
        await _said(play, model="three")
        assert _states(play, "one") == [State.READY]
        assert _states(play, "two") == [State.READY, State.COLD]


async def test_one_more_never_puts_out_a_model_that_was_asked_for_lately(tmp_path: Path) -> None:
    held = _Held()
    async with stage(
        tmp_path / "data",
        engine=held.engine(),
        pool__instances={"two": 2},
        pool__memory_mb=TWO_MB,
        pool__slots=1,
    ) as play:
        await add(play, "one", "two")
        held.gate.set()
        await _said(play, model="one")
        held.gate.clear()
        asking = [_asking(play, model="two") for _ in range(3)]
        await until(play, lambda: _in_flight(play) == [0, 1])
        await settle(play)
        assert _states(play, "one") == [State.READY]
        assert _states(play, "two") == [State.READY, State.COLD]
        held.gate.set()
        assert await asyncio.gather(*asking) == ["yes"] * 3


async def test_a_person_may_load_more_than_the_settings_say(tmp_path: Path) -> None:
    async with stage(tmp_path / "data", engine=_yes()) as play:
        await add(play, "one")
        await _both_loaded(play)
        assert await play.house.pool.unload(version_of(play), reason="test")
        assert _states(play) == [State.COLD]  # and then they say again how many there are


async def test_as_many_are_loaded_as_there_is_room_for_and_none_puts_out_another(
    tmp_path: Path,
) -> None:
    # found by hand: of sixteen where ten had room, the last ones had the first ones leave
    engine = _yes()
    async with stage(tmp_path / "data", engine=engine, pool__memory_mb=THREE_MB) as play:
        await add(play, "one")
        with pytest.raises(
            NoRoom, match=r"instance 4 of this model: .* beside its other instances"
        ):
            await play.house.pool.warm(
                loadable(play.house.registry.version(version_of(play))), by_person=True, count=5
            )
        assert _states(play) == [State.READY] * 3
        assert {view.most for view in play.house.pool.views()} == {3}


async def test_of_instances_not_asked_for_the_last_leaves_and_a_pin_holds_the_first_that_serves(
    tmp_path: Path,
) -> None:
    # found by hand: the first one left, and then the pin held all the others
    engine = _yes()
    async with stage(tmp_path / "data", engine=engine, pool__memory_mb=THREE_MB) as play:
        await add(play, "one", "two")
        pool = play.house.pool
        one = loadable(play.house.registry.version(version_of(play)))
        await pool.warm(one, by_person=True, count=3)
        play.clock.jump(60.0)
        await _said(play, model="two")
        assert _states(play) == [State.READY, State.READY, State.COLD]
        await pool.pin(name("one"), None)
        await pool.unload(version_of(play), reason="test", number=1)
        await pool.warm(one, by_person=True, count=3)
        await pool.unload(version_of(play), reason="test", number=1)
        shown = [view for view in pool.views() if view.version == one.version]
        assert [view.is_pinned for view in shown] == [False, True, False]


async def test_one_that_keeps_failing_makes_way_for_another_of_its_version(tmp_path: Path) -> None:
    async with stage(
        tmp_path / "data",
        engine=_yes(),
        pool__instances=TWO,
        pool__memory_mb=ONE_MB,
    ) as play:
        await add(play, "one")
        assert await _said(play) == "yes"
        siblings = play.house.pool.siblings(version_of(play))
        assert siblings is not None
        _fail(siblings.tenants[0].instance.health)
        assert await _said(play) == "yes"
        assert _states(play) == [State.COLD, State.READY]


async def test_who_waits_for_one_that_is_not_wanted_any_more_is_served_by_the_one_that_is(
    tmp_path: Path,
) -> None:
    # found by the proof that no stream is lost: they had it loaded again, and it was forgotten
    held = _Held()
    async with stage(tmp_path / "data", engine=held.engine(), pool__slots=1) as play:
        await add(play, "one")
        await _both_loaded(play)
        asking = [_asking(play, f"question {n}") for n in range(2)]
        await until(play, lambda: _in_flight(play) == [1, 1])
        unloading = asyncio.create_task(play.house.pool.unload(version_of(play), reason="test"))
        await until(play, lambda: _states(play) == [State.DRAINING] * 2)
        late = [_asking(play, f"late question {n}") for n in range(4)]
        await settle(play)
        held.gate.set()
        assert await asyncio.gather(*asking, *late) == ["yes"] * 6
        assert await unloading
        play.house.watch.look()
        await until(play, lambda: len(_states(play)) == 1)


async def test_nobody_is_failing_as_long_as_one_instance_is_well(tmp_path: Path) -> None:
    async with _two(tmp_path) as play:
        first, second = play.house.pool.siblings(version_of(play)).tenants  # type: ignore[union-attr]
        for tenant in (first, second):
            assert play.house.pool.ailing() == {}
            _fail(tenant.instance.health)
        assert list(play.house.pool.ailing()) == [version_of(play)]
        for _ in range(3):
            assert await _said(play) == "yes"  # the last who could serve are asked all the same


def _fail(health: Health) -> None:
    for _ in range(FAILURES):
        health.begin().tell(Sign.ILL, "engine_error")


async def test_an_instance_that_keeps_failing_is_sent_nothing_while_another_is_well(
    tmp_path: Path,
) -> None:
    async with _two(tmp_path) as play:
        siblings = play.house.pool.siblings(version_of(play))
        assert siblings is not None
        _fail(siblings.tenants[0].instance.health)
        ids = set()
        for number in range(12):
            await _said(play, f"question {number}")
            assert siblings.last is not None
            ids.add(siblings.last.id)
        assert ids == {siblings.tenants[1].key}


async def test_what_is_told_of_one_instance_says_which(tmp_path: Path) -> None:
    async with _two(tmp_path) as play:
        siblings = play.house.pool.siblings(version_of(play))
        assert siblings is not None
        with play.house.announcer.listening() as heard:
            _fail(siblings.tenants[1].instance.health)
            event = await anext(aiter(heard.stream()))
        assert (event.kind, event.detail["number"]) == ("breaker.open", 2)


@pytest.mark.parametrize("count", [0, 17])
def test_a_model_has_one_to_sixteen_instances(tmp_path: Path, count: int) -> None:
    with pytest.raises(ConfigError, match="1 to 16 instances"):
        settings(tmp_path, pool__instances={"one": count})
