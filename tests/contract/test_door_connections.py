"""Connections: clients that hang up, pieces as they come, and a door that closes."""

from __future__ import annotations

import asyncio
import gc

import pytest
from tests.contract.door_support import (
    CHAT,
    CHAT_PATH,
    STREAMED_CHAT,
    ScriptedHouse,
    at_the_door,
    exchanged,
    get,
    parsed,
    post,
    request,
)

from arbiter.errors import (
    ShuttingDown,
)
from arbiter.gateway.serving import Patience

# Hanging up

WINDOWS = [
    (CHAT, -1),
    (CHAT, 1),
    (STREAMED_CHAT, -1),
    (STREAMED_CHAT, 1),
    (STREAMED_CHAT, 2),
]


@pytest.mark.parametrize(("body", "hold_at"), WINDOWS)
async def test_a_client_that_hangs_up_ends_the_work_for_it(body: bytes, hold_at: int) -> None:
    house = ScriptedHouse(hold_at=hold_at)
    async with at_the_door(house) as address:
        _, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(request("POST", CHAT_PATH, address, body=body))
        await asyncio.wait_for(house.is_held.wait(), 5)
        writer.close()
        await asyncio.wait_for(house.has_left.wait(), 5)
        assert house.closed_early == [True]


async def test_a_client_that_waits_is_answered_and_nothing_is_closed_early() -> None:
    house = ScriptedHouse(hold_at=1)
    async with at_the_door(house) as address:
        waiting = asyncio.create_task(post(address, STREAMED_CHAT))
        await asyncio.wait_for(house.is_held.wait(), 5)
        house.go_on.set()
        answered = await waiting
    assert answered.text.endswith("data: [DONE]\n\n")
    assert house.closed_early == [False]


async def test_each_piece_of_a_stream_is_sent_before_the_next_is_there() -> None:
    house = ScriptedHouse(hold_at=1)
    async with at_the_door(house) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(request("POST", CHAT_PATH, address, body=STREAMED_CHAT))
        first = await asyncio.wait_for(reader.readuntil(b'"Hel"'), 5)
        house.go_on.set()
        rest = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert b'"role":"assistant"' in first
    assert b"[DONE]" in rest


async def test_one_connection_serves_one_request_after_another() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        kept = request("POST", CHAT_PATH, address, body=CHAT).replace(b"Connection: close\r\n", b"")
        for _ in range(3):
            writer.write(kept)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            length = int(parsed(head).headers["content-length"])
            assert b'"object":"chat.completion"' in await reader.readexactly(length)
        writer.close()


async def test_a_hang_up_is_noticed_after_a_large_body_that_came_in_parts() -> None:
    """A server stops reading at a large body; if it did not go on, nobody would see who leaves."""
    house = ScriptedHouse(hold_at=-1)
    long = CHAT.replace(b'"hi"', b'"%b"' % (b"hi " * 60_000))
    assert len(long) > 100_000
    async with at_the_door(house) as address:
        _, writer = await asyncio.open_connection(address.host, address.port)
        sent = request("POST", CHAT_PATH, address, body=long)
        head, _, body = sent.partition(b"\r\n\r\n")
        for part in (head + b"\r\n\r\n", body[:70_000], body[70_000:]):
            writer.write(part)
            await writer.drain()
            await get(address, "/healthz")  # by then the part has been read
        await asyncio.wait_for(house.is_held.wait(), 5)
        writer.close()
        await asyncio.wait_for(house.has_left.wait(), 5)
        assert house.closed_early == [True]


@pytest.mark.parametrize("queued", [1, 7])
async def test_a_hang_up_is_noticed_while_other_requests_of_the_connection_wait(
    queued: int,
) -> None:
    house = ScriptedHouse(hold_at=1)
    async with at_the_door(house) as address:
        _, writer = await asyncio.open_connection(address.host, address.port)
        kept = request("POST", CHAT_PATH, address, body=CHAT).replace(b"Connection: close\r\n", b"")
        writer.write(kept)
        await asyncio.wait_for(house.is_held.wait(), 5)
        writer.write(kept * queued)
        await get(address, "/healthz")  # by then they have been read
        writer.close()
        await asyncio.wait_for(house.has_left.wait(), 5)
    assert (house.closed_early, len(house.asks)) == ([True], 1)


