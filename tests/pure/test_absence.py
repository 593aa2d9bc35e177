"""A wait that ends when a server is found gone, and no other way of ending mistaken for that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from arbiter.errors import InstanceLost
from arbiter.pool.absence import Absence


async def turn() -> None:
    """Let the event loop go round once."""
    gone_round = asyncio.Event()
    asyncio.get_running_loop().call_soon(gone_round.set)
    await gone_round.wait()


async def pieces(
    comes: asyncio.Event, *, waits: asyncio.Event | None = None
) -> AsyncGenerator[str]:
    if waits is not None:
        waits.set()
    await comes.wait()
    yield "first"
    yield "second"


async def test_what_comes_is_given() -> None:
    comes, absence = asyncio.Event(), Absence()
    comes.set()
    coming = pieces(comes)
    assert [await absence.next_of(coming), await absence.next_of(coming)] == ["first", "second"]
    absence.set()
    with pytest.raises(InstanceLost):
        await absence.next_of(coming)
    await turn()


async def test_a_wait_ends_when_the_server_is_found_gone_and_the_task_goes_on() -> None:
    absence, waits = Absence(), asyncio.Event()

    async def ask() -> str:
        try:
            return await absence.next_of(pieces(asyncio.Event(), waits=waits))
        except InstanceLost:
            await turn()  # nothing of the cancellation is left
            return "asked elsewhere"

    asking = asyncio.create_task(ask())
    await waits.wait()
    absence.set()
    assert await asking == "asked elsewhere"
    assert not asking.cancelling()


async def test_an_answer_that_comes_in_the_same_moment_is_lost_with_its_server() -> None:
    absence, waits, comes = Absence(), asyncio.Event(), asyncio.Event()
    asking = asyncio.create_task(absence.next_of(pieces(comes, waits=waits)))
    await waits.wait()
    comes.set()
    absence.set()
    with pytest.raises(InstanceLost):
        await asking


@pytest.mark.parametrize("is_gone", [False, True])
async def test_whoever_is_cancelled_from_elsewhere_stays_cancelled(is_gone: bool) -> None:
    absence, waits = Absence(), asyncio.Event()
    asking = asyncio.create_task(absence.next_of(pieces(asyncio.Event(), waits=waits)))
    await waits.wait()
    asking.cancel()
    if is_gone:
        absence.set()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_it_cuts_no_wait_that_is_over() -> None:
    absence, comes = Absence(), asyncio.Event()
    comes.set()
    await absence.next_of(pieces(comes))
    absence.set()
    await turn()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
