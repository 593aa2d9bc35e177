"""Eight hours' worth of requests in minutes: memory stays flat, and nothing is left behind.

The house as it is, in front of a stand-in worker, under 32 clients: whole answers and streams, all
of them with a task, some judged afterwards and some hung up on in the middle. Now and then the
model is unloaded under them, and the next request has its worker started again. Memory is what the
process alone holds, so that no shared page hides anything or is counted twice.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
from bench.figures import Figure
from bench.programs import NAME, Program, house, url_of

AREA = "soak"
CLIENTS = 32
FLAT_MB = 16.0
"""What memory may grow by from a quarter of the requests to the end: noise, and no leak."""

UNLOADED_EVERY = 2_000
"""Requests after which the model is unloaded: a worker ends, and another one begins."""

_TASKS = 7
_WORDS = "two three four five six seven eight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a process held at one moment."""

    mb: float
    files: int
    """Without the connections to the worker: those that are idle are kept, one a slot at most."""
    children: int
    threads: int


def held(program: Program) -> Held:
    """What the house holds now."""
    process = psutil.Process(program.pid)
    return Held(
        mb=process.memory_full_info().uss / 1e6,
        files=process.num_fds() - len(process.net_connections(kind="unix")),
        children=len(process.children(recursive=True)),
        threads=process.num_threads(),
    )


async def measure(requests: int) -> list[Figure]:
    """So many requests, and what the house held after a quarter of them and at the end."""
    with tempfile.TemporaryDirectory(prefix="arbiter-soak-") as folder:
        async with house(Path(folder) / "data", echo_slots=CLIENTS) as program:
            await _add_tasks(program)
            await _ask(program, range(requests // 4))
            before = held(program)
            await _ask(program, range(requests // 4, requests))
            after = held(program)
    how = (
        f"{requests} requests of {CLIENTS} clients, 1 in 2 streamed, 1 in 50 judged, 1 in 100 hung "
        f"up on, unloaded once in {UNLOADED_EVERY}; from the first quarter to the end"
    )
    return [
        Figure(
            area=AREA,
            name="memory that the house alone holds, growth",
            value=after.mb - before.mb,
            unit="MB",
            target=FLAT_MB,
            method=f"{how}; {after.mb:.0f} MB at the end",
        ),
        *(
            Figure(
                area=AREA,
                name=f"{what} more than before",
                value=getattr(after, what) - getattr(before, what),
                unit="",
                target=0,
                method=how,
            )
            for what in ("files", "children", "threads")
        ),
    ]


async def _add_tasks(program: Program) -> None:
    async with aiohttp.ClientSession(url_of(program.where)) as session:
        for number in range(_TASKS):
            async with session.put(f"/control/v1/tasks/task-{number}", json={}) as got:
                if got.status != 200:
                    raise RuntimeError(f"{got.status}: {await got.text()}")
                await got.read()


async def _ask(program: Program, numbers: range) -> None:
    """These requests, and every connection closed after them."""
    left = iter(numbers)
    connector = aiohttp.TCPConnector(limit=CLIENTS)
    async with (
        aiohttp.ClientSession(url_of(program.where), connector=connector) as session,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(CLIENTS):
            group.create_task(_client(session, left))
    await asyncio.sleep(1.0)  # what was hung up on is put on record


async def _client(session: aiohttp.ClientSession, left: Iterator[int]) -> None:
    for number in left:
        body = json.dumps(
            {
                "model": "auto" if number % 3 else NAME,
                "messages": [{"role": "user", "content": f"{number:07d} {_WORDS}"}],
                "max_tokens": 8,
                "stream": number % 2 == 0,
                "metadata": {"task": f"task-{number % _TASKS}"},
            }
        )
        headers = {"content-type": "application/json"}
        path = "/v1/chat/completions"
        async with session.post(path, data=body, headers=headers) as got:
            if got.status != 200:
                raise RuntimeError(f"{got.status}: {await got.text()}")
            if number % 100 == 0:
                with suppress(aiohttp.ClientError):
                    await got.content.readany()
                got.close()
                continue
            await got.read()
            decision = got.headers["x-arbiter-decision"]
        if number % 50 == 1:
            judged = f"/control/v1/decisions/{decision}/feedback"
            async with session.post(judged, json={"score": number % 2}) as told:
                await told.read()
        if number % UNLOADED_EVERY == UNLOADED_EVERY // 2:
            async with session.post(f"/control/v1/instances/{NAME}/unload", json={}) as told:
                if told.status != 200:
                    raise RuntimeError(f"{told.status}: {await told.text()}")
                await told.read()
