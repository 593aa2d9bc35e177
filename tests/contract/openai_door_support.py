"""What the tests of the OpenAI door share: its client, and what a request becomes."""

from __future__ import annotations

import json
from typing import Any

from tests.contract.door_support import (
    ScriptedHouse,
    at_the_door,
    post,
)

MESSAGES: Any = [{"role": "user", "content": "hi"}]


def chat(**fields: object) -> bytes:
    """A chat request with these fields."""
    return json.dumps({"model": "tiny", "messages": MESSAGES, **fields}).encode()


async def asked(body: bytes, *headers: str) -> Any:
    house = ScriptedHouse()
    async with at_the_door(house) as address:
        answered = await post(address, body, headers)
    assert answered.status == 200, answered.text
    return house.asks[0]


async def refused(body: bytes, *headers: str) -> dict[str, Any]:
    async with at_the_door(house := ScriptedHouse()) as address:
        answered = await post(address, body, headers)
    assert (answered.status, house.asks) == (400, []), answered.text
    error: dict[str, Any] = json.loads(answered.body)["error"]
    return error


def content(*parts: object) -> dict[str, object]:
    """Fields of a request whose one message has these parts."""
    return {"messages": [{"role": "user", "content": list(parts)}]}


PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
