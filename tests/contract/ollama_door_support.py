"""What the tests of the Ollama door share: its client, and what a request becomes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ollama
from tests.contract.door_support import (
    ScriptedHouse,
    at_the_door,
)

MESSAGES: Any = [{"role": "user", "content": "hi"}]
CHAT = "/api/chat"
GENERATE = "/api/generate"


CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}


@asynccontextmanager
async def client_of(house: ScriptedHouse, **more: Any) -> AsyncIterator[ollama.AsyncClient]:
    async with at_the_door(house, **more) as address:
        client = ollama.AsyncClient(host=address.url)
        try:
            yield client
        finally:
            await client.close()  # type: ignore[no-untyped-call]  # it has no types


def body(**fields: object) -> bytes:
    return json.dumps({"model": "tiny", "stream": False, **fields}).encode()
