"""Clients that stream and know the only right answer, so that each stream can be judged whole.

A stream is *whole* when its text is what the version in its header answers alone, and it says that
it is done. *Cut by a kill* is one that ended in an error event after its worker was killed, and was
right as far as it went. Anything else is a fault: *truncated* (it says that it is done and is only
a beginning), *duplicated* (it goes on after the end), or *lost*.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import cycle

import aiohttp

from arbiter.demo.alone import MOST_TOKENS
from arbiter.demo.lessons import Item
from arbiter.refs import VersionId

Answers = Mapping[VersionId, Mapping[str, str]]
"""The text by version and prompt."""


class End(StrEnum):
    """What became of a stream."""

    WHOLE = "whole"
    CUT_BY_KILL = "cut_by_kill"
    TRUNCATED = "truncated"
    DUPLICATED = "duplicated"
    LOST = "lost"


@dataclass(slots=True, eq=False)
class Stream:
    """One that runs. version: None before its first byte. killed: whose workers were meanwhile."""

    prompt: str
    version: VersionId | None = None
    parts: list[str] = field(default_factory=list)
    is_done: bool = False
    error: str | None = None
    killed: set[VersionId] = field(default_factory=set)

    def end(self, answers: Answers) -> tuple[End, str]:
        """What became of it, and what was seen."""
        text = "".join(self.parts)
        if self.version is None:
            return End.LOST, self.error or "there was no answer"
        right = answers[self.version][self.prompt]
        if self.error is not None or not self.is_done:
            was_killed = self.version in self.killed
            if was_killed and self.error is not None and right.startswith(text):
                return End.CUT_BY_KILL, self.error
            return End.LOST, f"{self.error or 'it ended without its end'}, after {text!r}"
        if text == right:
            return End.WHOLE, ""
        if right.startswith(text):
            return End.TRUNCATED, f"{text!r} of {right!r}"
        if text.startswith(right):
            return End.DUPLICATED, f"{text!r} for {right!r}"
        return End.LOST, f"{text!r} for {right!r}"


class Crowd:
    """Clients that ask one thing after the other until they are told to stop."""

    def __init__(self, session: aiohttp.ClientSession, url: str, answers: Answers) -> None:
        self.ends: Counter[End] = Counter()
        self.faults: list[str] = []
        """What was seen of the first faults."""
        self.begun: Counter[VersionId] = Counter()
        """Streams that had a first byte, by who answered."""
        self.going = True
        self._session = session
        self._url = f"{url}/v1/chat/completions"
        self._answers = answers
        self._running: set[Stream] = set()
        self._progress = asyncio.Condition()

    @property
    def streams(self) -> int:
        """Streams that have ended."""
        return self.ends.total()

    def on(self, version: VersionId) -> int:
        """Streams that have begun on this version and go on."""
        return sum(one.version == version for one in self._running)

    def killed(self, version: VersionId) -> None:
        """The worker of this version was just killed."""
        for one in self._running:
            one.killed.add(version)

    async def until(self, streams: int) -> None:
        """Until so many have ended."""
        async with self._progress:
            await self._progress.wait_for(lambda: self.streams >= streams)

    async def until_on(self, version: VersionId, *, most: int) -> bool:
        """Until one goes on on this version, or one has begun there since. False: nobody has.

        most: so many may end meanwhile, before it is False. No clock has a say: on a slow machine
        all takes longer, and an answer is over before anybody has looked.
        """
        begun, ended = self.begun[version], self.streams

        def is_seen() -> bool:
            return self.on(version) > 0 or self.begun[version] > begun

        async with self._progress:
            await self._progress.wait_for(lambda: is_seen() or self.streams - ended >= most)
            return is_seen()

    async def ask_on(self, model: str, items: Sequence[Item]) -> None:
        """One client: these items, again and again."""
        for item in cycle(items):
            if not self.going:
                return
            await self._ask(model, item)

    async def _ask(self, model: str, item: Item) -> None:
        stream = Stream(prompt=item.prompt)
        self._running.add(stream)
        try:
            await self._follow(stream, model, item)
        except (aiohttp.ClientError, TimeoutError) as error:
            stream.error = repr(error)
        finally:
            self._running.discard(stream)
        end, seen = stream.end(self._answers)
        self.ends[end] += 1
        if end not in {End.WHOLE, End.CUT_BY_KILL} and len(self.faults) < 20:
            self.faults.append(f"{end.value}: {model}, {item.prompt!r}: {seen}")
        async with self._progress:
            self._progress.notify_all()

    async def _follow(self, stream: Stream, model: str, item: Item) -> None:
        body = {
            "model": model,
            "messages": [{"role": "user", "content": item.prompt}],
            "temperature": 0,
            "max_tokens": MOST_TOKENS,
            "stream": True,
            "metadata": {"task": item.task, "expected": item.expected},
        }
        async with self._session.post(self._url, json=body) as got:
            if got.status != 200:
                stream.error = f"{got.status}: {(await got.read())[:300]!r}"
                return
            stream.version = VersionId(got.headers["x-arbiter-version"])
            self.begun[stream.version] += 1
            async with self._progress:
                self._progress.notify_all()
            async for line in got.content:
                self._take(stream, line.strip())

    def _take(self, stream: Stream, line: bytes) -> None:
        data = line.removeprefix(b"data: ")
        if data == b"[DONE]":
            stream.is_done = True
        elif line.startswith(b"data: "):
            chunk = json.loads(data)
            if "error" in chunk:
                stream.error = str(chunk["error"].get("code"))
                return
            stream.parts += [choice["delta"].get("content") or "" for choice in chunk["choices"]]
