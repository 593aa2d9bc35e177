"""Bounds of the door: bodies, heads, time, and where it listens."""

from __future__ import annotations

import asyncio
import socket

import pytest
from starlette.types import Receive, Scope, Send
from tests.contract.door_security_support import Inside
from tests.contract.door_support import (
    CHAT,
    CHAT_PATH,
    Answered,
    ScriptedHouse,
    at_the_door,
    exchanged,
    get,
    parsed,
    post,
    request,
)

from arbiter.errors import ConfigError
from arbiter.gateway.security import (
    Policy,
)
from arbiter.gateway.serving import Address, Patience, serving

# Bounds

SMALL = Policy(max_body_bytes=100)


@pytest.mark.security("S-29")
async def test_a_body_that_says_it_is_too_large_is_refused_unread() -> None:
    async with at_the_door(house := ScriptedHouse()) as address:
        huge = request("POST", CHAT_PATH, address, headers=[JSON, "Content-Length: 10000000000"])
        answered = await exchanged(address, huge)
    assert (answered.status, answered.headers["connection"]) == (413, "close")
    assert house.asks == []


JSON = "Content-Type: application/json"


def chunked(address: Address) -> bytes:
    """The beginning of a chunked request."""
    return request("POST", CHAT_PATH, address, headers=[JSON, "Transfer-Encoding: chunked"])


@pytest.mark.security("S-29")
async def test_a_chunked_body_is_cut_at_the_limit() -> None:
    async with at_the_door(house := ScriptedHouse(), SMALL) as address:
        answered = await exchanged(
            address,
            chunked(address) + b"32\r\n" + b" " * 50 + b"\r\n" + b"33\r\n" + b" " * 51 + b"\r\n",
        )
    assert (answered.status, answered.headers["connection"]) == (413, "close")
    assert house.asks == []


async def test_a_chunked_body_within_the_limit_is_read_whole() -> None:
    async with at_the_door(house := ScriptedHouse(), SMALL) as address:
        pieces = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (CHAT[:20], CHAT[20:]))
        answered = await exchanged(address, chunked(address) + pieces + b"0\r\n\r\n")
    assert (answered.status, len(house.asks)) == (200, 1)


async def test_a_body_that_does_not_come_is_given_up() -> None:
    async with at_the_door(house := ScriptedHouse(), Policy(body_deadline_s=0.01)) as address:
        answered = await exchanged(address, request("POST", CHAT_PATH, address, body=CHAT)[:-5])
    assert (answered.status, answered.headers["connection"]) == (408, "close")
    assert house.asks == []


async def test_a_client_that_leaves_within_its_body_leaves_no_trace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with at_the_door(house := ScriptedHouse()) as address:
        _, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(request("POST", CHAT_PATH, address, body=CHAT)[:-5])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await post(address)).status == 200
    assert (len(house.asks), caplog.text) == (1, "")


HEADS = [
    [f"X-{n}: y" for n in range(101)],
    ["X: " + "y" * 33_000],
    ["X: " + "y" * 5_000_000],
    [f"X-{n}: " + "y" * 60_000 for n in range(90)],
]


@pytest.mark.security("S-29")
@pytest.mark.parametrize("headers", HEADS, ids=["many", "large", "huge", "many and large"])
async def test_headers_are_bounded(headers: list[str]) -> None:
    async with at_the_door(ScriptedHouse()) as address:
        first = await first_line(address, request("GET", "/", address, headers=headers))
    assert first in {b"HTTP/1.1 431 Request Header Fields Too Large\r\n", b""}


async def first_line(address: Address, data: bytes) -> bytes:
    """What a client sees first; nothing when the server has cut it off meanwhile."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.readline(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()


DOUBLED = ["Content-Type: application/json\r\nContent-Type: text/plain", "Content-Length: 5"]


@pytest.mark.parametrize("header", DOUBLED)
async def test_a_header_that_two_readers_could_read_differently_is_refused(header: str) -> None:
    async with at_the_door(house := ScriptedHouse()) as address:
        answered = await post(address, headers=[header])
    assert (answered.status, house.asks) == (400, [])


async def test_a_get_with_a_body_is_refused() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        answered = await exchanged(address, request("GET", "/v1/models", address, body=b"{}"))
    assert answered.status == 400


@pytest.mark.parametrize("beginning", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nX: y\r\n", b"\r\n"])
async def test_a_head_that_does_not_come_is_given_up(beginning: bytes) -> None:
    async with at_the_door(ScriptedHouse(), patience=Patience(head_s=0.02)) as address:
        answered = await exchanged(address, beginning)
    assert answered.status == 408


async def test_a_head_that_does_not_come_second_is_given_up_too() -> None:
    async with at_the_door(ScriptedHouse(), patience=Patience(head_s=0.02)) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(request("GET", "/", address).replace(b"Connection: close\r\n", b""))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        await reader.readexactly(int(parsed(head).headers["content-length"]))
        writer.write(b"GET /")
        answered: Answered = parsed(await asyncio.wait_for(reader.read(), 5))
        writer.close()
    assert answered.status == 408


async def test_a_client_that_takes_nothing_is_cut_off() -> None:
    has_ended = asyncio.Event()

    async def pouring(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):  # far more than the buffers between the two hold
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
        has_ended.set()

    async with serving(pouring, port=0, patience=Patience(reader_s=0.05)) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port, limit=1)
        writer.write(request("GET", "/", address))
        await asyncio.wait_for(has_ended.wait(), 10)
        assert not reader.at_eof()
        writer.close()


# Listening


async def test_a_port_that_is_taken_is_named_with_what_to_do() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        with pytest.raises(ConfigError, match=rf"Port {address.port} .*already taken.*0 takes"):
            async with serving(Inside(), port=address.port):
                pass


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
async def test_an_address_that_is_not_ours_is_named_with_what_to_do(host: str) -> None:
    with pytest.raises(ConfigError, match=r"Use 127\.0\.0\.1"):
        async with serving(Inside(), host, 0):
            pass


async def test_a_socket_that_listens_already_is_taken_over() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    async with serving(Inside(), fd=listening.detach()) as address:
        assert address.url == f"http://127.0.0.1:{port}"
        assert (await get(address, "/control/x")).status == 200
