"""Listening: the door on a socket, with deadlines that uvicorn does not have.

uvicorn bounds neither how long a request's head may take nor how large it may grow, so its
protocol class is extended here. Nothing in this module knows what the application does.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import sys
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, cast
from urllib.parse import unquote

import httptools
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from arbiter.errors import ConfigError
from arbiter.gateway.cycle import Cycle
from arbiter.gateway.hangup import Line
from arbiter.gateway.outlet import Outlet
from arbiter.outbox import Outbox

log = logging.getLogger("arbiter.gateway")

_ASGI = {"version": "3.0", "spec_version": "2.3"}
_UPGRADING = frozenset({b"upgrade", b"http2-settings"})
_BACKLOG = 512
_MOST_QUEUED = 8
"""Requests of one connection that are read while another is answered. Who reads no further does not
see who hangs up; who reads for ever fills the memory."""
_LAST_WORDS_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the door is."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """As a client would write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the server waits for a client, in seconds, and how much it takes unread.

    head_s: for a request's line and headers, from its first byte, or from the connection.
    reader_s: for a client that does not take what was sent to it.
    idle_s: between two requests of one connection.
    drain_s: for requests that are still going on when the server closes.
    rest_s, rest_bytes: for the rest of a request that is answered already, before it hangs up.
    head_bytes: taken without getting any further in the request.
    """

    head_s: float = 10.0
    reader_s: float = 60.0
    idle_s: int = 75
    drain_s: float = 30.0
    rest_s: float = 3.0
    rest_bytes: int = 64 * 1024 * 1024
    head_bytes: int = 64 * 1024


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The loop to run the house on: uvloop where there is one."""
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415  # there is none for Windows

    return uvloop.new_event_loop()


