"""Two Ollamas, a llama.cpp server and a folder: found, picked among, and lost one by one."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest
from tests.standins.beside import Beside, beside
from tests.story.houses import MODELS, Running, kill, running

from arbiter.demo.lessons import draw_many

pytest.importorskip("xllamacpp", reason="llama.cpp is not installed")


@dataclass
class Neighbourhood:
    """What runs, by what it offers."""

    house: Running
    found: dict[str, Any]
    servers: dict[str, Beside]
    versions: list[str] = field(default_factory=list)
    """The version of each answer: the name would be that of the pick, whoever served it."""
    cut: list[str] = field(default_factory=list)
    """Streams that ended with an error after they had begun."""
    refused: list[str] = field(default_factory=list)
    """What was lost before it had begun: nothing may ever be here."""

    async def ask(self, prompt: str, *, stream: bool) -> None:
        """One request, the choice left to the house."""
        body = {
            "model": "auto",
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": 60,
            "stream": stream,
        }
        url = f"{self.house.url}/v1/chat/completions"
        async with self.house.session.post(url, json=body) as got:
            raw = (await got.read()).decode()
            version = got.headers.get("x-arbiter-version", "")
        if got.status != 200:
            self.refused.append(raw)
        elif stream and "[DONE]" not in raw:
            self.cut.append(raw)
        else:
            self.versions.append(version)

    async def answered(self) -> Counter[str]:
        """How many answers each model gave."""
        models = (await self.house.control("GET", "/models"))["models"]
        names = {one["version"]: one["names"][0] for one in models}
        return Counter(names[version] for version in self.versions)

    async def kill_worker(self) -> None:
        """Kill the process of the folder's model, the only one that the house runs itself."""
        (worker,) = [
            one
            for one in psutil.Process(self.house.process.pid).children(recursive=True)
            if "arbiter_worker" in " ".join(one.cmdline())
        ]
        kill(worker.pid)

    async def prefer(self, model: str) -> None:
        """Have `auto` pick this one for as long as it is there."""
        await self.house.control("PUT", "/rules/general", {"prefer": model})

    async def busy(self, stop: Callable[[], Awaitable[None]], *, requests: int = 120) -> None:
        """Requests, four at a time, half of them streamed; in their midst something is stopped."""
        items = iter(enumerate(draw_many("sentiment", Random(7), requests, split="train")))

        async def client() -> None:
            for number, item in items:
                if number == requests // 3:
                    await stop()
                await self.ask(item.prompt, stream=number % 2 == 0)

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(client())


@asynccontextmanager
async def neighbourhood(folder: Path) -> AsyncIterator[Neighbourhood]:
    files = folder / "files"
    files.mkdir()
    shutil.copy(MODELS / "parrot.gguf", files / "parrot.gguf")
    async with AsyncExitStack() as stack:
        one, two, llama = [
            await stack.enter_async_context(beside(module, *arguments))
            for module, *arguments in (
                ("ollama_server", "--model", f"sparrow:1m={MODELS / 'sparrow.gguf'}"),
                ("ollama_server", "--model", f"owl:1m={MODELS / 'owl.gguf'}"),
                ("llama_server", str(MODELS / "heron-2.gguf"), "--alias", "heron"),
            )
        ]
        config = folder / "arbiter.toml"
        config.write_text(
            "[discovery]\nusual = false\nevery_s = 1\n"
            f"servers = {json.dumps([one.url, two.url, llama.url])}\n"
            f"folders = {json.dumps([str(files)])}\n",
            encoding="utf-8",
        )
        data = folder / "data"
        house = await stack.enter_async_context(running(data, config, discover=True))
        assert house.process.stdout is not None
        found = json.loads(await house.process.stdout.readline())["found"]
        servers = {"sparrow:1m": one, "owl:1m": two, "heron": llama}
        yield Neighbourhood(house=house, found=found, servers=servers)


async def test_everything_that_runs_is_listed_and_auto_picks_across_it(tmp_path: Path) -> None:
    async with neighbourhood(tmp_path) as here:
        places = here.found["servers"] + here.found["folders"]
        listed = [(m["model"], m["what"]) for place in places for m in place["models"]]
        assert sorted(listed) == [
            ("heron", "registered"),
            ("owl:1m", "registered"),
            ("parrot.gguf", "registered"),
            ("sparrow:1m", "registered"),
        ]
        assert [place["kind"] for place in here.found["servers"]] == [
            "Ollama",
            "Ollama",
            "llama-server",
        ]
        for model in (*here.servers, "parrot"):
            await here.prefer(model)
            await here.ask("Mood of this: the soup felt wonderful", stream=True)
        assert await here.answered() == {"sparrow:1m": 1, "owl:1m": 1, "heron": 1, "parrot": 1}


@pytest.mark.parametrize("model", ["sparrow:1m", "owl:1m", "heron"])
async def test_killing_a_server_in_use_loses_only_what_had_begun_on_it(
    tmp_path: Path, model: str
) -> None:
    async with neighbourhood(tmp_path) as here:
        await here.prefer(model)
        await here.busy(here.servers[model].kill)
        assert here.refused == []
        assert all('"code":"server_cut"' in raw for raw in here.cut)
        answered = await here.answered()
        assert answered[model] > 0
        assert answered.total() - answered[model] > 0
        assert answered.total() + len(here.cut) == 120


async def test_killing_the_process_of_a_file_in_use_loses_only_what_had_begun_in_it(
    tmp_path: Path,
) -> None:
    async with neighbourhood(tmp_path) as here:
        await here.prefer("parrot")
        await here.busy(here.kill_worker)
        assert here.refused == []
        assert all('"code":"stream_cut"' in raw for raw in here.cut)
        answered = await here.answered()
        assert answered["parrot"] > 0
        assert answered.total() + len(here.cut) == 120
