"""How long `arbiter up` takes until it has listed what runs beside it, and registered it."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from bench.figures import Figure, median
from bench.programs import ARBITER, started
from tests.standins.beside import beside
from tests.story.houses import MODELS

AREA = "discovery"

NEIGHBOURS = (
    ("ollama_server", "--model", f"a:1m={MODELS / 'sparrow.gguf'}"),
    ("ollama_server", "--model", f"b:1m={MODELS / 'owl.gguf'}"),
    ("llama_server", str(MODELS / "heron-2.gguf"), "--alias", "c"),
)


async def _once(config: Path) -> float:
    """Seconds from the start of the program to the list of what was found."""
    with tempfile.TemporaryDirectory(prefix="arbiter-bench-") as data:
        command = ("up", "--port", "0", "--json", "--data-dir", data, "--config", str(config))
        begun = time.perf_counter()
        async with started(str(ARBITER), *command) as (process, _):
            if process.stdout is None:
                raise RuntimeError("the house has no output")
            found = json.loads(await process.stdout.readline())["found"]
            took = time.perf_counter() - begun
        models = [
            m["what"] for place in found["servers"] + found["folders"] for m in place["models"]
        ]
        if models != ["registered"] * 4:
            raise RuntimeError(f"not everything was registered: {found}")
        return took


async def measure(rounds: int) -> list[Figure]:
    """Two stand-in Ollamas, a llama.cpp server and a folder; the median of so many starts."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="arbiter-bench-")))
        shutil.copy(MODELS / "parrot.gguf", folder / "parrot.gguf")
        running = [
            await stack.enter_async_context(beside(module, *arguments))
            for module, *arguments in NEIGHBOURS
        ]
        config = folder / "arbiter.toml"
        servers = json.dumps([one.url for one in running])
        config.write_text(
            f"[discovery]\nusual = false\nservers = {servers}\n"
            f"folders = [{json.dumps(str(folder))}]\n",
            encoding="utf-8",
        )
        found = [await _once(config) for _ in range(rounds)]
    return [
        Figure(
            area=AREA,
            name="spawn to four models listed and registered",
            value=median(found),
            unit="s",
            target=3.0,
            method=f"`arbiter up` beside two stand-in Ollamas, a llama.cpp server and a folder, "
            f"median of {rounds}; wall clock, so a busy machine shows",
        )
    ]
