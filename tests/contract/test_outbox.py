"""Writes that are gathered: all of a turn, in order, and none is lost with another."""

from __future__ import annotations

import asyncio

from arbiter.outbox import Outbox


async def a_turn() -> None:
    """Return when the loop has done all that it had at hand."""
    done = asyncio.Event()
    asyncio.get_running_loop().call_soon(done.set)
    await done.wait()


async def test_writes_of_one_turn_go_out_in_the_next_in_their_order() -> None:
    outbox, done = Outbox(asyncio.get_running_loop()), list[int]()
    outbox.put(lambda: done.append(1))
    outbox.put(lambda: done.append(2))
    assert done == []
    await a_turn()
    assert done == [1, 2]


async def test_what_is_put_in_while_it_is_emptied_goes_out_a_turn_later() -> None:
    loop = asyncio.get_running_loop()
    outbox, done = Outbox(loop), list[str]()
    outbox.put(lambda: outbox.put(lambda: done.append("later")))
    loop.call_soon(done.append, "the first turn's end")
    await a_turn()
    assert done == ["the first turn's end", "later"]


async def test_a_write_that_fails_takes_no_other_one_with_it() -> None:
    loop = asyncio.get_running_loop()
    outbox, done, told = Outbox(loop), list[str](), list[object]()

    def fail() -> None:
        raise RuntimeError("it is closed")

    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    outbox.put(fail)
    outbox.put(lambda: done.append("sent"))
    await a_turn()
    assert done == ["sent"]
    assert [str(error) for error in told] == ["it is closed"]
