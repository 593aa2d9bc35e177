"""What the tests of the door share: a scripted house behind it, and a client that speaks bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from arbiter.clock import ManualClock
from arbiter.engines.base import PullStep
from arbiter.errors import UnknownModel
from arbiter.gateway.rooms import LoadedModel, ModelCard, ModelFacts, Rooms
from arbiter.gateway.routes import door
from arbiter.gateway.security import Access, Key, Policy, hashed
from arbiter.gateway.serving import Address, Patience, serving
from arbiter.inference import (
    Arm,
    Ask,
    Chunk,
    Decided,
    Delta,
    Finish,
    FinishReason,
    Usage,
)
from arbiter.refs import DecisionId, ModelName, TaskName, VersionId
from arbiter.telemetry import Tally, Watched

DECISION = DecisionId("dec_01kdwzkm000000000000000000")
REQUEST = "req_01kdwzkm000000000000000000"
VERSION = VersionId("sha256:" + "ab" * 32)
USAGE = Usage(prompt_tokens=7, completion_tokens=2, cached_tokens=3)
FINISH = Finish(reason=FinishReason.STOP, usage=USAGE)
HELLO: tuple[Chunk, ...] = (Delta(text="Hel"), Delta(text='lo "you"\n'), FINISH)
DECIDED = Decided(
    decision=DECISION,
    task=TaskName("general"),
    alias=ModelName("tiny"),
    version=VERSION,
    arm=Arm.NONE,
    reason="the only one",
    probability=1.0,
)

CARD = ModelCard(
    id="org/tiny:1b",
    created=1767225600,
    owned_by="you",
    version=VERSION,
    context_length=4096,
    capabilities=("chat",),
)
USE_KEY = Key(id="k-use", digest=hashed("sk-use"))
ADMIN_KEY = Key(id="k-admin", digest=hashed("sk-admin"), access=Access.ADMIN)

CHAT_PATH = "/v1/chat/completions"
CHAT = b'{"model":"tiny","messages":[{"role":"user","content":"hi"}]}'
STREAMED_CHAT = CHAT[:-1] + b',"stream":true}'


@dataclass
class ScriptedReply:
    """An answer that has begun."""

    house: ScriptedHouse
    decided: Decided

    def tally(self) -> str:
        """What the script says that it took."""
        return self.house.tally

    async def chunks(self) -> AsyncIterator[Chunk]:
        """The script, piece by piece."""
        for index, chunk in enumerate(self.house.script):
            if index == self.house.hold_at:
                self.house.is_held.set()
                await self.house.go_on.wait()
            if index == self.house.fails_at:
                raise self.house.failure
            if isinstance(chunk, Finish):
                self.house.is_finished = True
            yield chunk


@dataclass
class ScriptedHouse:
    """An `Answer` that plays a script, and sees whether it was left before the end.

    hold_at, fails_at: the chunk before which it waits or fails; -1 is before the answer begins.
    is_held, has_left: set when it waits, and when its context was left.
    """

    script: Sequence[Chunk] = HELLO
    tally: str = ""
    decided: Decided = DECIDED
    hold_at: int | None = None
    fails_at: int | None = None
    failure: Exception = field(default_factory=RuntimeError)
    asks: list[Ask] = field(default_factory=list)
    closed_early: list[bool] = field(default_factory=list)
    is_finished: bool = False
    is_held: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    has_left: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def answer(self, ask: Ask) -> AsyncIterator[ScriptedReply]:
        """Begin when the first chunk would be there."""
        self.asks.append(ask)
        self.is_finished = False
        try:
            if self.hold_at == -1:
                self.is_held.set()
                await self.go_on.wait()
            if self.fails_at == -1:
                raise self.failure
            yield ScriptedReply(house=self, decided=self.decided)
        finally:
            self.closed_early.append(not self.is_finished)
            self.has_left.set()


FACTS = ModelFacts(
    name="org/tiny:1b",
    version=VERSION,
    registered_at=datetime(2026, 1, 1, tzinfo=UTC),
    size_bytes=5_000,
    format="gguf",
    architecture="llama",
    parameters=1_500_000_000,
    quantization="Q4_K_M",
    context_length=4096,
    capabilities=("chat", "completion", "json", "tools"),
    licence="MIT",
)


@dataclass
class ScriptedShelf:
    """A `Shelf` of one model and ``auto``, which notes what is done to it.

    steps: what a pull tells. hold: a load and a pull wait for it. failure: what a pull, or anything
    else that is done, ends with.
    """

    done: list[tuple[str, str]] = field(default_factory=list)
    steps: Sequence[PullStep] = ()
    failure: Exception | None = None
    hold: asyncio.Event | None = None
    is_held: asyncio.Event = field(default_factory=asyncio.Event)
    is_cut: asyncio.Event = field(default_factory=asyncio.Event)

    def all(self) -> Sequence[ModelFacts]:
        """What there is."""
        return [ModelFacts(name="auto", version="", capabilities=("chat",)), FACTS]

    def find(self, model: str) -> ModelFacts:
        """One of it."""
        for facts in self.all():
            if facts.name == model:
                return facts
        raise UnknownModel(f"No model or alias is called {model!r}.", param="model")

    def loaded(self) -> Sequence[LoadedModel]:
        """What is in memory."""
        return [LoadedModel(facts=FACTS, memory_bytes=7_000, context=2048, accelerator_bytes=3_000)]

    async def load(self, model: str) -> None:
        """Note it."""
        await self._held()
        self._do("load", model)

    async def unload(self, model: str) -> None:
        """Note it."""
        self._do("unload", model)

    async def remove(self, model: str) -> None:
        """Note it."""
        self._do("remove", model)

    async def pull(self, model: str, tell: Callable[[PullStep], None]) -> None:
        """Tell the steps."""
        for step in self.steps:
            tell(step)
        await self._held()
        self._do("pull", model)

    async def _held(self) -> None:
        if self.hold is None:
            return
        self.is_held.set()
        try:
            await self.hold.wait()
        except asyncio.CancelledError:
            self.is_cut.set()
            raise

    def _do(self, what: str, model: str) -> None:
        self.done.append((what, model))
        if self.failure is not None:
            raise self.failure


def rooms(house: ScriptedHouse, **more: object) -> Rooms:
    """The rooms behind the door; a manual clock stands at the first of January 2026."""
    given: dict[str, object] = {
        "answer": house,
        "models": lambda: [CARD],
        "healthy": lambda: {"ok": True},
        "ready": lambda: {"ok": True},
        "watched": lambda: Watched(requests=Tally(), events={}, instances=(), rollouts=()),
        "clock": ManualClock(),
        "new_request": lambda: REQUEST,
        "shelf": ScriptedShelf(),
    }
    return Rooms(**(given | more))  # type: ignore[arg-type]  # tests replace single rooms


@asynccontextmanager
async def at_the_door(
    house: ScriptedHouse,
    policy: Policy | None = None,
    patience: Patience | None = None,
    **more: object,
) -> AsyncIterator[Address]:
    """A door on a real port of this machine."""
    app = door(rooms(house, **more), policy or Policy())
    async with serving(app, "127.0.0.1", 0, patience=patience or Patience(drain_s=2)) as address:
        yield address


@dataclass(frozen=True)
class Answered:
    """A response as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


