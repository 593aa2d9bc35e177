"""Backends that misbehave in every way known, in both dialects, seen through the door."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.standins.bad_servers import (
    OPENAI,
    Act,
    BadServer,
    Dialect,
    Then,
    answering,
    bad_server,
    begins,
    chunk,
)
from tests.story.bad_backends import (
    CUT,
    FAR_TOO_LONG,
    FAULTS,
    HASTY,
    RIGHT,
    SILENT,
    Ends,
    Fault,
    ask,
    before_the_first_byte,
    both_dialects,
    street,
)

from arbiter.dispatch.serving import FRESH_TRIES

LIMIT_S = 60.0
"""No request takes as long: more than any bound in here, with its tries."""

every_fault = pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
both_ways = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])


async def befall(fault: Fault, server: BadServer, *, streamed: bool) -> None:
    """Let the fault happen to a server that was found well."""
    if fault.acts is not None:
        server.acts = (fault.acts(server.dialect, streamed),)
    elif fault.name == "reset on accept":
        server.resets = True
        await server.hang_up()
    else:
        await server.stop()


def goes_on(fault: Fault, server: BadServer) -> Callable[[], None]:
    """Let the server go on with what it is bad at, unless it is bad at just that."""
    return (lambda: None) if fault.name == "one token a minute" else server.minutes.release


@both_ways
@both_dialects
@every_fault
async def test_a_fault_is_told_as_what_it_is_and_never_as_an_answer(
    tmp_path: Path, fault: Fault, dialect: Dialect, streamed: bool
) -> None:
    async with (
        asyncio.timeout(LIMIT_S),
        bad_server(dialect, "bad") as bad,
        street(tmp_path / "data", bad, **fault.waits) as here,
    ):
        await befall(fault, bad, streamed=streamed)
        heard = await ask(here.url, "bad", streamed=streamed, seen=goes_on(fault, bad))
        assert heard.ends == fault.ends(streamed=streamed)
        is_success = heard.ends.code is None
        assert heard.dones == (is_success and streamed)
        assert heard.finishes == is_success
        assert "/dev/memory" not in heard.raw
        record = await here.house.record(heard.decision or "")
        assert record.outcome is not None
        assert (record.outcome.status.value == "success") is is_success
        assert [view.leases for view in here.house.pool.views()] == [0]


@both_ways
@both_dialects
@every_fault
async def test_before_the_first_byte_another_one_answers_and_after_it_nobody(
    tmp_path: Path, fault: Fault, dialect: Dialect, streamed: bool
) -> None:
    good_one = answering(OPENAI, RIGHT, streamed=streamed)
    async with (
        asyncio.timeout(LIMIT_S),
        bad_server(dialect, "a-bad") as bad,
        bad_server(OPENAI, "b-good", good_one) as good,
        street(tmp_path / "data", bad, good, **fault.waits) as here,
    ):
        await befall(fault, bad, streamed=streamed)
        alone = fault.ends(streamed=streamed)
        heard = await ask(here.url, "auto", streamed=streamed, seen=goes_on(fault, bad))
        if before_the_first_byte(alone):
            assert heard.ends == Ends(status=200, text=RIGHT)
            assert heard.version == here.version("b-good")
        else:
            assert heard.ends == alone
            assert heard.version == here.version("a-bad")
            assert not good.asked


@both_dialects
async def test_one_token_a_minute_is_an_answer_for_whom_that_is_not_too_slow(
    tmp_path: Path, dialect: Dialect
) -> None:
    (slow,) = (fault for fault in FAULTS if fault.name == "one token a minute")
    async with (
        asyncio.timeout(LIMIT_S),
        bad_server(dialect, "slow") as server,
        street(tmp_path / "data", server, pool__first_s=120, pool__next_s=120) as here,
    ):
        await befall(slow, server, streamed=True)

        def two_minutes() -> None:
            server.minutes.release()
            server.minutes.release()

        heard = await ask(here.url, "slow", streamed=True, seen=two_minutes)
        assert heard.ends == Ends(status=200, text="hello")


@pytest.mark.parametrize("begun", [False, True], ids=["before an answer", "within one"])
@both_dialects
async def test_a_server_that_only_says_that_it_lives_is_given_up(
    tmp_path: Path, dialect: Dialect, begun: bool
) -> None:
    opening = begins(dialect.events) + (chunk(dialect.piece("hel")) if begun else b"")
    alive = Act(pieces=(opening,), murmurs=chunk(dialect.sign_of_life()))
    async with (
        asyncio.timeout(LIMIT_S),
        bad_server(dialect, "alive", alive) as server,
        street(tmp_path / "data", server, **HASTY) as here,
    ):
        heard = await ask(here.url, "alive", streamed=True)
        assert heard.ends == (CUT if begun else SILENT)
        await server.left.wait()


@both_dialects
async def test_a_line_without_an_end_is_let_go_long_before_it_is_whole(
    tmp_path: Path, dialect: Dialect
) -> None:
    (long,) = (fault for fault in FAULTS if fault.name == "a 50 MB line")
    async with (
        asyncio.timeout(LIMIT_S),
        bad_server(dialect, "long") as server,
        street(tmp_path / "data", server) as here,
    ):
        await befall(long, server, streamed=False)
        await ask(here.url, "long", streamed=False)
        await server.left.wait()
        assert server.poured < FAR_TOO_LONG / 2


@both_ways
@both_dialects
async def test_who_is_lost_again_and_again_is_asked_three_times_and_no_more(
    tmp_path: Path, dialect: Dialect, streamed: bool
) -> None:
    async with (
        asyncio.timeout(LIMIT_S),
        bad_server(dialect, "bad", Act(then=Then.RESET)) as server,
        street(tmp_path / "data", server) as here,
    ):
        await ask(here.url, "bad", streamed=streamed)
        # a request that is lost with a kept connection is sent once more on another one
        assert len(server.asked) == FRESH_TRIES * 2
