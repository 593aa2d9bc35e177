"""One connection to a server that speaks HTTP as it likes: who is there is not known beforehand.

A worker of the house answers as it was taught to. Other programs end an answer by hanging up, send
a head without an end, change what is spoken, or go on after the end: each is told apart here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from arbiter.engines.connection import Connection
from arbiter.outbox import Outbox

_MOST_BARREN: Final = 64 * 1024
"""Bytes in a row that bring nothing of a body: a head, what stands beside chunks, what follows."""

_INFORMATION: Final = range(100, 200)
_SWITCHES: Final = 101


class Headers(Mapping[str, str]):
    """What stands in the head of a response, by names in which case does not count.

    >>> headers = Headers([(b"Retry-After", b"7"), (b"retry-after", b"9")])
    >>> headers["retry-AFTER"], headers.get("location"), len(headers)
    ('7', None, 1)
    """

    __slots__ = ("_found", "_told")

    def __init__(self, told: list[tuple[bytes, bytes]]) -> None:
        self._told = told
        self._found: dict[str, str] | None = None

    def __getitem__(self, name: str) -> str:
        return self._all()[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, str]:
        if self._found is None:
            self._found = {}
            for name, value in self._told:
                self._found.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
        return self._found


class Alarm:
    """Ends the waits of one connection by the event loop's clock.

    A timer for every wait would cost more than what is waited for. So one is left running, and
    looks when it rings whether anybody has waited too long.
    """

    __slots__ = ("_deadline", "_future", "_rings", "_timer", "loop")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._rings = 0.0
        self._future: asyncio.Future[None] | None = None
        self._deadline = 0.0

    async def wait(self, future: asyncio.Future[None], seconds: float) -> None:
        """Wait for a future. Raises `TimeoutError` when that takes longer than this."""
        self._future, self._deadline = future, self.loop.time() + seconds
        if self._timer is None or self._rings > self._deadline:
            self.call_off()
            self._set()
        try:
            await future
        finally:
            self._future = None

    def call_off(self) -> None:
        """Let it not ring any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self) -> None:
        self._rings = self._deadline
        self._timer = self.loop.call_at(self._rings, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._future is None or self._future.done():
            return
        if self._rings < self._deadline:
            self._set()
        else:
            self._future.set_exception(TimeoutError("it is silent"))


class Line(Connection):
    """A connection to a server.

    A response that is none is a `ValueError`; one that breaks off is a `ConnectionError`.
    """

    __slots__ = (
        "_barren",
        "_encoding",
        "_has_length",
        "_is_kept",
        "_is_spoiled",
        "_told",
        "alarm",
        "idle_since",
        "media",
    )

    def __init__(self, on_lost: Callable[[Connection], None], outbox: Outbox) -> None:
        super().__init__(on_lost, outbox)
        self.alarm = Alarm()
        self.idle_since = 0.0
        self._is_spoiled = False
        self._barren = 0
        self._begin_head()

    def send(self, request: bytes) -> None:
        """Begin an exchange. Raises `ConnectionResetError` when it is closed."""
        self._begin_head()
        self._barren = 0
        super().send(request)

    def _begin_head(self) -> None:
        self._told: list[tuple[bytes, bytes]] = []
        self._has_length = self._is_kept = False
        self._encoding = self.media = b""

    @property
    def headers(self) -> Headers:
        """Those of the response, once its status is there."""
        return Headers(self._told)

    @property
    def is_reusable(self) -> bool:
        """Whether another exchange may begin on it."""
        # as of any connection, in its own words: asking the class above is what costs
        is_idle = self.complete and self._error is None and not self._paused
        return is_idle and self._is_kept and not self._is_spoiled

    def eof_received(self) -> None:
        """Called by the loop, when the peer has said all: what is cut by us has not ended."""
        if self.status and not self._has_length:
            self._end()  # some end an answer so

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self.alarm.call_off()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._barren += len(data)
        super().data_received(data)
        if self._is_spoiled:
            self.abort()  # else it could go on, and be kept in memory, for as long as nobody asks
        elif self._barren > _MOST_BARREN and not self.complete:
            self._fail(ValueError(f"{_MOST_BARREN} bytes of its answer have nothing to say"))
            self.abort()

    def on_message_begin(self) -> None:
        """Called by the parser."""
        if self.complete:
            self._is_spoiled = True  # nobody asked for this

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        if not self._is_spoiled:
            self._barren = 0
            self._take_in(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        if self._is_spoiled or self.status:
            return  # of another answer, or what follows this one's chunks
        self._told.append((name, value))
        known = name.lower()
        if known in {b"content-length", b"transfer-encoding"}:
            self._has_length = True
        elif known == b"content-type":
            self.media = self.media or value
        elif known == b"content-encoding":
            self._encoding = value

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        if self._is_spoiled:
            return
        status = self._parser.get_status_code()
        if status in _INFORMATION and status != _SWITCHES:
            self._begin_head()
            return
        if status == _SWITCHES:
            self._fail(ValueError("it changes to another protocol, unasked"))
        elif self._encoding.strip().lower() not in {b"", b"identity"}:
            self._fail(ValueError("it compresses its answer, unasked"))
        else:
            self._begin(status)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        # what comes before the status is information, and the answer follows
        if self.status and not self._is_spoiled:
            self._is_kept = self._parser.should_keep_alive()
            self._end()

    def _not_http(self, error: Exception) -> Exception:
        return ValueError(f"not HTTP: {error}")
