"""Programs that run beside a house: stand-ins in child processes, with an address and an end."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass
class Beside:
    """A server in a child process."""

    url: str
    process: asyncio.subprocess.Process

    async def kill(self) -> None:
        """SIGKILL: no chance to say goodbye."""
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def beside(module: str, *arguments: str) -> AsyncIterator[Beside]:
    """Run a stand-in until the context ends; it has said where it listens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"tests.standins.{module}", *arguments,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        told = json.loads(await process.stdout.readline())
        yield Beside(url=told.get("url") or f"http://127.0.0.1:{told['port']}", process=process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        if process.returncode is None:
            await process.wait()
