"""HTTP to a worker: connections kept, connections lost, readers that are slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from arbiter.clock import ManualClock
from arbiter.engines.channel import Address, Channel
from arbiter.engines.deadlines import Deadlines, within

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def response(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def take_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head + await reader.readexactly(length)


@asynccontextmanager
async def channel_to(serve: Serve, folder: Path) -> AsyncIterator[Channel]:
    """A channel to a server that does what the test says."""
    clients: set[asyncio.StreamWriter] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.add(writer)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    path = str(folder / "s.sock")
    server = await asyncio.start_unix_server(one, path)
    deadlines = Deadlines(ManualClock())
    channel = Channel(address=Address(path=path), key="k", deadlines=deadlines, idle=2)
    try:
        yield channel
    finally:
        channel.close()
        await deadlines.close()
        server.close()
        await server.wait_closed()
        await asyncio.gather(*(w.wait_closed() for w in clients), return_exceptions=True)


async def ask(channel: Channel, body: bytes = b"{}", *, keep: bool = True) -> bytes:
    connection = await channel.ask("POST", "/x", body, keep=keep, seconds=5)
    try:
        return await connection.receive_all(Deadlines(ManualClock()), 5)
    finally:
        channel.release(connection, keep=keep)


async def test_a_connection_is_used_again(tmp_path: Path) -> None:
    opened = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        while await take_request(reader):
            writer.write(response(b"%d" % opened))

    async with channel_to(serve, tmp_path) as channel:
        assert [await ask(channel) for _ in range(3)] == [b"1", b"1", b"1"]
        assert [await ask(channel, keep=False) for _ in range(2)] == [b"1", b"2"]


async def test_a_kept_connection_that_is_closed_as_the_request_is_written_is_replaced_once(
    tmp_path: Path,
) -> None:
    opened = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        mine = opened
        await take_request(reader)
        writer.write(response(b"%d" % mine))
        await take_request(reader)  # and close without a word

    async with channel_to(serve, tmp_path) as channel:
        assert await ask(channel) == b"1"
        assert await ask(channel) == b"2"


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"not HTTP at all\r\n\r\n"]
)
async def test_a_fresh_connection_that_breaks_is_an_error(tmp_path: Path, said: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_request(reader)
        writer.write(said)

    async with channel_to(serve, tmp_path) as channel:
        with pytest.raises(ConnectionError):
            await ask(channel)


async def test_a_response_that_has_begun_is_never_asked_for_again(tmp_path: Path) -> None:
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while await take_request(reader):
            asked += 1
            if asked == 2:
                writer.write(b"HTTP/1.1 2")
                return
            writer.write(response(b"ok"))

    async with channel_to(serve, tmp_path) as channel:
        assert await ask(channel) == b"ok"
        with pytest.raises(ConnectionError):
            await ask(channel)
    assert asked == 2


async def test_a_slow_reader_makes_the_worker_wait_and_loses_nothing(tmp_path: Path) -> None:
    size = 8 * 1024 * 1024
    written = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_request(reader)
        writer.write(response(bytes(size)))
        await writer.drain()
        written.set()
        await reader.read()

    async with channel_to(serve, tmp_path) as channel:
        deadlines = Deadlines(ManualClock())
        connection = await channel.ask("POST", "/x", b"{}", keep=False, seconds=5)
        first = await connection.receive(deadlines, 5)
        assert not written.is_set()
        assert len(first) < 1024 * 1024
        rest = await connection.receive_all(deadlines, 5)
        channel.release(connection, keep=False)
        await deadlines.close()
        assert len(first) + len(rest) == size


async def test_whoever_hangs_up_closes_the_connection(tmp_path: Path) -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await take_request(reader)
        asked.set()
        await reader.read()
        left.set()

    async with channel_to(serve, tmp_path) as channel:
        waiting = asyncio.create_task(ask(channel))
        await asked.wait()
        waiting.cancel()
        await left.wait()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_a_closed_channel_connects_to_nobody(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_request(reader)
        writer.write(response(b"ok"))

    async with channel_to(serve, tmp_path) as channel:
        channel.close()
        with pytest.raises(ConnectionError):
            await ask(channel)


async def test_work_that_takes_too_long_is_cancelled_and_cleans_up() -> None:
    clock, started, cleaned = ManualClock(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    bounded = asyncio.create_task(within(clock, 5, work()))
    await started.wait()
    clock.jump(5)
    with pytest.raises(TimeoutError):
        await bounded
    assert cleaned.is_set()
