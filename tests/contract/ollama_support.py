"""What tests of the engine for Ollama share: what to load, and a server that misbehaves."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.contract.engines_support import HAS_LLAMA, answer, demo_model, saved
from tests.standins.embedder import embedder
from tests.standins.faulty import Faulty, Reply, faulty, reply
from tests.standins.ollamas import Ollama, ollama

from arbiter.clock import SystemClock
from arbiter.engines.base import EngineContext, LoadSpec, Place
from arbiter.engines.ollama import OllamaEngine
from arbiter.engines.ollama_runner import OllamaRunner, Patience
from arbiter.errors import (
    ArbiterError,
)
from arbiter.inference import (
    Chat,
    Generation,
    Message,
    Sampling,
)
from arbiter.refs import VersionId

needs_llama = pytest.mark.skipif(not HAS_LLAMA, reason="llama.cpp is not installed")
MODEL = "gemma3:1b"
WRITES, EMBEDS = frozenset({"chat", "completion"}), frozenset({"embedding"})
HASTY = Patience(step_s=0.5, look_s=1.5, load_s=0.5, first_s=0.5, next_s=0.5, whole_s=0.5)
"""Bounds for what never comes; whatever comes at all comes at once."""

DIGEST = "a" * 64
TAG = {"model": MODEL, "name": MODEL, "digest": DIGEST, "size": 5}
SHOWN = {"capabilities": ["completion"], "model_info": {}, "details": {}}
SAID = {"message": {"role": "assistant", "content": "hi"}, "done": False}
END = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}
WELL: Mapping[str, Reply | Sequence[Reply]] = {
    "/": reply("Ollama is running", kind="text/plain"),
    "/api/version": reply({"version": "0.33.0"}),
    "/api/tags": reply({"models": [TAG]}),
    "/api/ps": reply({"models": []}),
    "/api/show": reply(SHOWN),
    "/api/generate": reply({"done": True, "done_reason": "load"}),
}


def engine(
    patience: Patience | None = None, *, keys: Mapping[str, str] | None = None
) -> OllamaEngine:
    context = EngineContext(clock=SystemClock(), run_dir=Path(), keys=keys or {})
    return OllamaEngine(context, patience=patience or Patience())


def spec(
    *places: str,
    model: str = MODEL,
    digest: str | None = None,
    capabilities: frozenset[str] = WRITES,
    **options: str,
) -> LoadSpec:
    return LoadSpec(
        version=VersionId("sha256:" + "0" * 64),
        path=Path("no/file"),
        context=512,
        places=tuple(Place(engine="ollama", url=url, model=model) for url in places),
        digest=digest,
        capabilities=capabilities,
        options=options,
    )


def hello(*, stream: bool = True, prompt: str = "Add 29 and 27", **how: float) -> Generation:
    return Generation(
        work=Chat(messages=(Message(role="user", content=prompt),)),
        sampling=Sampling(temperature=0.0, max_tokens=int(how.get("max_tokens", 20))),
        stream=stream,
    )


def nobody() -> str:
    """An address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


@asynccontextmanager
async def served(
    changes: Mapping[str, Reply | Sequence[Reply]], *, digest: str | None = None
) -> AsyncIterator[tuple[OllamaRunner, Faulty]]:
    """A runner at a server that is well but for these replies."""
    async with faulty({**WELL, **changes}) as server:
        runner = await engine(HASTY).load(spec(server.url, digest=digest))
        try:
            yield runner, server
        finally:
            await runner.unload()


async def failing(runner: OllamaRunner, request: Generation) -> ArbiterError:
    with pytest.raises(ArbiterError) as failed:
        await answer(runner, request)
    return failed.value


@asynccontextmanager
async def two_models(folder: Path) -> AsyncIterator[Ollama]:
    """An Ollama with a model that writes, one that embeds, and something newer to pull."""
    newer = demo_model().with_name("owl.gguf")
    models = {
        MODEL: demo_model(),
        "embeds:latest": saved(folder / "e.gguf", embedder(demo_model().read_bytes())),
    }
    async with ollama(models, "--library", f"{MODEL}={newer}") as one:
        yield one
