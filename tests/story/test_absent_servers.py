"""Servers that go away and come back: no version is blamed, and no request waits in vain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.story.neighbours import A, B, Neighbour, offer
from tests.story.stage import Stage, name, stage, task

from arbiter.engines.scripted import Say, Step
from arbiter.errors import CannotServe, NothingThere, NotOffered, ServerCut, ServerGone
from arbiter.gateway import views
from arbiter.inference import Arm, Chunk, Delta, Generation
from arbiter.refs import RolloutId, VersionId
from arbiter.swap.rollout import Phase, Rollout

OFFERED = {A: [offer("old", "a")], B: [offer("new", "b")]}


def _yes(request: Generation) -> Iterator[Step]:  # noqa: ARG001  # whatever was asked
    yield Say("yes")


def _unable(request: Generation) -> Iterable[Step]:  # noqa: ARG001  # whatever was asked
    raise CannotServe("Neighbour does not do this with this model: /chat gives status 404.")


@asynccontextmanager
async def street(
    data_dir: Path, neighbour: Neighbour, **more: Any
) -> AsyncIterator[tuple[Stage, Neighbour]]:
    """A house that has looked at its neighbours once."""
    given = {"discovery__servers": [A, B], "discovery__usual": False, **more}
    async with stage(data_dir, engine=neighbour, **given) as play:
        await play.house.scout.look()
        yield play, neighbour


@asynccontextmanager
async def swapping(data_dir: Path) -> AsyncIterator[tuple[Stage, Neighbour, RolloutId]]:
    """In the middle of a rollout from one server's model to another's; both are always right."""
    servers = {url: list(offers) for url, offers in OFFERED.items()}
    neighbour = Neighbour(servers=servers, answers={"old": _yes, "new": _yes})
    async with street(data_dir, neighbour) as (play, _):
        await play.house.admission.add_task(task("chat", cases=0))
        await play.alias("primary", "old")
        rollout = await play.swap("primary", "new", steps=[0.4, 0.5], unproven_first_step=0.4)
        for _ in range(12):
            await play.ask()
        await play.tick()
        yield play, neighbour, rollout


async def _rollout(play: Stage, rollout: RolloutId) -> Rollout:
    return (await play.house.controller.find(rollout)).rollout


def _version(play: Stage, model: str) -> VersionId:
    return play.house.registry.resolve(name(model)).version


def _back(neighbour: Neighbour, url: str) -> None:
    neighbour.servers[url] = list(OFFERED[url])


@pytest.mark.parametrize(
    ("killed", "role", "other"), [(A, "stable version", "new"), (B, "candidate", "old")]
)
async def test_a_rollout_waits_while_one_of_its_servers_is_gone_and_goes_on_when_it_is_back(
    tmp_path: Path, killed: str, role: str, other: str
) -> None:
    async with swapping(tmp_path / "data") as (play, neighbour, rollout):
        neighbour.stop(killed)
        while play.house.controller.detour(name("primary")) is None:
            assert await play.ask() == "yes"
        await play.tick()
        waiting = await _rollout(play, rollout)
        assert waiting.phase is Phase.PAUSED
        assert waiting.reason.startswith(f"waiting: the server of the {role} is gone ({killed}")
        before = len(play.decided)
        for _ in range(30):
            assert await play.ask() == "yes"
        await play.tick(8)
        meanwhile = play.decided[before:]
        assert {(d.arm, d.version) for d in meanwhile} == {(Arm.NONE, _version(play, other))}
        assert (await _rollout(play, rollout)).phase is Phase.PAUSED
        _back(neighbour, killed)
        await play.house.scout.look()
        await play.tick()
        assert (await _rollout(play, rollout)).phase is Phase.PROGRESSING


@pytest.mark.parametrize("killed", [A, B])
async def test_the_verdict_is_that_of_the_answers_alone(tmp_path: Path, killed: str) -> None:
    async with swapping(tmp_path / "data") as (play, neighbour, rollout):
        for _ in range(6):
            neighbour.stop(killed)
            for _ in range(20):
                assert await play.ask() == "yes"
                await play.tick()
            _back(neighbour, killed)
            await play.house.scout.look()
            await play.tick()
        view = await play.live(rollout)
        assert view.stored.rollout.phase is Phase.PROMOTED
        judgement = view.judgement
        assert judgement is not None
        assert (judgement.mean_stable, judgement.mean_candidate) == (1.0, 1.0)


async def test_a_candidate_whose_server_is_gone_is_not_blocked_but_waited_for(
    tmp_path: Path,
) -> None:
    servers = {url: list(offers) for url, offers in OFFERED.items()}
    neighbour = Neighbour(servers=servers, answers={"old": _yes, "new": _yes})
    async with street(tmp_path / "data", neighbour) as (play, _):
        await play.alias("primary", "old")
        neighbour.stop(B)
        await play.house.admission.add_task(task("chat", cases=12))
        with play.house.announcer.listening() as heard:
            stored = await play.house.swap("primary", "new")
            events = heard.stream()
            while (await anext(events)).kind != "rollout.waiting":
                pass
        assert (await _rollout(play, stored.rollout.id)).phase is Phase.VALIDATING
        _back(neighbour, B)
        await play.house.scout.look()
        while (await _rollout(play, stored.rollout.id)).phase is Phase.VALIDATING:
            play.clock.jump(5.0)
            await play.house.database.settle()
        assert (await _rollout(play, stored.rollout.id)).phase is Phase.PROGRESSING


async def test_a_conversation_that_began_during_an_outage_is_never_evidence(
    tmp_path: Path,
) -> None:
    async with swapping(tmp_path / "data") as (play, neighbour, rollout):
        neighbour.stop(A)
        while play.house.controller.detour(name("primary")) is None:
            await play.ask()
        await play.ask(conversation="begun without")
        _back(neighbour, A)
        await play.house.scout.look()
        await play.tick()
        units = await play.house.database.read("list_units", (rollout,))
        await play.ask(conversation="begun without")
        await play.house.database.settle()
        assert await play.house.database.read("list_units", (rollout,)) == units


async def test_an_outage_is_no_failure_of_the_version_now_and_after_a_restart(
    tmp_path: Path,
) -> None:
    neighbour = Neighbour(servers={A: [offer("old", "a")]}, answers={"old": _yes})
    async with street(tmp_path / "data", neighbour) as (play, _):
        await play.house.admission.add_task(task("chat", cases=0))
        old = _version(play, "old")
        await play.ask(model="old")
        neighbour.stop(A)
        for _ in range(5):
            with pytest.raises(ServerGone):
                await play.ask(model="old")
        learned = play.house.profiles.get(old, task("chat").name)
        assert (learned.samples, learned.success_rate) == (1, 1.0)
    async with street(tmp_path / "data", Neighbour()) as (play, _):
        assert play.house.profiles.get(old, task("chat").name) == learned


async def test_what_a_restart_reads_of_an_outage_takes_no_candidate_out(tmp_path: Path) -> None:
    async with swapping(tmp_path / "data") as (play, neighbour, rollout):
        missed = 0
        while missed < 5:
            neighbour.stop(B)
            while play.house.controller.detour(name("primary")) is None:
                await play.ask()
            missed += 1
            _back(neighbour, B)
            await play.house.scout.look()
        await play.tick()
    servers = {url: list(offers) for url, offers in OFFERED.items()}
    again = Neighbour(servers=servers, answers={"old": _yes, "new": _yes})
    async with street(tmp_path / "data", again) as (play, _):
        await play.tick()
        assert (await _rollout(play, rollout)).phase is Phase.PROGRESSING


async def test_auto_goes_to_the_candidate_while_the_stable_server_is_gone(tmp_path: Path) -> None:
    async with swapping(tmp_path / "data") as (play, neighbour, _):
        neighbour.stop(A)
        for _ in range(4):
            assert await play.ask(model="auto") == "yes"
        assert play.decided[-1].version == _version(play, "new")


async def test_a_stream_that_ends_with_its_server_is_no_failure_of_the_version(
    tmp_path: Path,
) -> None:
    def half(request: Generation) -> Iterator[Step]:  # noqa: ARG001  # whatever was asked
        yield Say("half ")
        neighbour.silent = frozenset({A})
        yield Say("done")

    neighbour = Neighbour(servers={A: [offer("old", "a")]}, answers={"old": half})
    async with street(tmp_path / "data", neighbour) as (play, _):
        old = _version(play, "old")
        async with play.house.stream("hello", model="old") as reply:
            chunks = reply.chunks()
            await anext(chunks)
            play.house.pool.part_from(A, "it is silent")
            neighbour.stop(A)
            with pytest.raises(ServerCut):
                await _rest(chunks)
        assert play.house.profiles.tasks_of(old) == {}


async def test_requests_without_a_first_byte_leave_a_server_that_is_found_frozen(
    tmp_path: Path,
) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a")], B: [offer("bee", "b")]})
    async with street(tmp_path / "data", neighbour) as (play, _):
        await play.house.ask("hello", model="ant")
        neighbour.silent = frozenset({A})
        waiting = asyncio.create_task(play.house.ask("hello"))
        await neighbour.held.wait()
        await _look_in_vain(play, neighbour)
        assert (await waiting).text == "bee at 7002"
        with pytest.raises(ServerGone):
            await play.house.ask("hello", model="ant")


async def test_a_named_request_at_a_frozen_server_fails_with_the_reason(tmp_path: Path) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a")]})
    async with street(tmp_path / "data", neighbour) as (play, _):
        await play.house.ask("hello", model="ant")
        neighbour.silent = frozenset({A})
        waiting = asyncio.create_task(play.house.ask("hello", model="ant"))
        await neighbour.held.wait()
        await _look_in_vain(play, neighbour)
        with pytest.raises(ServerGone, match="No server that offers this model is there"):
            await waiting


async def test_an_answer_that_has_begun_outlasts_a_freeze(tmp_path: Path) -> None:
    def slow(request: Generation) -> Iterator[Step]:  # noqa: ARG001  # whatever was asked
        yield Say("one ")
        neighbour.silent = frozenset({A})
        yield Say("two")

    neighbour = Neighbour(servers={A: [offer("ant", "a")]}, answers={"ant": slow})
    async with (
        street(tmp_path / "data", neighbour) as (play, _),
        play.house.stream("hello", model="ant") as reply,
    ):
        chunks = reply.chunks()
        begun = await anext(chunks)
        rest = asyncio.create_task(_rest(chunks))
        await neighbour.held.wait()
        await _look_in_vain(play, neighbour)
        neighbour.thawed.set()
        assert (begun, await rest) == (Delta(text="one"), " two")


async def test_models_that_were_removed_are_passed_over_however_many(tmp_path: Path) -> None:
    many = [offer(f"ant-{n}", str(n)) for n in range(8)]
    neighbour = Neighbour(servers={A: [*many, offer("bee", "b")]})
    async with street(tmp_path / "data", neighbour) as (play, _):
        neighbour.servers[A] = [offer("bee", "b")]
        assert (await play.house.ask("hello")).text == "bee at 7001"
        assert len(play.house.select().dropped) == 8
        with pytest.raises(NotOffered, match="is not what it was"):
            await play.house.ask("hello", model="ant-3")
        assert play.house.profiles.tasks_of(_version(play, "ant-3")) == {}


async def test_models_that_cannot_do_the_work_are_passed_over_and_remembered(
    tmp_path: Path,
) -> None:
    ears = [f"ears-{n}" for n in range(5)]
    neighbour = Neighbour(
        servers={A: [*(offer(one, str(n)) for n, one in enumerate(ears)), offer("zebra", "e")]},
        answers=dict.fromkeys(ears, _unable),
    )
    async with street(tmp_path / "data", neighbour) as (play, _):
        assert (await play.house.ask("hello")).text == "zebra at 7001"
        learned = play.house.profiles.get(_version(play, "ears-0"), task("general").name)
        assert (learned.samples, learned.successes) == (1, 0)
        with pytest.raises(CannotServe, match="does not do this with this model"):
            await play.house.ask("hello", model="ears-1")


async def test_when_all_that_could_serve_is_away_the_caller_is_told_to_try_again(
    tmp_path: Path,
) -> None:
    neighbour = Neighbour(
        servers={A: [offer("ant", "a"), offer("vec", "b", capabilities=frozenset({"embedding"}))]}
    )
    async with street(tmp_path / "data", neighbour) as (play, _):
        neighbour.stop(A)
        await play.house.scout.look()
        with pytest.raises(NothingThere, match=f"ant: {A}: Nothing listens") as told:
            await play.house.ask("hello")
        assert (told.value.status, told.value.retryable) == (503, True)
        assert "vec" not in told.value.message


async def test_what_is_shown_of_a_version_says_why_it_is_away(tmp_path: Path) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a")]})
    async with street(tmp_path / "data", neighbour) as (play, _):
        registry = play.house.registry
        await play.house.ask("hello", model="ant")
        neighbour.stop(A)
        await play.house.scout.look()
        why = f"{A}: Nothing listens at {A}."
        version = registry.resolve(name("ant"))
        assert views.version_view(version, registry)["absent"] == why
        (instance,) = play.house.pool.views()
        assert views.instance_view(instance, registry)["absent"] == why


async def _look_in_vain(play: Stage, neighbour: Neighbour) -> None:
    """A look that ends when the frozen server has been silent for too long."""
    looking = asyncio.create_task(play.house.scout.look())
    await neighbour.asked_in_vain.wait()
    play.clock.jump(3.0)
    await looking


async def _rest(chunks: AsyncIterator[Chunk]) -> str:
    return "".join([chunk.text async for chunk in chunks if isinstance(chunk, Delta)])
