"""What goes out on a connection: gathered, in order, and never held for longer than a turn."""

from __future__ import annotations

import asyncio

from arbiter.gateway.outlet import Outlet
from arbiter.outbox import Outbox


class Wire(asyncio.Transport):
    """A transport that notes what is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[bytes | str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_closing():
            raise RuntimeError("unable to perform operation on it; the handler is closed")  # uvloop
        self.done.append(bytes(data))

    def close(self) -> None:
        self.done.append("close")

    def abort(self) -> None:
        self.done.append("abort")

    def is_closing(self) -> bool:
        return "close" in self.done

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.done.append("end")


def an_outlet() -> tuple[Outlet, Wire]:
    wire = Wire()
    return Outlet(wire, Outbox(asyncio.get_running_loop())), wire


async def a_turn() -> None:
    """Return when the loop has done all that it had at hand."""
    done = asyncio.Event()
    asyncio.get_running_loop().call_soon(done.set)
    await done.wait()


async def test_what_is_written_in_one_turn_goes_out_together() -> None:
    outlet, wire = an_outlet()
    outlet.write(b"head ")
    outlet.write(bytearray(b"body"))
    assert wire.done == []
    await a_turn()
    assert wire.done == [b"head body"]


async def test_the_next_turn_has_a_write_of_its_own() -> None:
    outlet, wire = an_outlet()
    outlet.write(b"one")
    await a_turn()
    outlet.write(b"two")
    await a_turn()
    assert wire.done == [b"one", b"two"]


async def test_much_goes_out_at_once_so_that_a_slow_reader_is_noticed() -> None:
    outlet, wire = an_outlet()
    outlet.write(b"a")
    outlet.write(b"b" * 70_000)
    assert wire.done == [b"a" + b"b" * 70_000]
    await a_turn()
    assert len(wire.done) == 1


async def test_closing_sends_what_is_held_first() -> None:
    outlet, wire = an_outlet()
    outlet.write(b"last words")
    outlet.close()
    assert wire.done == [b"last words", "close"]
    assert outlet.is_closing()
    await a_turn()
    assert wire.done == [b"last words", "close"]


async def test_aborting_sends_nothing_more() -> None:
    outlet, wire = an_outlet()
    outlet.write(b"never")
    outlet.abort()
    await a_turn()
    assert wire.done == ["abort"]


async def test_what_is_held_for_a_client_that_has_gone_is_dropped() -> None:
    outlet, wire = an_outlet()
    raised: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: raised.append(told))
    outlet.write(b"for nobody")
    wire.close()  # the other side did
    await a_turn()
    assert (wire.done, raised) == (["close"], [])
    outlet.write(b"more for nobody")
    outlet.close()


async def test_an_end_comes_after_what_is_held_and_is_not_yet_a_close() -> None:
    outlet, wire = an_outlet()
    outlet.write(b"last")
    outlet.end()
    assert wire.done == [b"last", "end"]
    assert outlet.is_closing()
    outlet.close()
    assert wire.done == [b"last", "end", "close"]
