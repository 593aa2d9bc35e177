"""A client hangs up: whatever it waited for ends, down to the engine, and its slot is free."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.contract.engines_support import HAS_LLAMA, demo_model, never_ending, saved
from tests.standins.bad_servers import (
    Act,
    BadServer,
    Dialect,
    Then,
    answering,
    bad_server,
    begins,
    chunk,
)
from tests.story.bad_backends import RIGHT, Street, ask, both_dialects, street
from tests.story.houses import settings

from arbiter.app import open_house
from arbiter.house import House
from arbiter.pool.pool import InstanceView

LIMIT_S = 60.0

both_ways = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])


@asynccontextmanager
async def client(
    url: str, *, streamed: bool, model: str = "m"
) -> AsyncIterator[asyncio.StreamReader]:
    """Somebody who has asked, and hangs up when the context is left."""
    host, _, port = url.removeprefix("http://").partition(":")
    told = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": streamed}
    body = json.dumps(told).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}:{port}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(head.encode() + body)
        yield reader
    finally:
        writer.close()


async def until(house: House, is_so: Callable[[InstanceView], bool]) -> None:
    """Wait until the only instance is like this; the house goes on meanwhile."""
    while not is_so(house.pool.views()[0]):
        await house.database.settle()


@asynccontextmanager
async def narrow(
    folder: Path, dialect: Dialect, *acts: Act
) -> AsyncIterator[tuple[Street, BadServer]]:
    """A house that sends its server one request at a time, and would wait for ever for it."""
    async with (
        asyncio.timeout(LIMIT_S),
        bad_server(dialect, "m", *acts) as server,
        street(folder / "data", server, pool__server_slots=1) as here,
    ):
        yield here, server


def silent() -> Act:
    return Act(then=Then.HANG)


def half(d: Dialect) -> Act:
    return Act(pieces=(begins(d.events) + chunk(d.piece("hel")),), then=Then.HANG)


@both_ways
@both_dialects
async def test_who_hangs_up_in_the_queue_never_reaches_the_server(
    tmp_path: Path, dialect: Dialect, streamed: bool
) -> None:
    async with narrow(tmp_path, dialect, silent()) as (here, server):
        async with client(here.url, streamed=streamed):
            await server.is_asked.wait()
            async with client(here.url, streamed=streamed):
                await until(here.house, lambda view: view.waiting == 1)
            await until(here.house, lambda view: view.waiting == 0)
        await server.left.wait()
        await until(here.house, lambda view: view.leases == 0)
        assert len(server.asked) == 1


@both_ways
@both_dialects
async def test_who_hangs_up_before_the_first_token_ends_the_servers_work_and_frees_the_slot(
    tmp_path: Path, dialect: Dialect, streamed: bool
) -> None:
    well = answering(dialect, RIGHT, streamed=streamed)
    async with narrow(tmp_path, dialect, silent(), well) as (here, server):
        async with client(here.url, streamed=streamed):
            await server.is_asked.wait()
        await server.left.wait()
        assert (await ask(here.url, "m", streamed=streamed)).ends.text == RIGHT


@both_dialects
async def test_who_hangs_up_in_a_stream_ends_the_servers_work_and_frees_the_slot(
    tmp_path: Path, dialect: Dialect
) -> None:
    well = answering(dialect, RIGHT, streamed=True)
    async with narrow(tmp_path, dialect, half(dialect), well) as (here, server):
        async with client(here.url, streamed=True) as reader:
            await reader.readuntil(b'"content":"hel"')
        await server.left.wait()
        assert (await ask(here.url, "m", streamed=True)).ends.text == RIGHT


@both_dialects
async def test_a_hang_up_is_no_failure_of_the_instance(tmp_path: Path, dialect: Dialect) -> None:
    async with narrow(tmp_path, dialect, half(dialect)) as (here, server):
        for _ in range(6):
            server.left.clear()
            async with client(here.url, streamed=True) as reader:
                await reader.readuntil(b'"content":"hel"')
            await server.left.wait()
        assert here.house.pool.ailing() == {}


@pytest.mark.skipif(not HAS_LLAMA, reason="llama.cpp is not installed")
async def test_llama_cpp_stops_a_never_ending_answer_when_its_client_hangs_up(
    tmp_path: Path,
) -> None:
    model = saved(tmp_path / "endless.gguf", never_ending(demo_model().read_bytes()))
    given = {"calibration__enabled": False, "discovery__enabled": False, "pool__slots": 1}
    async with (
        asyncio.timeout(2 * LIMIT_S),
        open_house(settings(tmp_path / "data", **given)) as house,
        house.door() as address,
    ):
        await house.add(model, "endless")
        for _ in range(3):  # with one slot, each but the first needs that of the one before
            async with client(address.url, streamed=True, model="endless") as reader:
                await reader.readuntil(b'"content":')
                await reader.readuntil(b'"content":')
        await until(house, lambda view: view.leases == 0)
