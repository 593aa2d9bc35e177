"""The programs that are measured, each started in a process of its own and ended after use."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from bench.client import Where

import arbiter

ROOT = Path(__file__).resolve().parent.parent
MODELS = Path(arbiter.__file__).parent / "demo" / "models"
SPARROW = MODELS / "sparrow.gguf"
ARBITER = Path(sys.executable).with_name("arbiter")
LONGEST_S = 60.0
ECHO = "arbiter_worker.echo"
LLAMA = "arbiter_worker.llama_cpp"
NAME = "bench"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program that runs and answers."""

    pid: int
    where: Where


def environment() -> dict[str, str]:
    """This one's, without any setting of a house."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ARBITER_")}
    return {**kept, "PYTHONPATH": str(ROOT)}


@asynccontextmanager
async def started(*command: str, stdin: bytes | None = None) -> AsyncIterator[tuple[Process, str]]:
    """A process, and the first line that it says; it is ended on leaving."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, cwd=ROOT, env=environment()
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError(f"{command} has no streams")
    try:
        if stdin is not None:
            process.stdin.write(stdin)
            await process.stdin.drain()
        line = await asyncio.wait_for(process.stdout.readline(), LONGEST_S)
        if not line:
            raise RuntimeError(f"{' '.join(command)} ended without a word; run it by hand")
        yield process, line.decode()
    finally:
        process.stdin.close()
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), LONGEST_S)
        except TimeoutError:
            process.kill()
            await process.wait()


def _there(said: str) -> Where:
    found = json.loads(said)
    port = urlsplit(str(found["url"])).port
    if port is None:
        raise RuntimeError(f"no port in {said}")
    return Where(port=port)


@asynccontextmanager
async def worker(module: str, folder: Path, *, slots: int) -> AsyncIterator[Program]:
    """A worker to be spoken to directly, as the house starts its own."""
    key = secrets.token_urlsafe(16)
    await asyncio.to_thread(folder.mkdir, mode=0o700)
    path = str(folder / "s.sock")
    configuration: Mapping[str, object] = {
        "model": str(SPARROW), "context": 256, "slots": slots, "key": key, "socket": path,
    }  # fmt: skip
    line = json.dumps(configuration).encode() + b"\n"
    async with started(sys.executable, "-m", module, stdin=line) as (process, said):
        if not json.loads(said).get("ready"):
            raise RuntimeError(f"{module}: {said}")
        yield Program(pid=process.pid, where=Where(socket=path, key=key))


@asynccontextmanager
async def bare(behind: Where) -> AsyncIterator[Program]:
    """The bare proxy in front of a worker."""
    command = (sys.executable, "-m", "bench.bare", str(behind.socket), str(behind.key))
    async with started(*command) as (process, said):
        yield Program(pid=process.pid, where=_there(said))


@asynccontextmanager
async def bare_house(data_dir: Path) -> AsyncIterator[Program]:
    """`arbiter up` as it ships, but that it does not look for other programs on this machine."""
    command = ("up", "--no-discover", "--port", "0", "--json", "--data-dir", str(data_dir))
    async with started(str(ARBITER), *command) as (process, said):
        yield Program(pid=process.pid, where=_there(said))


@asynccontextmanager
async def house(data_dir: Path, *, echo_slots: int | None = None) -> AsyncIterator[Program]:
    """A house with one model, registered through its control API.

    echo_slots: take stand-ins for workers, with so many slots; else `arbiter up` as it ships.
    """
    if echo_slots is None:
        async with bare_house(data_dir) as program:
            await _register(program.where)
            yield program
        return
    command = (sys.executable, "-m", "bench.echo_house", str(data_dir), str(echo_slots))
    async with started(*command) as (process, said):
        program = Program(pid=process.pid, where=_there(said))
        await _register(program.where)
        yield program


def url_of(where: Where) -> str:
    """As a client would write it."""
    return f"http://127.0.0.1:{where.port}"


async def _register(where: Where) -> None:
    body = {"path": str(SPARROW), "name": NAME, "calibrate": False}
    url = f"{url_of(where)}/control/v1/models"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as got:
        lines = (await got.text()).splitlines()
        if got.status != 200 or "result" not in json.loads(lines[-1]):
            raise RuntimeError(f"{got.status}: {lines}")
