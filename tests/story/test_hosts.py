"""One version that several servers offer: each is a host of it, and has its share of the work."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.standins.bad_servers import (
    OLLAMA,
    OPENAI,
    Act,
    BadServer,
    Dialect,
    answering,
    bad_server,
    reply,
    stream,
)
from tests.story.bad_backends import LIMIT_S, RIGHT, Street, ask, both_dialects, saying, street
from tests.story.houses import settings

from arbiter.clock import ManualClock
from arbiter.errors import ConfigError
from arbiter.knowledge.rules import Rule
from arbiter.pool.instance import State
from arbiter.pool.pool import loadable
from arbiter.refs import GENERAL, parse_name


def held_up(dialect: Dialect) -> Act:
    """A stream that begins when a minute has passed."""
    whole = stream(dialect, *(dialect.piece(w) for w in ("it", " goes", " on")), dialect.end())
    return Act(pieces=(b"", b"".join(whole)), paced=True)


@asynccontextmanager
async def two_hosts(
    folder: Path,
    dialect: Dialect,
    act: Act,
    *,
    clock: ManualClock | None = None,
    said: Callable[[BadServer, BadServer], Mapping[str, Any]] = lambda *_: {},
) -> AsyncIterator[tuple[Street, BadServer, BadServer]]:
    """A house in front of two servers with one model, and both are warm."""
    async with (
        asyncio.timeout(LIMIT_S),
        bad_server(dialect, "m", act) as one,
        bad_server(dialect, "m", act) as two,
    ):
        alike = {} if dialect is OLLAMA else {"discovery__alike": [[one.url, two.url]]}
        more = {"pool__slow_start_s": 0.0, **alike, **said(one, two)}
        async with street(folder / "data", one, two, clock=clock, **more) as here:
            version = loadable(here.house.registry.resolve(parse_name("m")))
            await here.house.pool.warm(version, count=2)
            yield here, one, two


def asking(here: Street) -> asyncio.Task[Any]:
    return asyncio.create_task(ask(here.url, "m", streamed=True))


async def until(here: Street, seen: Callable[[], bool]) -> None:
    while not seen():
        await here.house.database.settle()


async def asked(here: Street, *servers: BadServer, most: int) -> None:
    """Until so many requests have come to them together."""
    await until(here, lambda: sum(len(server.asked) for server in servers) >= most)


@both_dialects
async def test_two_servers_with_the_same_model_are_two_hosts_of_one_version(
    tmp_path: Path, dialect: Dialect
) -> None:
    async with two_hosts(tmp_path, dialect, held_up(dialect)) as (here, one, two):
        assert len(here.house.registry.versions()) == 1
        views = here.house.pool.views()
        assert {view.place for view in views} == {one.url, two.url}
        heard = [asking(here) for _ in range(8)]
        await asked(here, one, two, most=8)
        assert (len(one.asked), len(two.asked)) == (4, 4)
        for server in (one, two):
            for _ in range(4):
                server.minutes.release()
        assert {(await one).ends.text for one in heard} == {RIGHT}


async def test_servers_that_nobody_called_alike_and_that_tell_no_digest_are_two_versions(
    tmp_path: Path,
) -> None:
    async with (
        bad_server(OPENAI, "m", held_up(OPENAI)) as one,
        bad_server(OPENAI, "m", held_up(OPENAI)) as two,
        street(tmp_path / "data", one, two) as here,
    ):
        assert len(here.house.registry.versions()) == 2


@both_dialects
async def test_the_death_of_a_host_loses_no_request_that_had_not_begun(
    tmp_path: Path, dialect: Dialect
) -> None:
    async with two_hosts(tmp_path, dialect, held_up(dialect)) as (here, one, two):
        heard = [asking(here) for _ in range(8)]
        await asked(here, one, two, most=8)
        two.acts = (answering(dialect, RIGHT, streamed=True),)
        await one.stop()
        for _ in range(4):
            two.minutes.release()
        assert [(await got).ends.text for got in heard] == [RIGHT] * 8
        assert [(await got).ends.text for got in [asking(here) for _ in range(4)]] == [RIGHT] * 4
        states = {view.place: view.state for view in here.house.pool.views()}
        assert states[two.url] is State.READY


@both_dialects
async def test_a_host_has_its_weights_share(tmp_path: Path, dialect: Dialect) -> None:
    def said(one: BadServer, two: BadServer) -> Mapping[str, Any]:
        return {"pool__weights": {one.url: 3.0, two.url: 1.0}}

    async with two_hosts(tmp_path, dialect, held_up(dialect), said=said) as (here, one, two):
        heard = [asking(here) for _ in range(8)]
        await asked(here, one, two, most=8)
        assert (len(one.asked), len(two.asked)) == (6, 2)
        for server in (one, two):
            for _ in range(8):
                server.minutes.release()
        await asyncio.gather(*heard)


@both_dialects
async def test_a_host_without_weight_is_asked_when_the_other_one_is_gone(
    tmp_path: Path, dialect: Dialect
) -> None:
    def said(one: BadServer, two: BadServer) -> Mapping[str, Any]:
        del one
        return {"pool__weights": {two.url: 0.0}}

    well = answering(dialect, RIGHT, streamed=True)
    async with two_hosts(tmp_path, dialect, well, said=said) as (here, one, two):
        for _ in range(6):
            await asking(here)
        assert (len(one.asked), len(two.asked)) == (6, 0)
        await one.stop()
        assert (await asking(here)).ends.text == RIGHT
        assert len(two.asked) == 1


async def test_a_host_that_comes_back_has_its_share_again(tmp_path: Path) -> None:
    clock = ManualClock()
    async with two_hosts(tmp_path, OLLAMA, held_up(OLLAMA), clock=clock) as (here, one, two):
        one.acts = two.acts = (answering(OLLAMA, RIGHT, streamed=True),)
        one.resets = True
        await one.hang_up()
        for _ in range(4):
            assert (await asking(here)).ends.text == RIGHT
        one.resets = False
        clock.jump(60.0)
        await here.house.scout.look()
        one.acts = two.acts = (held_up(OLLAMA),)
        one.asked.clear()
        two.asked.clear()
        heard = [asking(here)]
        await asked(here, one, two, most=1)
        heard.append(asking(here))
        await asked(here, one, two, most=2)
        ready = [State.READY] * 2
        await until(here, lambda: [view.state for view in here.house.pool.views()] == ready)
        heard += [asking(here) for _ in range(4)]
        await asked(here, one, two, most=6)
        assert sorted((len(one.asked), len(two.asked))) in ([2, 4], [3, 3])
        for server in (one, two):
            for _ in range(8):
                server.minutes.release()
        await asyncio.gather(*heard)


def busy(seconds: int) -> Act:
    """What says that it is busy, and for how long."""
    more = f"Retry-After: {seconds}\r\n"
    return Act(pieces=(reply(b'{"error":"not now"}', status=429, more=more),))


@both_dialects
async def test_what_a_busy_host_turns_away_is_answered_by_the_other_and_it_is_left_out_so_long(
    tmp_path: Path, dialect: Dialect
) -> None:
    clock = ManualClock()
    async with two_hosts(tmp_path, dialect, held_up(dialect), clock=clock) as (here, one, two):
        one.acts = (busy(7),)
        heard = [asking(here) for _ in range(8)]
        await asked(here, two, most=8)
        turned_away = len(one.asked)
        assert turned_away > 0
        heard += [asking(here) for _ in range(4)]
        await asked(here, two, most=12)
        assert len(one.asked) == turned_away
        # it is no failure: nobody left, nothing is open, and its own time ends it
        assert {view.ailing for view in here.house.pool.views()} == {None}
        assert {view.state for view in here.house.pool.views()} == {State.READY}
        said = {view.place: view.resting for view in here.house.pool.views()}
        assert said == {one.url: "it said that it is busy, for 7 s more", two.url: None}
        clock.jump(7.0)
        one.acts = (held_up(dialect),)
        heard.append(asking(here))
        await asked(here, one, most=turned_away + 1)
        for server in (one, two):
            for _ in range(12):
                server.minutes.release()
        assert [(await got).ends.text for got in heard] == [RIGHT] * 13


@both_dialects
async def test_when_every_host_is_busy_the_caller_is_told_the_soonest_and_each_was_asked_once(
    tmp_path: Path, dialect: Dialect
) -> None:
    async with two_hosts(tmp_path, dialect, busy(0), clock=ManualClock()) as (here, one, two):
        one.acts, two.acts = (busy(3),), (busy(20),)
        heard = await asking(here)
        assert (heard.ends.code, heard.ends.retry_after) == ("busy", "3")
        assert (len(one.asked), len(two.asked)) == (1, 1)
        # nobody is refused because of what was said a moment ago: it may be over
        one.acts = two.acts = (answering(dialect, RIGHT, streamed=True),)
        assert (await asking(here)).ends.text == RIGHT


@both_dialects
async def test_what_a_busy_host_turns_away_has_a_budget_too(
    tmp_path: Path, dialect: Dialect
) -> None:
    def said(*_: BadServer) -> Mapping[str, Any]:
        return {"pool__retry_share": 0.0, "pool__retry_floor": 0}

    well = answering(dialect, RIGHT, streamed=True)
    async with two_hosts(tmp_path, dialect, well, clock=ManualClock(), said=said) as hosts:
        here, one, two = hosts
        one.acts = two.acts = (busy(7),)
        assert (await asking(here)).ends.code == "busy"
        assert len(one.asked) + len(two.asked) == 1


async def test_where_no_other_host_may_be_tried_another_version_still_answers(
    tmp_path: Path,
) -> None:
    """To go to the next version costs no budget: two busy hosts must not be worse than one."""
    well = answering(OLLAMA, RIGHT, streamed=True)
    async with (
        asyncio.timeout(LIMIT_S),
        bad_server(OLLAMA, "m", well) as one,
        bad_server(OLLAMA, "m", well) as two,
        bad_server(OLLAMA, "n", well) as other,
        street(
            tmp_path / "data", one, two, other,
            clock=ManualClock(), pool__retry_share=0.0, pool__retry_floor=0,
        ) as here,
    ):  # fmt: skip
        await here.house.rules.add(Rule(task=GENERAL, prefer=parse_name("m")))
        one.acts = two.acts = (busy(7),)
        assert (await ask(here.url, "auto", streamed=True)).ends.text == RIGHT
        assert len(one.asked) + len(two.asked) == 1
        assert len(other.asked) == 1


async def test_a_host_that_nobody_needed_yet_is_had_when_the_first_one_is_busy(
    tmp_path: Path,
) -> None:
    well = answering(OLLAMA, RIGHT, streamed=True)
    async with (
        asyncio.timeout(LIMIT_S),
        bad_server(OLLAMA, "m", well) as one,
        bad_server(OLLAMA, "m", well) as two,
        street(tmp_path / "data", one, two, clock=ManualClock()) as here,
    ):
        assert (await asking(here)).ends.text == RIGHT
        first, second = (one, two) if one.asked else (two, one)
        first.acts = (busy(7),)
        assert not second.asked
        assert (await asking(here)).ends.text == RIGHT
        assert len(second.asked) == 1
        # with nobody beside it, what it says is what the caller is told
        await second.stop()
        heard = await asking(here)
        assert (heard.ends.code, heard.ends.retry_after) == ("busy", "7")


@pytest.mark.parametrize(
    ("statuses", "count"),
    [
        *((found, 1) for found in itertools.product((200, 429, 500), repeat=3) if 200 in found),
        *((found, 3) for found in ((429, 500, 200), (500, 429, 200), (429, 429, 200))),
    ],
    ids=lambda found: str(found).replace(", ", "-").strip("()"),
)
async def test_of_three_hosts_the_one_that_can_answer_does(
    tmp_path: Path, statuses: tuple[int, ...], count: int
) -> None:
    well = answering(OLLAMA, RIGHT, streamed=True)
    acts = {200: well, 429: busy(7), 500: saying(500)}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(LIMIT_S))
        hosts = [await stack.enter_async_context(bad_server(OLLAMA, "m", well)) for _ in range(3)]
        told = street(tmp_path / "data", *hosts, clock=ManualClock(), pool__slow_start_s=0.0)
        here = await stack.enter_async_context(told)
        version = loadable(here.house.registry.resolve(parse_name("m")))
        await here.house.pool.warm(version, count=count)
        for host, status in zip(hosts, statuses, strict=True):
            host.acts = (acts[status],)
        for _ in range(3):
            assert (await asking(here)).ends.text == RIGHT


def test_a_server_is_in_one_group_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="in one group"):
        settings(tmp_path, discovery__alike=[["http://a:1", "http://b:1"], ["http://a:1/v1"]])


def test_a_weight_is_no_negative_number(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="from 0 to 1000"):
        settings(tmp_path, pool__weights={"http://a:1": -1.0})
