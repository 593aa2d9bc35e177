"""Clients that each want another context from an Ollama: it loads a model once, and not for each.

The stand-in loads again as an Ollama does (`needsReload` in its server/sched.go): whenever a
request names other options for loading than the one before.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
from tests.standins.ollamas import ollama
from tests.story.houses import MODELS, settings

from arbiter.app import open_house

MODEL = "sparrow:latest"
CONTEXTS = (256, 512, 256, None, 512)


def _asked(context: int | None) -> dict[str, Any]:
    options = {"num_predict": 2, **({} if context is None else {"num_ctx": context})}
    return {"stream": False, "options": options}


async def test_asked_for_another_context_by_itself_an_ollama_loads_again_each_time() -> None:
    async with ollama({MODEL: MODELS / "sparrow.gguf"}) as server:
        for context in CONTEXTS:
            body = {**_asked(context), "model": MODEL, "prompt": "hello"}
            await server.said("/api/generate", body)
        assert (await server.told())["loads"] == {MODEL: len(CONTEXTS)}


async def test_behind_the_house_it_loads_once_and_the_others_are_counted(tmp_path: Path) -> None:
    async with ollama({MODEL: MODELS / "sparrow.gguf"}) as server:
        given = settings(
            tmp_path / "data",
            discovery__servers=[server.url],
            discovery__usual=False,
            discovery__options={MODEL: {"num_ctx": "384"}},
            calibration__enabled=False,
        )
        async with open_house(given) as house:
            await house.scout.look()
            async with house.door() as address, aiohttp.ClientSession(address.url) as client:
                for context in CONTEXTS:
                    asked = _asked(context)
                    talk = {"messages": [{"role": "user", "content": "hello"}]}
                    for path, work in (
                        ("/api/generate", {"prompt": "hello"}),
                        ("/api/chat", talk),
                        ("/v1/chat/completions", talk),
                    ):
                        body = {**asked, **work, "model": "sparrow"}
                        async with client.post(path, json=body) as got:
                            assert got.status == 200, await got.text()
                async with client.get("/metrics") as got:
                    page = await got.text()
        assert (await server.told())["loads"] == {MODEL: 1}
        sent = [*await server.asked("/api/generate"), *await server.asked("/api/chat")]
        assert {body["options"]["num_ctx"] for body in sent if "options" in body} == {384}
    changes = sum(one != before for before, one in pairwise(CONTEXTS))
    counted = [line for line in page.splitlines() if line.startswith("arbiter_instance_reloads_av")]
    assert [float(line.split()[-1]) for line in counted] == [changes]
