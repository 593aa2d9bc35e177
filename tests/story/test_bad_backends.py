"""Backends that misbehave in every way known, in both dialects, seen through the door."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.standins.bad_servers import DIALECTS, OPENAI, BadServer, Dialect, answering, bad_server
from tests.story.bad_backends import (
    FAULTS,
    RIGHT,
    Ends,
    Fault,
    ask,
    before_the_first_byte,
    street,
)

LIMIT_S = 20.0
"""No request takes as long: more than any bound in here, with its tries."""

every_fault = pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
both_dialects = pytest.mark.parametrize("dialect", DIALECTS, ids=[d.name for d in DIALECTS])
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
        street(tmp_path / "data", bad) as here,
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
        street(tmp_path / "data", bad, good) as here,
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
