"""Slow clients (slow loris): each is given up at its bound, and nobody else waits for them.

They send or take a byte whenever somebody else was answered, so they are never quite silent.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from tests.contract.door_support import (
    CHAT_PATH,
    FINISH,
    STREAMED_CHAT,
    ScriptedHouse,
    at_the_door,
    get,
    parsed,
    post,
    request,
)

from arbiter.gateway.security import Policy
from arbiter.gateway.serving import Address, Patience
from arbiter.inference import Delta

MANY = 200
LIMIT_S = 60.0


@asynccontextmanager
async def dripping(
    address: Address, sent: bytes
) -> AsyncIterator[list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
    """Many who have sent this, and would go on byte by byte."""
    found = [await asyncio.open_connection(address.host, address.port) for _ in range(MANY)]
    try:
        for _, writer in found:
            writer.write(sent)
        yield found
    finally:
        for _, writer in found:
            writer.close()


async def _drip_until_let_go(
    address: Address, clients: Sequence[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
) -> list[int | None]:
    """A byte of each for every answer that somebody else gets; the statuses in the end.

    None: what was sent after the door had closed has swept the status away.
    """
    ends = [asyncio.create_task(_ending(reader)) for reader, _ in clients]
    while not all(end.done() for end in ends):
        assert (await get(address, "/healthz")).status == 200
        for (_, writer), end in zip(clients, ends, strict=True):
            if not end.done():
                writer.write(b"a")
    return [end.result() for end in ends]


async def _ending(reader: asyncio.StreamReader) -> int | None:
    try:
        return parsed(await reader.read()).status
    except ConnectionResetError:
        return None


@pytest.mark.parametrize("beginning", [b"", b"GET / HTTP/1.1\r\nX-Slow: "])
async def test_heads_that_drip_are_given_up_while_others_are_answered(beginning: bytes) -> None:
    async with (
        asyncio.timeout(LIMIT_S),
        at_the_door(ScriptedHouse(), patience=Patience(head_s=0.6)) as address,
        dripping(address, beginning) as clients,
    ):
        statuses = await _drip_until_let_go(address, clients)
    assert set(statuses) <= ({408, None} if beginning else {400, 408, None})


async def test_bodies_that_drip_are_given_up_while_others_are_answered() -> None:
    house = ScriptedHouse()
    async with (
        asyncio.timeout(LIMIT_S),
        at_the_door(house, Policy(body_deadline_s=0.6)) as address,
    ):
        whole = request("POST", CHAT_PATH, address, body=b" " * 100_000)
        async with dripping(address, whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n") as clients:
            assert set(await _drip_until_let_go(address, clients)) <= {408, None}
    assert house.asks == []


async def test_who_takes_an_answer_byte_by_byte_is_cut_off_and_its_work_ends() -> None:
    house = ScriptedHouse(script=(*[Delta(text="a" * 65_536)] * 1000, FINISH))
    async with (
        asyncio.timeout(LIMIT_S),
        at_the_door(house, patience=Patience(reader_s=0.3, drain_s=2)) as address,
    ):
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(slow, (address.host, address.port))
        await loop.sock_sendall(slow, request("POST", CHAT_PATH, address, body=STREAMED_CHAT))
        while not house.has_left.is_set():
            assert (await get(address, "/healthz")).status == 200
            await loop.sock_recv(slow, 1)
        slow.close()
        assert house.closed_early == [True]
        house.script = (Delta(text="hi"), FINISH)
        assert (await post(address)).status == 200
