"""A house in a process of its own, for engines that have its doors for their server.

    python -m tests.standins.house_server --data-dir DIR --model NAME=PATH --context 512

It tells one line of JSON, ``{"url": ..., "pid": ...}``, when its door is open, and leaves when its
standard input ends. ``--option NAME=VALUE`` is an option of the version.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from arbiter.app import open_house
from arbiter.config import load_settings
from arbiter.errors import LoadFailed
from arbiter.refs import parse_name

ROOT: Final = Path(__file__).parents[2]


@dataclass
class HouseProcess:
    """One of them."""

    url: str
    process: asyncio.subprocess.Process
    version: str

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


async def started(data_dir: Path, model: str, *options: str) -> HouseProcess:
    """A house with this model, given as ``NAME=PATH``; `kill` it when done."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.standins.house_server",
        "--data-dir", str(data_dir), "--model", model, *options,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        await process.wait()
        raise LoadFailed("The model could not be loaded: its house did not start.")
    told = json.loads(line)
    return HouseProcess(url=told["url"], process=process, version=told["version"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--option", action="append", default=[])
    return parser.parse_args()


async def _serve(given: argparse.Namespace) -> None:
    settings = load_settings(
        environment={},
        overrides={
            "data_dir": given.data_dir,
            "door.port": 0,
            "pool.context": given.context,
            "pool.slots": given.slots,
            "pool.threads": 1,
        },
    )
    name, _, path = given.model.partition("=")
    async with open_house(settings) as house:
        version = await house.admission.register(
            Path(path),
            parse_name(name),
            options=dict(option.split("=", 1) for option in given.option),
        )
        async with house.door() as address:
            told = {"url": address.url, "pid": os.getpid(), "version": version.version}
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(_arguments()))
