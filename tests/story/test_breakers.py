"""Who keeps failing is passed over for a while, and nobody is ever refused because of it."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.standins.bad_servers import (
    DIALECTS,
    OLLAMA,
    OPENAI,
    Act,
    BadServer,
    Dialect,
    Then,
    answering,
    bad_server,
    begins,
    stream,
)
from tests.story.bad_backends import (
    LIMIT_S,
    RIGHT,
    Street,
    ask,
    beside,
    both_dialects,
    saying,
    street,
)
from tests.story.stage import stage

from arbiter.clock import ManualClock
from arbiter.engines.scripted import Hold, Say, Scripted, Step
from arbiter.errors import ArbiterError, EngineError, PromptTooLong, StreamCut
from arbiter.gateway import views
from arbiter.inference import Generation
from arbiter.knowledge.rules import Rule
from arbiter.pool.breaker import FAILURES, PAUSES_S
from arbiter.refs import GENERAL, parse_name


def well(dialect: Dialect) -> Act:
    return answering(dialect, "well again", streamed=False)


@both_dialects
async def test_a_burst_of_failures_is_noticed_and_one_request_at_a_time_finds_it_over(
    tmp_path: Path, dialect: Dialect, clock: ManualClock
) -> None:
    async with beside(tmp_path, clock, dialect) as (here, bad, good):
        bad.acts = (saying(500),)
        for _ in range(FAILURES + 3):
            assert (await ask(here.url, "auto", streamed=False)).ends.text == RIGHT
        assert len(bad.asked) == FAILURES
        clock.jump(PAUSES_S[0])
        await ask(here.url, "auto", streamed=False)
        await ask(here.url, "auto", streamed=False)
        assert len(bad.asked) == FAILURES + 1
        clock.jump(PAUSES_S[1])
        bad.acts = (well(dialect),)
        asked = len(good.asked)
        for _ in range(3):
            assert (await ask(here.url, "auto", streamed=False)).ends.text == "well again"
        assert len(good.asked) == asked


@pytest.mark.parametrize(
    ("dialect", "status"),
    # an Ollama's 404 says that the model is gone, and then it is looked for anew
    [(OPENAI, 404), *itertools.product(DIALECTS, (400, 401, 422, 429, 503))],
    ids=lambda found: getattr(found, "name", found),
)
async def test_a_status_that_is_no_failure_of_the_server_never_opens_it(
    tmp_path: Path, dialect: Dialect, status: int, clock: ManualClock
) -> None:
    async with beside(tmp_path, clock, dialect) as (here, bad, _):
        bad.acts = (saying(status),)
        for _ in range(2 * FAILURES):
            await ask(here.url, "a-bad", streamed=False)
        assert {view.ailing for view in here.house.pool.views()} == {None}
        bad.acts = (well(dialect),)
        assert (await ask(here.url, "auto", streamed=False)).ends.text == "well again"


def _mid_stream(d: Dialect) -> Act:
    return Act(pieces=stream(d, d.piece("hel")))


def _empty(d: Dialect) -> Act:
    return Act(pieces=stream(d, d.piece(""), d.end()))


def _invalid(d: Dialect) -> Act:
    return Act(pieces=(begins(d.events, length=2) + b"{[",))


@pytest.mark.parametrize("act", [_mid_stream, _empty, _invalid])
@both_dialects
async def test_a_cut_an_empty_and_an_invalid_answer_are_failures_of_their_instance(
    tmp_path: Path, dialect: Dialect, act: Callable[[Dialect], Act], clock: ManualClock
) -> None:
    async with beside(tmp_path, clock, dialect) as (here, bad, _):
        bad.acts = (act(dialect),)
        for _ in range(FAILURES):
            await ask(here.url, "a-bad", streamed=True)
        heard = await ask(here.url, "auto", streamed=False)
        assert heard.version == here.version("b-good")


@both_dialects
async def test_the_last_way_to_serve_is_asked_however_often_it_failed(
    tmp_path: Path, dialect: Dialect, clock: ManualClock
) -> None:
    async with (
        asyncio.timeout(LIMIT_S),
        bad_server(dialect, "only", saying(500)) as only,
        street(tmp_path / "data", only, clock=clock) as here,
    ):
        for model in ("auto", "only"):
            for _ in range(2 * FAILURES):
                heard = await ask(here.url, model, streamed=False)
                assert (heard.ends.status, heard.ends.code) == (502, "engine_error")
        assert len(only.asked) == 4 * FAILURES
        only.acts = (well(dialect),)
        assert (await ask(here.url, "auto", streamed=False)).ends.text == "well again"
        assert {view.ailing for view in here.house.pool.views()} == {None}


async def test_the_only_one_that_a_rule_takes_is_asked_however_often_it_failed(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with beside(tmp_path, clock, OPENAI) as (here, bad, good):
        await here.house.rules.add(Rule(task=GENERAL, only=parse_name("a-bad")))
        bad.acts = (saying(500),)
        for _ in range(2 * FAILURES):
            assert (await ask(here.url, "auto", streamed=False)).ends.status == 502
        assert (len(bad.asked), len(good.asked)) == (2 * FAILURES, 0)


@pytest.mark.parametrize("ill", list(itertools.chain.from_iterable(
    itertools.combinations(range(3), number) for number in range(4)
)))  # fmt: skip
async def test_whoever_is_ill_a_request_is_served_if_anybody_can(
    tmp_path: Path, ill: tuple[int, ...], clock: ManualClock
) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(LIMIT_S))
        servers = [
            await stack.enter_async_context(
                bad_server(DIALECTS[number % 2], f"m{number}", saying(500))
            )
            for number in range(3)
        ]
        here = await stack.enter_async_context(street(tmp_path / "data", *servers, clock=clock))
        for number in ill:
            for _ in range(FAILURES):
                await ask(here.url, f"m{number}", streamed=False)
        assert len(here.house.pool.ailing()) == len(ill)
        # each of them in turn is the only one that can answer now
        for one in range(3):
            for number, server in enumerate(servers):
                server.acts = (well(server.dialect) if number == one else saying(500),)
            assert (await ask(here.url, "auto", streamed=False)).ends.text == "well again"


@asynccontextmanager
async def twice(
    folder: Path, clock: ManualClock
) -> AsyncIterator[tuple[Street, BadServer, BadServer]]:
    """A house in front of two Ollamas that offer one version: where it is served, and the other."""
    async with (
        asyncio.timeout(LIMIT_S),
        bad_server(OLLAMA, "m", well(OLLAMA)) as one,
        bad_server(OLLAMA, "m", well(OLLAMA)) as two,
        street(folder / "data", one, two, clock=clock) as here,
    ):
        await ask(here.url, "m", streamed=False)
        yield (here, one, two) if one.asked else (here, two, one)


@pytest.mark.parametrize(
    "act", [saying(500), saying(401), Act(then=Then.RESET)], ids=["500", "401", "reset"]
)
async def test_what_fails_at_one_place_before_its_first_byte_is_answered_at_the_next(
    tmp_path: Path, act: Act, clock: ManualClock
) -> None:
    async with twice(tmp_path, clock) as (here, one, two):
        one.acts = (act,)
        heard = await asyncio.gather(*(ask(here.url, "m", streamed=False) for _ in range(8)))
        assert {one.ends.text for one in heard} == {"well again"}
        assert len(two.asked) == 8


async def test_what_fails_at_every_place_is_told_as_what_it_is(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with twice(tmp_path, clock) as (here, one, two):
        one.acts = two.acts = (saying(500),)
        heard = await ask(here.url, "m", streamed=False)
        assert (heard.ends.status, heard.ends.code) == (502, "engine_error")


async def test_a_place_that_failed_once_is_asked_when_the_other_one_goes_away(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with twice(tmp_path, clock) as (here, one, two):
        one.acts = (saying(500), well(OLLAMA))
        one.asked.clear()
        assert (await ask(here.url, "auto", streamed=False)).ends.text == "well again"
        await two.stop()
        assert (await ask(here.url, "auto", streamed=False)).ends.text == "well again"
        assert len(one.asked) == 2


async def test_a_refusal_is_not_taken_from_one_place_to_the_next(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with twice(tmp_path, clock) as (here, one, two):
        one.acts = (saying(400),)
        assert (await ask(here.url, "m", streamed=False)).ends.status == 400
        assert not two.asked


async def test_a_version_that_keeps_cutting_its_answers_at_one_place_is_served_at_the_next(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with twice(tmp_path, clock) as (here, one, two):
        one.acts, two.acts = (_mid_stream(OLLAMA),), (answering(OLLAMA, RIGHT, streamed=True),)
        for _ in range(FAILURES):
            assert (await ask(here.url, "m", streamed=True)).ends.code == "stream_cut"
        assert (await ask(here.url, "m", streamed=True)).ends.text == RIGHT
        await here.house.scout.look()
        one.acts, two.acts = (answering(OLLAMA, RIGHT, streamed=True),), (_mid_stream(OLLAMA),)
        for _ in range(FAILURES):
            await ask(here.url, "m", streamed=True)
        assert (await ask(here.url, "m", streamed=True)).ends.text == RIGHT


async def test_what_a_breaker_does_is_announced_and_shown(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with beside(tmp_path, clock, OPENAI) as (here, bad, _):
        bad.acts = (saying(500),)
        with here.house.announcer.listening() as heard:
            for _ in range(FAILURES):
                await ask(here.url, "a-bad", streamed=False)
            views_now = here.house.pool.views()
            shown = [views.instance_view(view, here.house.registry) for view in views_now]
            assert [one["ailing"] for one in shown] == ["it kept failing: engine_error"]
            dropped = here.house.select().dropped
            assert [one.reason for one in dropped] == ["it kept failing: engine_error"]
            clock.jump(PAUSES_S[0])
            bad.acts = (well(OPENAI),)
            await ask(here.url, "a-bad", streamed=False)
            kinds = Counter[str]()
            events = heard.stream()
            while kinds["breaker.closed"] == 0:
                kinds[(await anext(events)).kind] += 1
        assert (kinds["breaker.open"], kinds["breaker.trying"]) == (1, 1)


async def test_a_crash_is_one_failure_however_many_it_takes_with_it(tmp_path: Path) -> None:
    def half(request: Generation) -> Iterator[Step]:  # noqa: ARG001  # whatever was asked
        yield Say("half ")
        yield Hold(asyncio.Event())

    engine = Scripted(reply=half)
    async with stage(tmp_path / "data", engine=engine, pool__slots=32) as play:
        await play.house.admission.register(play.script("parrot", {}), parse_name("parrot"))
        async with AsyncExitStack() as stack:
            replies = [
                await stack.enter_async_context(play.house.stream("hello", model="parrot"))
                for _ in range(2 * FAILURES)
            ]
            streams = [reply.chunks() for reply in replies]
            for chunks in streams:
                await anext(chunks)
            engine.runners[0].die()
            for chunks in streams:
                with pytest.raises(StreamCut):
                    await anext(chunks)
        assert play.house.pool.ailing() == {}


async def test_a_prompt_is_too_long_also_for_those_that_are_passed_over(tmp_path: Path) -> None:
    def failing(request: Generation) -> Iterator[Step]:
        if "fail" in str(request.work):
            raise EngineError("broken")
        yield Say("well")

    async with stage(tmp_path / "data", engine=Scripted(reply=failing)) as play:
        await play.house.admission.register(play.script("parrot", {}), parse_name("parrot"))
        await play.house.admission.register(
            play.script("owl", {}, capabilities=["embeddings"]), parse_name("owl")
        )
        for _ in range(FAILURES):
            with suppress(ArbiterError):
                await play.house.ask("fail", model="parrot")
        assert play.house.pool.ailing()
        with pytest.raises(PromptTooLong, match=r"the most is 4,096, of parrot\."):
            await play.house.ask("word " * 8_000)