async def test_many_requests_at_once_on_one_connection_are_answered_in_order() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        kept = [
            request("GET", f"/v1/models/{number}", address).replace(b"Connection: close\r\n", b"")
            for number in range(40)
        ]
        writer.write(b"".join(kept))
        for number in range(40):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            body = await reader.readexactly(int(parsed(head).headers["content-length"]))
            assert f"'{number}'" in body.decode()
        writer.close()


async def test_what_is_no_http_is_never_answered_in_the_middle_of_an_answer() -> None:
    house = ScriptedHouse(hold_at=1)
    async with at_the_door(house) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        kept = request("POST", CHAT_PATH, address, body=STREAMED_CHAT)
        writer.write(kept.replace(b"Connection: close\r\n", b""))
        await asyncio.wait_for(reader.readuntil(b'"Hel"'), 5)
        writer.write(b"\x00\x01bad\r\n\r\n")
        rest = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        await asyncio.wait_for(house.has_left.wait(), 5)
    assert b"HTTP/1.1 400" not in rest
    assert house.closed_early == [True]


async def test_a_client_that_knows_no_chunks_gets_none() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        sent = request("POST", CHAT_PATH, address, body=STREAMED_CHAT)
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(sent.replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert body.startswith(b"data: {")
    assert body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("body", [CHAT, STREAMED_CHAT])
async def test_an_answered_request_leaves_nothing_that_holds_itself(body: bytes) -> None:
    """Else it stays in memory until the collector comes, and that comes seldom in a house."""
    async with at_the_door(ScriptedHouse()) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        kept = request("POST", CHAT_PATH, address, body=body).replace(b"Connection: close\r\n", b"")
        end = b"[DONE]\n\n\r\n0\r\n\r\n" if body is STREAMED_CHAT else b"}}"
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                writer.write(kept)
                await asyncio.wait_for(reader.readuntil(end), 5)
            assert gc.collect() < 20
        finally:
            gc.enable()
        writer.close()


@pytest.mark.parametrize("is_apart", [False, True])
async def test_who_asks_for_http_2_is_answered_in_http_1(is_apart: bool) -> None:
    """As Java's client does with every request, a body included."""
    async with at_the_door(ScriptedHouse()) as address:
        sent = request("POST", CHAT_PATH, address, body=CHAT)
        asked = (
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
        )
        sent = sent.replace(b"Connection: close\r\n", asked)
        assert asked in sent
        head, _, body = sent.partition(b"\r\n\r\n")
        reader, writer = await asyncio.open_connection(address.host, address.port)
        for part in (head + b"\r\n\r\n", body) if is_apart else (sent,):
            writer.write(part)
            await writer.drain()
            await get(address, "/healthz")  # by then the part has been read
        for _ in range(2):
            found = parsed(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5))
            assert found.status == 200
            await reader.readexactly(int(found.headers["content-length"]))
            writer.write(sent)  # and once more on the same connection
        writer.close()


# Closing


async def test_a_request_that_is_going_on_may_end_while_the_door_closes() -> None:
    house = ScriptedHouse(hold_at=1)
    async with at_the_door(house) as address:
        waiting = asyncio.create_task(post(address, STREAMED_CHAT))
        await asyncio.wait_for(house.is_held.wait(), 5)
        asyncio.get_running_loop().call_soon(house.go_on.set)
    assert (await waiting).text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("body", [CHAT, STREAMED_CHAT])
async def test_a_request_that_outlasts_the_closing_is_told_so(body: bytes) -> None:
    house = ScriptedHouse(hold_at=1)
    async with at_the_door(house, patience=Patience(drain_s=0)) as address:
        waiting = asyncio.create_task(post(address, body))
        await asyncio.wait_for(house.is_held.wait(), 5)
    answered = await waiting
    assert ShuttingDown.code in answered.text
    assert "[DONE]" not in answered.text
    assert house.closed_early == [True]


async def test_a_closed_door_lets_nobody_in() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        pass
    with pytest.raises(ConnectionRefusedError):
        await get(address, "/")


async def test_a_web_origin_that_asks_beforehand_learns_nothing() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        preflight = request("OPTIONS", CHAT_PATH, address, headers=["Origin: https://evil.example"])
        answered = await exchanged(address, preflight)
    assert answered.status == 405
    assert answered.headers["allow"] == "POST"
    assert not [name for name in answered.headers if name.startswith("access-control")]