class _Alarm:
    """One timer, set and called off again and again."""

    __slots__ = ("_handle",)

    def __init__(self) -> None:
        self._handle: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        return self._handle is not None

    def set(self, loop: asyncio.AbstractEventLoop, seconds: float, act: Callable[[], None]) -> None:
        self._handle = loop.call_later(seconds, act)

    def call_off(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with bounds on slow and endless clients."""

    _outlet: Outlet

    def __init__(
        self, config: Config, state: ServerState, patience: Patience, outbox: Outbox
    ) -> None:
        super().__init__(config=config, server_state=state, app_state={})
        self._patience = patience
        self._outbox = outbox
        self._head_alarm = _Alarm()
        self._reader_alarm = _Alarm()
        self._idle_alarm = _Alarm()
        self._idle_since = 0.0
        self._running: Cycle | None = None
        self._unparsed = 0
        self._is_deaf = False
        self._unread = 0
        self._lost = asyncio.Event()
        self._line = Line()

    async def lost(self) -> None:
        """Return when the connection is gone."""
        await self._lost.wait()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self.transport = self._outlet = Outlet(transport, self._outbox)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_alarm.call_off()
        self._reader_alarm.call_off()
        self._idle_alarm.call_off()
        running = self._running
        if running is not None and not running.response_complete:
            # uvicorn tells the newest alone, which of several in a row is not the one that runs
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)
        self._lost.set()
        self._line.cut()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            self._unread += len(data)
            if self._unread > self._patience.rest_bytes:
                self.transport.abort()
            return
        self._unparsed += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as asked:
            self._go_on_as_it_is(data[asked.args[0] :])
        except httptools.HttpParserError:
            self._refuse_what_is_no_http()
        # after it was read: most heads come whole, and then there is nothing to wait for
        if not (self._head_alarm.is_set or self._is_busy()):
            self._await_head()
        if self._unparsed > self._patience.head_bytes:
            self._refuse(b"431 Request Header Fields Too Large", is_sending=True)

    def _go_on_as_it_is(self, rest: bytes) -> None:
        """Answer whoever asked for another protocol in this one, which RFC 9110, 7.8 allows.

        Java's client asks for HTTP/2 with every request to an address without TLS, and a parser
        takes what follows such a head for the other protocol: the body would be lost.
        """
        lines = [b"%b %b HTTP/1.1" % (self.parser.get_method(), self.url)]
        for name, value in self.headers:
            if name == b"connection":
                kept = [one for one in value.split(b",") if one.strip().lower() not in _UPGRADING]
                lines += [b"connection: " + b",".join(kept)] if kept else []
            elif name not in _UPGRADING:
                lines.append(b"%b: %b" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        try:
            self.parser.feed_data(b"\r\n".join(lines) + b"\r\n\r\n" + rest)
        except httptools.HttpParserUpgrade:
            self._refuse(b"400 Bad Request")  # another one behind it, in the same breath
        except httptools.HttpParserError:
            self._refuse_what_is_no_http()

    def _refuse_what_is_no_http(self) -> None:
        log.debug("what came is no HTTP")
        self.send_400_response("Invalid HTTP request received.")

    def on_message_begin(self) -> None:
        _refresh_date(self.server_state, int(self.loop.time()))
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        self._head_alarm.call_off()
        self._unparsed = 0
        if not self.url.startswith(b"/"):
            # An absolute target names a host of its own, past the check of the Host header.
            raise httptools.HttpParserInvalidURLError("only paths are served here")
        if self.parser.should_upgrade():
            return
        raw_path, _, query = self.url.partition(b"?")
        path = raw_path.decode("ascii")
        version = self.parser.get_http_version()
        # ASGI's, and beside it names of our own, for the door that this server was made for
        scope: dict[str, object] = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            "headers": self.headers,
            "method": self.parser.get_method().decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "arbiter.line": self._line,
        }
        self.scope = cast("Any", scope)
        before: RequestResponseCycle | None = self.cycle  # None before the first one
        cycle = self.cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._running = cycle
            self._start_asgi_task(cycle, self.app)
        else:
            self.pipeline.appendleft((cycle, self.app))
            if len(self.pipeline) >= _MOST_QUEUED:
                self.flow.pause_reading()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        if len(self.pipeline) < _MOST_QUEUED:
            # uvicorn stops reading at a large body and does not begin again at its end: whoever
            # hangs up would not be noticed, and the engine would go on for nobody
            self.flow.resume_reading()
        cast("dict[str, object]", self.scope)["arbiter.whole"] = self._take_whole

    def _take_whole(self) -> bytes:
        """The body of the request that is being answered.

        Of the connection and not of the request, which would hold its scope and be held by it: what
        holds itself stays in memory until the collector comes.
        """
        return b"" if self._running is None else self._running.take_whole()

    def on_response_complete(self) -> None:
        """Begin the next request if it is here already; else wait for it, and not for ever.

        One timer for a connection, which looks how long nothing came: one for each response would
        cost as much as the response's head.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self._running is not None and not self._running.keep_alive:
            self._let_it_finish()
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._running = cast("Cycle", cycle)
            self._start_asgi_task(cycle, app)
            return
        self._idle_since = self.loop.time()
        if not self._idle_alarm.is_set:
            self._idle_alarm.set(self.loop, self.timeout_keep_alive, self._look_if_idle)

    def _let_it_finish(self) -> None:
        """Hang up on a client that is still sending a request that is answered already.

        To close at once would reset the connection, and most clients send all of their body before
        they read: they would never see why it was refused (RFC 9112, 9.6). So nothing more is
        said, and what still comes is left unread, until the client hangs up, time is over, or it is
        more than anybody has to say.
        """
        self._is_deaf = True
        self._outlet.end()
        self.flow.resume_reading()
        self.loop.call_later(self._patience.rest_s, self.transport.close)

    def _look_if_idle(self) -> None:
        self._idle_alarm.call_off()
        if self._is_busy() or self._head_alarm.is_set:
            return  # a request has begun, and its end sets the alarm again
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0.0:
            self._idle_alarm.set(self.loop, left, self._look_if_idle)
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; never in the middle of an answer to something else."""
        if self._is_busy():
            self.transport.abort()
        else:
            super().send_400_response(msg)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reader_alarm.set(self.loop, self._patience.reader_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._reader_alarm.call_off()
        super().resume_writing()

    def _is_busy(self) -> bool:
        """Whether a request is being answered."""
        cycle: RequestResponseCycle | None = self.cycle  # None before the first one
        return cycle is not None and not cycle.response_complete

    def _await_head(self) -> None:
        self._head_alarm.set(self.loop, self._patience.head_s, self._give_up_on_head)

    def _give_up_on_head(self) -> None:
        self._refuse(b"408 Request Timeout")

    def _refuse(self, status: bytes, *, is_sending: bool = False) -> None:
        if self.transport.is_closing():
            return
        if self._is_busy():
            self.transport.abort()
            return
        self.transport.write(
            b"HTTP/1.1 %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status
        )
        if is_sending:
            self._let_it_finish()
        else:
            self.transport.close()


class _Dated(ServerState):
    """The state that connections share, and the second for which its date header holds."""

    second = -1


def _refresh_date(state: ServerState, second: int) -> None:
    if isinstance(state, _Dated) and state.second != second:
        state.second = second
        state.default_headers = [(b"date", formatdate(usegmt=True).encode())]


@asynccontextmanager
async def serving(
    app: ASGIApp,
    host: str = "127.0.0.1",
    port: int = 8017,
    *,
    fd: int | None = None,
    patience: Patience = Patience(),
) -> AsyncIterator[Address]:
    """Serve for as long as the context is open; port 0 takes a free one.

    fd: a socket that listens already, given by whoever started the house.

    Leaving closes the door: nobody new comes in, requests that are going on may end within
    ``patience.drain_s`` and are cancelled then. Raises `ConfigError` when it cannot listen there.
    """
    config = Config(
        app,
        http=_Protocol,
        interface="asgi3",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # or whoever sends X-Forwarded-For chooses the address it comes from
        timeout_keep_alive=patience.idle_s,
    )
    config.load()
    state = _Dated()
    listening = socket.socket(fileno=fd) if fd is not None else _bound(host, port)
    loop = asyncio.get_running_loop()
    outbox = Outbox(loop)
    server = await loop.create_server(
        lambda: _Protocol(config, state, patience, outbox), sock=listening, backlog=_BACKLOG
    )
    try:
        at = listening.getsockname()
        yield Address(host=at[0], port=at[1])
    finally:
        server.close()
        await _drain(state, patience)


def _bound(host: str, port: int) -> socket.socket:
    """A socket bound there. Raises `ConfigError` saying what to do when it cannot be."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(
            f"{host} is no address to listen at ({error.strerror}).",
            hint="Use 127.0.0.1 for this machine alone.",
            param="host",
        ) from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(where)
    except OSError as error:
        bound.close()
        raise _not_bound(host, port, error) from error
    return bound


