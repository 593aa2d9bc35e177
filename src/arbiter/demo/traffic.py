"""The demo's clients: real HTTP requests at the door, each with its known right answer.

Every request is counted, and one that did not get a whole answer is counted as lost.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

import aiohttp

from arbiter.demo.lessons import TASKS, Item, draw

AT_ONCE = 8
"""Clients that ask at the same time."""

LIVE_FORMS = 0.6
"""Share of live `extract` requests in the form shape, which no stored case has."""


def live_items(dice: Random) -> Iterator[Item]:
    """What people really ask, for ever: every task in turn, never the same prompt twice."""
    seen: set[str] = set()
    for task in itertools.cycle(TASKS):
        shape = "form" if task == "extract" and dice.random() < LIVE_FORMS else None
        for _ in range(50):
            item = draw(task, dice, shape=shape, split="held_out")
            if item.prompt not in seen:
                seen.add(item.prompt)
                yield item
                break


@dataclass(slots=True)
class Tally:
    """Grades by task, counted where the answer arrives."""

    right: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)

    def add(self, task: str, *, right: bool) -> None:
        """Count an answer."""
        self.asked[task] = self.asked.get(task, 0) + 1
        self.right[task] = self.right.get(task, 0) + int(right)

    @property
    def quality(self) -> Mapping[str, float]:
        """Share of right answers by task."""
        return {task: self.right[task] / count for task, count in self.asked.items()}


class Clients:
    """Sends items to a door as OpenAI chat completions, half of them streamed."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.requests = 0
        self.lost = 0
        self._session = session
        self._url = f"{url}/v1/chat/completions"

    async def ask(self, item: Item, *, model: str) -> str | None:
        """One answer, or None when it was lost."""
        self.requests += 1
        streamed = self.requests % 2 == 0
        body = {
            "model": model,
            "messages": [{"role": "user", "content": item.prompt}],
            "temperature": 0,
            "max_tokens": 100,
            "stream": streamed,
            "metadata": {"task": item.task, "expected": item.expected},
        }
        try:
            async with self._session.post(self._url, json=body) as got:
                raw = await got.read()
                answer = _text(raw, streamed=streamed) if got.status == 200 else None
        except aiohttp.ClientError:
            answer = None
        if answer is None:
            self.lost += 1
        return answer

    async def send(
        self, items: Iterator[Item], *, model: str, tally: Tally, until: Callable[[], bool]
    ) -> None:
        """Ask one item after the other, several at a time, until told to stop or out of items."""

        async def client() -> None:
            for item in items:
                if until():
                    return
                answer = await self.ask(item, model=model)
                tally.add(item.task, right=answer is not None and _is_right(item, answer))

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(client())


def _is_right(item: Item, answer: str) -> bool:
    if item.task == "extract":
        try:
            return bool(json.loads(answer) == json.loads(item.expected))
        except ValueError:
            return False
    return answer.strip() == item.expected


def _text(raw: bytes, *, streamed: bool) -> str | None:
    """The answer's text; None when it is not whole."""
    if not streamed:
        return str(json.loads(raw)["choices"][0]["message"]["content"])
    parts: list[str] = []
    for line in raw.splitlines():
        data = line.removeprefix(b"data: ")
        if data == b"[DONE]":
            return "".join(parts)
        if line.startswith(b"data: "):
            chunk = json.loads(data)
            if "error" in chunk:
                return None
            parts += [choice["delta"].get("content") or "" for choice in chunk["choices"]]
    return None
