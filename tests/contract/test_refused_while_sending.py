"""A request that is refused before all of it has come: its client sees why, and nothing else."""

from __future__ import annotations

import asyncio

import anthropic
import openai
import pytest
from tests.contract.door_security_support import LOCKED
from tests.contract.door_support import CHAT_PATH, ScriptedHouse, at_the_door, parsed, request

from arbiter.gateway.security import Policy
from arbiter.gateway.serving import Patience

LONG = "hi " * 3_000_000
SMALL = Policy(max_body_bytes=1_000)


async def sending_on(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b" " * 10_000)
        await writer.drain()


@pytest.mark.parametrize("length", [1_000, 9_000_000])
async def test_the_official_clients_say_that_a_body_is_too_large(length: int) -> None:
    """They write all of a body before they read: a reset would be a mere "Connection error."."""
    async with (
        at_the_door(ScriptedHouse(), SMALL) as address,
        openai.AsyncOpenAI(base_url=f"{address.url}/v1", api_key="none", max_retries=0) as client,
        anthropic.AsyncAnthropic(base_url=address.url, api_key="none", max_retries=0) as other,
    ):
        said = LONG[:length]
        with pytest.raises(openai.APIStatusError, match="larger than the limit") as refused:
            await client.chat.completions.create(
                model="tiny", messages=[{"role": "user", "content": said}]
            )
        with pytest.raises(anthropic.APIStatusError, match="larger than the limit"):
            await other.messages.create(
                model="tiny", max_tokens=9, messages=[{"role": "user", "content": said}]
            )
    assert refused.value.status_code == 413


async def test_a_key_that_is_missing_is_told_whatever_is_sent() -> None:
    async with (
        at_the_door(ScriptedHouse(), LOCKED) as address,
        openai.AsyncOpenAI(base_url=f"{address.url}/v1", api_key="none", max_retries=0) as client,
    ):
        with pytest.raises(openai.AuthenticationError):
            await client.chat.completions.create(
                model="tiny", messages=[{"role": "user", "content": LONG}]
            )


async def test_a_form_that_is_sent_where_there_is_nothing_is_told_so() -> None:
    async with (
        at_the_door(ScriptedHouse()) as address,
        openai.AsyncOpenAI(base_url=f"{address.url}/v1", api_key="none", max_retries=0) as client,
    ):
        with pytest.raises(openai.NotFoundError, match="What there is: /v1/chat/completions"):
            await client.audio.transcriptions.create(model="tiny", file=b"abc")


@pytest.mark.security("S-29")
async def test_what_comes_after_a_refusal_is_no_request() -> None:
    house = ScriptedHouse()
    async with at_the_door(house, SMALL) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        sent = request("POST", CHAT_PATH, address, body=b" " * 2_000)
        writer.write(sent.replace(b"Connection: close\r\n", b"")[:-1_500])
        refused = parsed(await asyncio.wait_for(reader.read(), 5))
        writer.write(b" " * 1_500 + request("POST", CHAT_PATH, address, body=b"{}"))
        await writer.drain()
        assert await reader.read() == b""
        writer.close()
    assert (refused.status, house.asks) == (413, [])


@pytest.mark.security("S-29")
async def test_who_never_stops_sending_is_cut_off() -> None:
    async with (
        asyncio.timeout(10),
        at_the_door(ScriptedHouse(), SMALL, Patience(rest_s=0.2)) as address,
    ):
        _, writer = await asyncio.open_connection(address.host, address.port)
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        writer.write(head + b"Content-Length: 99999999999\r\n\r\n")
        with pytest.raises(ConnectionError):
            await sending_on(writer)


@pytest.mark.security("S-29")
async def test_who_sends_more_than_anybody_has_to_say_is_cut_off_before_time_is_over() -> None:
    async with (
        asyncio.timeout(10),
        at_the_door(
            ScriptedHouse(), SMALL, Patience(rest_s=3_600.0, rest_bytes=1_000_000)
        ) as address,
    ):
        _, writer = await asyncio.open_connection(address.host, address.port)
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        writer.write(head + b"Content-Length: 99999999999\r\n\r\n")
        with pytest.raises(ConnectionError):
            await sending_on(writer)


async def test_headers_that_are_too_large_are_told_so_while_more_of_them_come() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 500_000)
        assert parsed(await asyncio.wait_for(reader.read(), 5)).status == 431
        writer.close()