def _not_bound(host: str, port: int, error: OSError) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            f"Port {port} at {host} is already taken.",
            hint="Stop what listens there (another Arbiter, perhaps), or choose another port; "
            "0 takes a free one.",
            param="port",
        )
    if error.errno == errno.EACCES:
        return ConfigError(
            f"Port {port} is not open to this user.",
            hint="Choose one of 1024 or above.",
            param="port",
        )
    return ConfigError(
        f"{host} is not an address of this machine ({error.strerror}).",
        hint="Use 127.0.0.1 for this machine alone, or 0.0.0.0 for all of its addresses.",
        param="host",
    )


async def _drain(state: ServerState, patience: Patience) -> None:
    """Let what is going on end, then end it."""
    connections = [one for one in state.connections if isinstance(one, _Protocol)]
    for connection in connections:
        connection.shutdown()
    late = await _outwaited(state.tasks, patience.drain_s)
    for task in late:
        task.cancel()
    if late:
        log.warning("closed before %d requests had ended", len(late))
        await _outwaited(late, _LAST_WORDS_S)
    for connection in connections:
        connection.transport.close()
    leaving = {asyncio.create_task(connection.lost()) for connection in connections}
    for task in await _outwaited(leaving, _LAST_WORDS_S):
        task.cancel()
    for connection in connections:
        connection.transport.abort()  # does nothing to those that are gone


async def _outwaited(
    tasks: Collection[asyncio.Task[None]], seconds: float
) -> set[asyncio.Task[None]]:
    """Wait for all of these; the ones that took longer than this."""
    if not tasks:
        return set()
    return (await asyncio.wait(list(tasks), timeout=seconds))[1]
