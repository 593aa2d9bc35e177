"""Stand-in Ollamas in child processes, as tests start and ask them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

ROOT: Final = Path(__file__).parents[2]


@dataclass
class Ollama:
    """One of them."""

    url: str
    process: asyncio.subprocess.Process

    async def told(self, path: str = "/stand-in") -> dict[str, Any]:
        """What it says under an address."""
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as got:
            found: dict[str, Any] = await got.json()
            return found

    async def said(self, path: str, body: Mapping[str, object]) -> None:
        """Ask something of it beside whoever else does."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url + path, json=body) as got,
        ):
            assert got.status == 200, await got.text()
            await got.read()

    async def loaded(self) -> list[str]:
        """The names of what it has in memory."""
        return [one["name"] for one in (await self.told("/api/ps"))["models"]]

    async def asked(self, path: str) -> list[dict[str, Any]]:
        """The bodies that came to an address."""
        return [body for at, body in (await self.told())["asked"] if at == path]

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


async def started(models: Mapping[str, Path], *options: str) -> Ollama:
    """An Ollama with these models; `kill` it when done."""
    named = [part for name, path in models.items() for part in ("--model", f"{name}={path}")]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.standins.ollama_server", *named, *options,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    return Ollama(url=json.loads(await process.stdout.readline())["url"], process=process)


@asynccontextmanager
async def ollama(models: Mapping[str, Path], *options: str) -> AsyncIterator[Ollama]:
    """An Ollama with these models, for as long as the context is open."""
    server = await started(models, *options)
    try:
        yield server
    finally:
        assert server.process.stdin is not None
        server.process.stdin.close()
        await server.process.wait()
