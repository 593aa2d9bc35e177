"""Every fault of a backend, and what a client is to see of it.

`FAULTS` is the table of `docs/reference/faults.md`, as a program: `tests/docs` compares them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from tests.standins.bad_servers import (
    DIALECTS,
    LAST,
    OPENAI,
    Act,
    BadServer,
    Dialect,
    Then,
    answering,
    bad_server,
    begins,
    reply,
    stream,
)
from tests.story.houses import settings

from arbiter.app import open_house
from arbiter.clock import Clock, ManualClock
from arbiter.engines.ollama import OllamaEngine
from arbiter.engines.openai_server import OpenAIServerEngine
from arbiter.house import House
from arbiter.knowledge.rules import Rule
from arbiter.refs import GENERAL, parse_name

FAR_TOO_LONG: Final = 50 * 1024 * 1024
LIMIT_S: Final = 60.0
"""No story with one of them takes longer."""

both_dialects = pytest.mark.parametrize("dialect", DIALECTS, ids=[d.name for d in DIALECTS])

RIGHT: Final = "it goes on"
"""What a good server says. No bad one says any of it."""


@dataclass(frozen=True, kw_only=True)
class Ends:
    """How a request ends for its client. code: of the error, or None. text: what came of it."""

    status: int = 502
    code: str | None = None
    text: str = ""
    retry_after: str | None = None


CUT = Ends(status=200, code="stream_cut", text="hel")
FAILED = Ends(code="engine_error")
LOST = Ends(code="instance_lost")
SILENT = Ends(status=504, code="engine_timeout")
RETOLD = Ends(status=200, text="hello")
BUSY = Ends(status=429, code="busy", retry_after="7")

HASTY: Final[dict[str, Any]] = {"pool__first_s": 0.5, "pool__next_s": 0.5, "pool__whole_s": 1.0}
"""Bounds on waiting for whoever never comes."""

Acting = Callable[[Dialect, bool], Act]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to be bad. acts: None for what befalls the whole server."""

    name: str
    streamed: Ends
    whole: Ends
    acts: Acting | None = None

    @property
    def waits(self) -> dict[str, Any]:
        """How long to wait for it: not for long if that is its fault."""
        return HASTY if SILENT in {self.streamed, self.whole} else {}

    def ends(self, *, streamed: bool) -> Ends:
        """What the client sees when nobody else can answer."""
        return self.streamed if streamed else self.whole


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _half(d: Dialect, streamed: bool) -> tuple[bytes, ...]:
    """An answer that has begun, and is whole neither for HTTP nor as JSON."""
    if streamed:
        return stream(d, d.piece("hel"), ends=False)
    body = _json(d.whole("hello"))
    return (begins("application/json", length=len(body)) + body[: len(body) // 2],)


def _begun(d: Dialect, *events: bytes, ends: bool = True) -> Act:
    """A stream of which the client has seen the first piece when the rest is sent."""
    head, first, *rest = stream(d, d.piece("hel"), *events, ends=ends)
    return Act(pieces=(head + first, b"".join(rest)), paced=True)


def _both(
    events: Callable[[Dialect], Sequence[bytes]], whole: Callable[[Dialect], bytes]
) -> Acting:
    """An answer that is whole for HTTP: a stream that goes on so, or this body."""

    def act(d: Dialect, streamed: bool) -> Act:
        return _begun(d, *events(d)) if streamed else Act(pieces=(reply(whole(d)),))

    return act


def _refusing(status: int, *, more: str = "") -> Acting:
    body = _json({"error": {"message": "not now"}})
    return lambda d, streamed: Act(pieces=(reply(body, status=status, more=more),))  # noqa: ARG005


def _slowly(d: Dialect, streamed: bool) -> Act:
    if streamed:
        pieces = stream(d, *(d.piece(part) for part in ("hel", "lo")), d.end())
        return Act(pieces=(pieces[0] + pieces[1], pieces[2], b"".join(pieces[3:])), paced=True)
    body = _json(d.whole("hello"))
    head = begins("application/json", length=len(body))
    return Act(pieces=(head + body[:1], body[1:2], body[2:]), paced=True)


def _long_line(d: Dialect, streamed: bool) -> Act:
    kind = d.events if streamed else "application/json"
    first = d.piece("hel") if streamed else b""
    head = begins(kind, length=len(first + d.broken_piece()) + FAR_TOO_LONG)
    return Act(pieces=(head + first, d.broken_piece()), paced=streamed, pours=FAR_TOO_LONG)


def _page(d: Dialect, streamed: bool) -> Act:  # noqa: ARG001  # one shape for all
    return Act(pieces=(reply(b"<!doctype html>\n<h1>Welcome</h1>\n", kind="text/html"),))


def _mangled(d: Dialect, streamed: bool) -> Act:
    pieces = stream(d, d.piece("hel"), ends=False) if streamed else (begins("application/json"),)
    return Act(pieces=(b"".join(pieces), b"zz\r\n" + LAST), paced=streamed, then=Then.CLOSE)


def _twice(d: Dialect, streamed: bool) -> Act:
    again = (d.end(), d.piece("again"), d.end())
    if streamed:
        return Act(pieces=stream(d, d.piece("hello"), d.end(), *again))
    line = _json(d.whole("hello")) + b"\n"
    return Act(pieces=(reply(line + line),))


FAULTS: Final = (
    Fault(
        name="refused connection",
        streamed=Ends(status=503, code="server_gone", retry_after="1"),
        whole=Ends(status=503, code="server_gone", retry_after="1"),
    ),
    Fault(
        name="reset on accept",
        streamed=Ends(status=503, code="server_gone", retry_after="1"),
        whole=Ends(status=503, code="server_gone", retry_after="1"),
    ),
    Fault(
        name="reset on every request",
        acts=lambda d, streamed: Act(then=Then.RESET),  # noqa: ARG005
        streamed=LOST,
        whole=LOST,
    ),
    Fault(
        name="silence before headers",
        acts=lambda d, streamed: Act(then=Then.HANG),  # noqa: ARG005
        streamed=SILENT,
        whole=SILENT,
    ),
    Fault(
        name="silence after headers",
        acts=lambda d, streamed: Act(
            pieces=(begins(d.events if streamed else "application/json"),), then=Then.HANG
        ),
        streamed=SILENT,
        whole=SILENT,
    ),
    Fault(
        name="silence mid-stream",
        acts=lambda d, streamed: Act(pieces=_half(d, streamed), then=Then.HANG),
        streamed=CUT,
        whole=SILENT,
    ),
    Fault(name="one token a minute", acts=_slowly, streamed=CUT, whole=SILENT),
    Fault(
        name="cut without an end",
        acts=lambda d, streamed: Act(pieces=_half(d, streamed), then=Then.CLOSE),
        streamed=CUT,
        whole=LOST,
    ),
    Fault(
        name="an end of the connection and none of the answer",
        acts=_both(lambda d: (), lambda d: b"{}" if d is OPENAI else d.piece("hello")),  # noqa: ARG005
        streamed=CUT,
        whole=FAILED,
    ),
    Fault(
        name="truncated JSON",
        acts=_both(lambda d: (d.broken_piece(),), lambda d: _json(d.whole("hello"))[:-9]),
        streamed=CUT,
        whole=FAILED,
    ),
    Fault(name="an HTML page with status 200", acts=_page, streamed=FAILED, whole=FAILED),
    Fault(
        name="empty choices",
        acts=lambda d, streamed: Act(
            pieces=stream(d, d.nothing(stream=True))
            if streamed
            else (reply(d.nothing(stream=False)),)
        ),
        streamed=FAILED,
        whole=FAILED,
    ),
    Fault(
        name="a malformed chunk of the stream",
        acts=_both(
            lambda d: (b"data: {nonsense}\n\n", d.piece("lo"), d.end()),
            lambda d: b"{nonsense}",  # noqa: ARG005
        ),
        streamed=CUT,
        whole=FAILED,
    ),
    Fault(
        name="a malformed chunk of HTTP",
        acts=_mangled,
        streamed=CUT,
        whole=FAILED,
    ),
    Fault(
        name="an error event mid-stream",
        acts=_both(
            lambda d: (d.error("out of /dev/memory"), d.piece("lo"), d.end()),
            lambda d: _json({"error": "out of /dev/memory"}),  # noqa: ARG005
        ),
        streamed=CUT,
        whole=FAILED,
    ),
    Fault(name="500", acts=_refusing(500), streamed=FAILED, whole=FAILED),
    Fault(
        name="503 with Retry-After",
        acts=_refusing(503, more="Retry-After: 7\r\n"),
        streamed=BUSY,
        whole=BUSY,
    ),
    Fault(
        name="429 with Retry-After",
        acts=_refusing(429, more="Retry-After: 7\r\n"),
        streamed=BUSY,
        whole=BUSY,
    ),
    Fault(
        name="401",
        acts=_refusing(401),
        streamed=Ends(code="key_refused"),
        whole=Ends(code="key_refused"),
    ),
    Fault(name="a duplicate end", acts=_twice, streamed=RETOLD, whole=FAILED),
    Fault(name="a 50 MB line", acts=_long_line, streamed=CUT, whole=FAILED),
    Fault(
        name="NaN in timings",
        acts=lambda d, streamed: Act(
            pieces=stream(d, d.metered("hello", stream=True))
            if streamed
            else (reply(d.metered("hello", stream=False)),)
        ),
        streamed=RETOLD,
        whole=RETOLD,
    ),
)


def before_the_first_byte(ends: Ends) -> bool:
    """Whether nothing of an answer had come, so that another one may give it."""
    return ends.status != 200


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What a client got. ends: of the answer, and ``[DONE]``s, in a stream."""

    ends: Ends
    finishes: int
    dones: int
    version: str | None
    decision: str | None
    raw: str


async def ask(
    url: str, model: str, *, streamed: bool, seen: Callable[[], None] = lambda: None
) -> Heard:
    """One request, and what came of it. seen: called once a piece of the answer has come."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "hello?"}],
        "stream": streamed,
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/chat/completions", json=body) as got,
    ):
        raw, is_seen = "", False
        async for line in got.content:
            raw += line.decode()
            if '"content":"hel"' in raw and not is_seen:
                is_seen = True
                seen()
        return _heard(got, raw)


def _heard(got: aiohttp.ClientResponse, raw: str) -> Heard:
    if got.content_type == "text/event-stream":
        lines = [line.removeprefix("data: ") for line in raw.split("\n\n") if line]
        events = [json.loads(line) for line in lines if line != "[DONE]"]
        dones = len(lines) - len(events)
    else:
        events, dones = [json.loads(raw)], 0
    choices = [event["choices"][0] for event in events if event.get("choices")]
    errors = [event for event in events if "error" in event]
    parts = [(one.get("delta") or one.get("message") or {}).get("content") for one in choices]
    return Heard(
        ends=Ends(
            status=got.status,
            code=errors[0]["error"]["code"] if errors else None,
            text="".join(part for part in parts if part),
            retry_after=got.headers.get("retry-after"),
        ),
        finishes=sum(one["finish_reason"] is not None for one in choices),
        dones=dones,
        version=got.headers.get("x-arbiter-version"),
        decision=errors[0]["arbiter"]["decision"]
        if errors
        else got.headers.get("x-arbiter-decision"),
        raw=raw,
    )


@dataclass(frozen=True, kw_only=True)
class Street:
    """A house in front of some servers, and its door."""

    house: House
    url: str

    def version(self, model: str) -> str:
        return next(one.version for one in self.house.registry.names() if one.name == model)


LOOKS = 3
"""Looks at most: on a busy machine a server may say too late what it is."""


@asynccontextmanager
async def street(
    data_dir: Path, *servers: BadServer, clock: Clock | None = None, **overrides: Any
) -> AsyncIterator[Street]:
    """A house that has found what these servers offer, as far as they say it."""
    given = {
        "discovery__servers": [server.url for server in servers],
        "discovery__usual": False,
        "calibration__enabled": False,
        "selection__strategy": "static",
        "pool__probe_s": 0.0,
        **overrides,
    }
    async with open_house(
        settings(data_dir, **given),
        clock=clock,
        engines=lambda context: (OllamaEngine(context), OpenAIServerEngine(context)),
    ) as house:
        for _ in range(LOOKS):
            await house.scout.look()
            if {server.model for server in servers} <= {one.name for one in house.registry.names()}:
                break
        async with house.door() as address:
            yield Street(house=house, url=address.url)


def saying(status: int) -> Act:
    return Act(pieces=(reply(b'{"error":"no"}', status=status, more="Retry-After: 1\r\n"),))


@asynccontextmanager
async def beside(
    folder: Path, clock: ManualClock, dialect: Dialect
) -> AsyncIterator[tuple[Street, BadServer, BadServer]]:
    """A house in front of one that `auto` prefers, and another one that is well."""
    good_one = answering(OPENAI, RIGHT, streamed=False)
    async with (
        asyncio.timeout(LIMIT_S),
        bad_server(dialect, "a-bad") as bad,
        bad_server(OPENAI, "b-good", good_one) as good,
        street(folder / "data", bad, good, clock=clock) as here,
    ):
        await here.house.rules.add(Rule(task=GENERAL, prefer=parse_name("a-bad")))
        yield here, bad, good