def request(
    method: str,
    path: str,
    address: Address,
    *,
    body: bytes | None = None,
    headers: Sequence[str] = (),
    host: str | None = None,
) -> bytes:
    """A request's bytes; it asks for the connection to be closed afterwards."""
    host = f"127.0.0.1:{address.port}" if host is None else host
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
    if body is not None:
        if not any(line.lower().startswith("content-type") for line in headers):
            lines.append("Content-Type: application/json")
        lines.append(f"Content-Length: {len(body)}")
    lines.append("Connection: close")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


async def exchanged(address: Address, data: bytes) -> Answered:
    """Send bytes, read the response to its end. The server must close."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(data)
        return parsed(await asyncio.wait_for(reader.read(), 10))
    finally:
        writer.close()


def parsed(data: bytes) -> Answered:
    """A response, taken apart; a chunked body is put together."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    if headers.get("transfer-encoding") == "chunked":
        body = _unchunked(body)
    return Answered(status=int(first.split()[1]), headers=headers, body=body)


def _unchunked(data: bytes) -> bytes:
    whole = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        whole += rest[: int(size, 16)]
        data = rest[int(size, 16) + 2 :]
    return whole


async def post(
    address: Address, body: bytes = CHAT, headers: Sequence[str] = (), path: str = CHAT_PATH
) -> Answered:
    """POST a body to the chat route, or another."""
    return await exchanged(address, request("POST", path, address, body=body, headers=headers))


async def get(address: Address, path: str, headers: Sequence[str] = ()) -> Answered:
    """GET a path."""
    return await exchanged(address, request("GET", path, address, headers=headers))
