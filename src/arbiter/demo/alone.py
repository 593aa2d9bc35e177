"""What a shipped model answers alone, token by token, and by how much each token was the best.

llama.cpp computes a token of a prompt a little differently beside others than alone. Where the two
best tokens are far apart that changes nothing, and the answer is the same every time: only such
prompts can tell whether a stream was whole.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from math import inf
from typing import Any
from urllib.parse import urlsplit

from arbiter.clock import Clock
from arbiter.engines.channel import Address, Channel
from arbiter.engines.deadlines import Deadlines
from arbiter.engines.llama_cpp import MODULE
from arbiter.engines.worker import Worker
from arbiter.errors import EngineError

MARGIN_NATS = 1.0
"""How far apart the two best tokens have to be at every place: e to 1 in their probabilities."""

MOST_TOKENS = 100
_SECONDS = 60.0
_CONTEXT = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Sure:
    """An answer that is the same every time. tokens: its text in pieces, the last one included."""

    tokens: tuple[str, ...]
    margin: float

    @property
    def text(self) -> str:
        """The whole of it."""
        return "".join(self.tokens)


@asynccontextmanager
async def alone(model: str, clock: Clock) -> AsyncIterator[Channel]:
    """A worker with one slot that serves nobody else."""
    with as_file(files("arbiter.demo") / "models" / f"{model}.gguf") as path:
        worker = await Worker.start(
            MODULE,
            {
                "model": str(path),
                "context": _CONTEXT,
                "slots": 1,
                "threads": None,
                "gpu_layers": None,
                "chat_template": None,
                "embeddings": False,
                "key": "alone",
                "socket": None,
            },
            clock=clock,
            load_s=_SECONDS,
            hide={},
        )
        deadlines = Deadlines(clock)
        port = urlsplit(worker.address).port or 0
        channel = Channel(address=Address(port=port), key="alone", deadlines=deadlines, idle=1)
        try:
            yield channel
        finally:
            channel.close()
            await worker.stop()
            await deadlines.close()


async def surely(model: str, prompts: Iterable[str], clock: Clock) -> dict[str, Sure]:
    """What a model answers to each prompt of whose answer it is sure at every token.

    Raises `EngineError` when it does not answer, `LoadFailed` when it cannot be loaded.
    """
    found: dict[str, Sure] = {}
    deadlines = Deadlines(clock)
    async with alone(model, clock) as channel:
        for prompt in prompts:
            asked = await channel.ask(
                "POST", "/v1/chat/completions", _body(prompt), keep=True, seconds=_SECONDS
            )
            raw = await asked.receive_all(deadlines, _SECONDS)
            channel.release(asked, keep=True)
            if asked.status != 200:
                raise EngineError(f"{model} did not answer: {raw[:200]!r}")
            answer = read(json.loads(raw))
            if answer is not None and answer.margin >= MARGIN_NATS:
                found[prompt] = answer
    await deadlines.close()
    return found


def _body(prompt: str) -> bytes:
    return json.dumps(
        {
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": MOST_TOKENS,
            "logprobs": True,
            "top_logprobs": 2,
        }
    ).encode()


def read(answer: Mapping[str, Any]) -> Sure | None:
    """The answer with its smallest margin in nats; None for one that did not end by itself.

    >>> token = {"token": "7", "top_logprobs": [{"logprob": -0.1}, {"logprob": -2.6}]}
    >>> choice = {"finish_reason": "stop", "logprobs": {"content": [token]}}
    >>> read({"choices": [choice]}).margin
    2.5
    """
    choice = answer["choices"][0]
    if choice["finish_reason"] != "stop":
        return None
    tokens, margin = [], inf
    for one in choice["logprobs"]["content"]:
        first, second = (top["logprob"] for top in one["top_logprobs"])
        margin = min(margin, first - second)
        tokens.append(one["token"])
    return Sure(tokens=tuple(tokens), margin=margin)
