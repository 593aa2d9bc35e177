"""Houses for the stories: in this process, or in a child that can be killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import aiohttp

from arbiter.app import open_house
from arbiter.config import Settings, load_settings
from arbiter.demo.lessons import Item
from arbiter.demo.story import task_of
from arbiter.house import House

MODELS = Path(__file__).parents[2] / "src" / "arbiter" / "demo" / "models"


def settings(data_dir: Path, **overrides: object) -> Settings:
    """Ordinary settings on a free port."""
    given = {name.replace("__", "."): value for name, value in overrides.items()}
    return load_settings(environment={}, overrides={"data_dir": data_dir, "door.port": 0, **given})


@asynccontextmanager
async def house_with(
    data_dir: Path, models: Sequence[str], tasks: Sequence[str], **overrides: object
) -> AsyncIterator[House]:
    """An open house with these shipped models and tasks."""
    async with open_house(settings(data_dir, **overrides)) as house:
        for task in tasks:
            await house.admission.add_task(task_of(task))
        for model in models:
            await house.add(MODELS / f"{model}.gguf", model)
        yield house


@dataclass
class Running:
    """An `arbiter up` in a child process."""

    process: asyncio.subprocess.Process
    url: str
    session: aiohttp.ClientSession

    async def control(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """One answer of its control API."""
        address = f"{self.url}/control/v1{path}"
        async with self.session.request(method, address, json=body) as got:
            answer: dict[str, Any] = await got.json()
            assert got.status < 400, answer
            return answer

    async def chat(self, item: Item, *, model: str) -> str:
        """One answer, with the known right one sent along."""
        body = {
            "model": model,
            "messages": [{"role": "user", "content": item.prompt}],
            "temperature": 0,
            "max_tokens": 60,
            "metadata": {"task": item.task, "expected": item.expected},
        }
        async with self.session.post(f"{self.url}/v1/chat/completions", json=body) as got:
            answer = await got.json()
            assert got.status == 200, answer
            return str(answer["choices"][0]["message"]["content"])

    async def kill(self) -> None:
        """SIGKILL: no chance to tidy up."""
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def running(
    data_dir: Path,
    config: Path | None = None,
    *,
    discover: bool = False,
    log: IO[bytes] | None = None,
) -> AsyncIterator[Running]:
    """`arbiter up` on this data directory, stopped by SIGTERM when it still runs.

    log: where its standard error goes.

    discover: look for models beside it; what runs on this machine is no part of most tests.
    """
    more = [] if config is None else ["--config", str(config)]
    more.append("--discover" if discover else "--no-discover")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "arbiter", "up", "--port", "0", "--json",
        "--data-dir", str(data_dir), *more,
        stdout=asyncio.subprocess.PIPE, stderr=log,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = json.loads(await process.stdout.readline())
        async with aiohttp.ClientSession() as session:
            yield Running(process=process, url=line["url"], session=session)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.wait()


def alive(pid: int) -> bool:
    """Whether a process still runs (a zombie does not)."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False


def kill(pid: int) -> None:
    """SIGKILL a process."""
    os.kill(pid, signal.SIGKILL)
