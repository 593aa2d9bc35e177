"""Local first, proved: the demo and the stories where there is no network but loopback."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from tests.standins.loopback import NOT_ALLOWED

ROOT = Path(__file__).parents[2]
STORIES = [
    path.name
    for path in sorted((ROOT / "tests" / "story").glob("test_*.py"))
    if path.name not in {Path(__file__).name, "test_demo.py", "test_core_alone.py"}
]
"""Every story but this one: the demo runs by itself below, and the core alone installs packages."""


async def alone(*command: str) -> tuple[int, str, str]:
    """Run a command of this Python with loopback alone: its status, its output, its errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.standins.loopback", sys.executable, *command,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    out, err = await process.communicate()
    if process.returncode == NOT_ALLOWED:
        pytest.skip(f"needs to make a network namespace: {err.decode().strip()}")
    return process.returncode or 0, out.decode(), err.decode()


async def test_there_really_is_no_network_but_loopback() -> None:
    status, out, err = await alone(
        "-c",
        "import socket, json\n"
        "here = [name for _, name in socket.if_nameindex()]\n"
        "out = socket.socket(); out.settimeout(1)\n"
        "try: out.connect(('192.0.2.1', 80)); said = 'connected'\n"
        "except OSError as error: said = error.__class__.__name__\n"
        "print(json.dumps([here, said]))",
    )
    assert (status, err) == (0, "")
    assert json.loads(out) == [["lo"], "OSError"]


async def test_the_demo_needs_no_network() -> None:
    status, out, err = await alone("-m", "arbiter", "demo", "--json")
    assert status == 0, err
    told = json.loads(out)
    assert (told["lost"], told["promoted"], told["blocked"], told["rolled_back"]) == (0, 1, 1, 1)


@pytest.mark.parametrize("story", STORIES)
async def test_the_stories_need_no_network(story: str) -> None:
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", f"tests/story/{story}")
    status, out, err = await alone(*command)
    assert status == 0, f"{out[-3000:]}\n{err[-1000:]}"
