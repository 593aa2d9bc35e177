"""Graded cases in idle time: nobody waits for them or is put out, and none counts twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.story.stage import Stage, name, stage, task

from arbiter.engines.scripted import Hold, Reply, Say, Scripted, Step
from arbiter.inference import Generation
from arbiter.knowledge.tasks import Grading
from arbiter.pool.instance import State
from arbiter.refs import TaskName, VersionId
from arbiter.swap.calibrating import TRY_AGAIN_S, UNUSED_S, Activity
from arbiter.swap.calibration_plan import Stage as Why

CHAT = TaskName("chat")
IDLE_S = 30.0
ONE_MB, TWO_MB = 60, 100
"""Memory for so many scripted models: each is planned with little over 40 MB."""


@asynccontextmanager
async def idle(data_dir: Path, **how: object) -> AsyncIterator[Stage]:
    """A house that runs cases when nobody was served for half a minute."""
    given = {"calibration__enabled": True, "calibration__idle_s": IDLE_S, **how}
    async with stage(data_dir, **given) as play:  # type: ignore[arg-type]  # a test's shorthand
        yield play


async def registered(play: Stage, title: str, accuracy: float = 1.0, **more: object) -> VersionId:
    """A model of which nothing is known yet."""
    path = play.script(title, {"chat": accuracy}, **more)
    return (await play.house.admission.register(path, name(title))).version


async def until(play: Stage, kind: str, seconds: float = IDLE_S) -> str:
    """Let so much time pass, and hear why graded cases came to this."""
    await play.house.database.settle()
    with play.house.announcer.listening() as heard:
        play.clock.jump(seconds)
        event = await anext(e async for e in heard.stream() if e.kind == f"calibration.{kind}")
    return str(event.detail["reason"])


async def waits(play: Stage, words: str, seconds: float = IDLE_S) -> str:
    """Let so much time pass, and wait until this is in the way."""
    play.clock.jump(seconds)
    while words not in (why := (await play.house.calibrating.view()).why):
        await play.house.database.settle()
    return why


def graded(play: Stage, version: VersionId) -> float:
    return play.house.profiles.get(version, CHAT).graded


async def cases(play: Stage, version: VersionId) -> int:
    """Cases whose results are kept."""
    grading = play.house.tasks.grading(CHAT) or ""
    return len(await play.house.database.read("list_validations", (version, CHAT, grading)))


async def left(play: Stage) -> list[int]:
    """Cases that are to be run, of each version at each task."""
    return [one.wish.left for one in (await play.house.calibrating.view()).entries]


def held(gate: asyncio.Event) -> Reply:
    """Cases wait for the gate before their answer; live requests do not."""

    def reply(request: Generation) -> Iterator[Step]:
        if " case " in str(request.work):
            yield Hold(gate)
        yield Say("yes")

    return reply


async def begun(play: Stage) -> None:
    """Wait until a case is under way."""
    while not any(runner.in_flight for runner in play.engine.runners):
        await play.house.database.settle()


async def test_a_new_version_gets_its_first_samples_in_idle_time(tmp_path: Path) -> None:
    async with idle(tmp_path / "data") as play:
        await play.house.admission.add_task(task("chat"))
        new = await registered(play, "new")
        assert await until(play, "done") == "nothing is left to run"
        assert (graded(play, new), await cases(play, new)) == (12, 12)


async def test_a_task_that_was_added_later_is_taken_up(tmp_path: Path) -> None:
    async with idle(tmp_path / "data") as play:
        new = await registered(play, "new")
        await until(play, "done")
        await play.house.admission.add_task(task("chat", cases=10))
        await until(play, "done", 60.0)
        assert graded(play, new) == 10


async def test_more_cases_are_run_where_the_pick_is_close_and_only_there(tmp_path: Path) -> None:
    async with idle(tmp_path / "data", rollout__calibration_cases=20) as play:
        await play.house.admission.add_task(task("chat"))
        good, equal = await registered(play, "good"), await registered(play, "equal")
        poor = await registered(play, "poor", 0.0)
        await until(play, "done")
        assert [graded(play, one) for one in (good, equal, poor)] == [20, 20, 12]
        view = await play.house.calibrating.view()
        assert {e.name: e.wish.stage for e in view.entries} == {
            "good": Why.COMPLETE,
            "equal": Why.COMPLETE,
            "poor": Why.CLEAR,
        }


async def test_a_request_cuts_the_case_that_is_under_way_and_has_its_slot(tmp_path: Path) -> None:
    gate = asyncio.Event()
    engine = Scripted(reply=held(gate))
    async with idle(tmp_path / "data", engine=engine, pool__slots=1) as play:
        await play.house.admission.add_task(task("chat"))
        new = await registered(play, "new")
        play.clock.jump(IDLE_S)
        await begun(play)
        assert await play.ask(model="new", expected=None) == "yes"
        assert (graded(play, new), await cases(play, new)) == (0, 0)


async def test_a_case_that_was_cut_is_run_again_and_counts_once(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with idle(tmp_path / "data", engine=Scripted(reply=held(gate))) as play:
        await play.house.admission.add_task(task("chat"))
        new = await registered(play, "new")
        play.clock.jump(IDLE_S)
        await begun(play)
        await play.ask(model="new", expected=None)
        gate.set()
        await until(play, "done")
        assert (graded(play, new), await cases(play, new)) == (12, 12)


async def test_cases_that_ran_while_their_grader_was_changed_count_for_nothing(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    how = {"engine": Scripted(reply=held(gate)), "selection__strategy": "learned"}
    async with stage(tmp_path / "data", **how) as play:  # type: ignore[arg-type]  # as above
        await play.house.admission.add_task(task("chat"))
        async with asyncio.TaskGroup() as group:
            group.create_task(play.add("new", {"chat": 1.0}))
            await begun(play)
            anew = replace(task("chat"), grading=Grading(kind="contains"))
            await play.house.admission.add_task(anew)
            gate.set()
        new = play.house.registry.resolve(name("new")).version
        assert (graded(play, new), learned(play, new)) == (0, 0)
        await play.house.admission.add_task(task("chat"))
        assert (graded(play, new), learned(play, new)) == (30, 30)


def learned(play: Stage, version: VersionId) -> float:
    """How many samples the next pick at the task is told to rest on."""
    found = {one.version: one for one in play.house.select("chat").considered}
    return found[version].samples or 0


async def test_no_case_begins_until_it_has_been_quiet_again(tmp_path: Path) -> None:
    async with idle(tmp_path / "data") as play:
        await play.house.admission.add_task(task("chat"))
        new = await registered(play, "new")
        play.clock.jump(IDLE_S - 1)
        await play.ask(model="new", expected=None)
        await waits(play, "somebody is being served, or was less than 30 s ago", IDLE_S - 1)
        assert graded(play, new) == 0
        await until(play, "done", 1.0)
        assert graded(play, new) == 12


async def test_a_person_who_waits_for_cases_runs_them_alone(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with idle(tmp_path / "data", engine=Scripted(reply=held(gate))) as play:
        await play.house.admission.add_task(task("chat"))
        new = await registered(play, "new")
        play.clock.jump(IDLE_S)
        await begun(play)
        waiting = asyncio.create_task(
            play.house.admission.calibrate(play.house.registry.version(new), name("new"))
        )
        gate.set()
        await waiting
        assert (graded(play, new), await cases(play, new)) == (30, 30)


async def test_on_battery_nothing_is_run_until_it_is_plugged_in(tmp_path: Path) -> None:
    plugged = [False]
    async with idle(tmp_path / "data", on_battery=lambda: not plugged[0]) as play:
        await play.house.admission.add_task(task("chat"))
        new = await registered(play, "new")
        why = await waits(play, "battery")
        assert why == "this machine runs on its battery (calibration.on_battery)"
        assert graded(play, new) == 0
        plugged[0] = True
        await until(play, "done", 60.0)
        assert graded(play, new) == 12


async def test_nothing_is_run_when_nobody_knows_about_the_battery(tmp_path: Path) -> None:
    async with idle(tmp_path / "data", on_battery=lambda: None) as play:
        await waits(play, "nobody can say whether this machine runs on its battery")


async def test_on_battery_they_are_run_when_a_person_says_so(tmp_path: Path) -> None:
    how = {"on_battery": lambda: True, "calibration__on_battery": True}
    async with idle(tmp_path / "data", **how) as play:
        await play.house.admission.add_task(task("chat"))
        new = await registered(play, "new")
        await until(play, "done")
        assert graded(play, new) == 12


async def test_a_restart_goes_on_with_what_is_left(tmp_path: Path) -> None:
    async with idle(tmp_path / "data", calibration__cases_per_day=5) as play:
        await play.house.admission.add_task(task("chat"))
        new = await registered(play, "new")
        await waits(play, "5 cases were run in 24 hours")
        assert graded(play, new) == 5
    async with idle(tmp_path / "data") as play:
        assert graded(play, new) == 5
        await until(play, "done")
        assert (graded(play, new), await cases(play, new)) == (12, 12)


async def test_cases_that_were_forgotten_are_run_again_and_those_taken_in_are_not(
    tmp_path: Path,
) -> None:
    async with idle(tmp_path / "data") as play:
        await play.house.admission.add_task(task("chat", cases=10))
        new = await registered(play, "new")
        await until(play, "done")
        kept = tmp_path / "kept.jsonl"
        await play.house.carrier.export_to(kept)
        await play.house.carrier.forget(who="operator")
        assert (graded(play, new), await left(play)) == (0, [10])
        await until(play, "done", 60.0)
        assert (graded(play, new), await cases(play, new)) == (10, 10)
        await play.house.carrier.forget(who="operator")
        assert await left(play) == [10]
        await play.house.carrier.take_in(kept, who="operator", prefer_theirs=False)
        assert await left(play) == [0]


async def test_the_bound_of_a_day_is_over_after_a_day(tmp_path: Path) -> None:
    async with idle(tmp_path / "data", calibration__cases_per_day=7) as play:
        await play.house.admission.add_task(task("chat"))
        new = await registered(play, "new")
        await waits(play, "7 cases were run in 24 hours")
        await until(play, "done", 86_401.0)
        assert graded(play, new) == 12


async def test_no_model_that_people_use_leaves_for_a_case(tmp_path: Path) -> None:
    async with idle(tmp_path / "data", pool__memory_mb=ONE_MB) as play:
        await play.house.admission.add_task(task("chat", cases=12))
        used, new = await registered(play, "used"), await registered(play, "new")
        await play.ask(model="used", expected=None)
        await waits(play, "no room for it beside what people use")
        assert play.house.pool.states()[used] is State.READY
        assert (graded(play, used), graded(play, new)) == (12, 0)
        await until(play, "done", UNUSED_S)
        assert graded(play, new) == 12


async def test_what_was_loaded_for_its_cases_leaves_when_they_are_run(tmp_path: Path) -> None:
    async with idle(tmp_path / "data") as play:
        await play.house.admission.add_task(task("chat"))
        new = await registered(play, "new")
        await until(play, "done")
        assert play.house.pool.states()[new] is State.COLD


async def test_what_was_loaded_for_cases_makes_room_before_what_people_use(tmp_path: Path) -> None:
    gate = asyncio.Event()
    engine = Scripted(reply=held(gate))
    async with idle(tmp_path / "data", engine=engine, pool__memory_mb=TWO_MB) as play:
        used = await registered(play, "used")
        await play.house.admission.add_task(task("chat", cases=10))
        gate.set()
        await play.house.admission.calibrate(play.house.registry.version(used), name("used"))
        await play.ask(model="used", expected=None)
        gate.clear()
        new, third = await registered(play, "new"), await registered(play, "third")
        play.clock.jump(IDLE_S)
        await begun(play)
        await play.ask(model="third", expected=None)
        states = play.house.pool.states()
        assert [states[one] for one in (used, new, third)] == [
            State.READY,
            State.COLD,
            State.READY,
        ]


async def test_a_version_that_cannot_be_loaded_waits_and_is_tried_again(tmp_path: Path) -> None:
    engine = Scripted(fail_load="no such layer")
    async with idle(tmp_path / "data", engine=engine) as play:
        await play.house.admission.add_task(task("chat"))
        new = await registered(play, "new")
        await waits(play, "no such layer")
        engine.fail_load = None
        await until(play, "done", TRY_AGAIN_S)
        assert graded(play, new) == 12


async def test_when_they_are_off_nothing_is_run(tmp_path: Path) -> None:
    async with idle(tmp_path / "data", calibration__enabled=False) as play:
        view = await play.house.calibrating.view()
        assert (view.activity, view.why) == (Activity.OFF, "calibration.enabled is off")


@pytest.mark.parametrize(("done", "left"), [(0, 12), (5, 7)])
async def test_the_view_says_what_is_done_and_what_is_left(
    tmp_path: Path, done: int, left: int
) -> None:
    async with idle(tmp_path / "data", calibration__cases_per_day=done) as play:
        await play.house.admission.add_task(task("chat"))
        await registered(play, "new")
        await waits(play, f"{done} cases were run in 24 hours")
        (entry,) = (await play.house.calibrating.view()).entries
        assert (entry.name, entry.wish.standing.done, entry.wish.left) == ("new", done, left)
