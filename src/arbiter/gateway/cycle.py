"""One request and its response on a connection, as uvicorn's, for less work a response.

uvicorn searches each name and value of a response's headers for what may not be in them, and hands
a request's body out through an event. Here the whole head is looked at in one go, and a body that
is in already is taken as it is. Nothing in this module knows what the application does.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Message
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_TEXT = bytes(byte for byte in range(256) if byte == 0x09 or (byte >= 0x20 and byte != 0x7F))
"""What may be in a line of a head (RFC 9110, 5.5): no control character but a tab."""

_LINE_END = b"\r\n"


class Cycle(RequestResponseCycle):
    """uvicorn's, with `send` in one step for a head and no copies for a body."""

    _is_endless = False
    """Whether the end of the connection ends the body, because its client knows no chunks."""

    def take_whole(self) -> bytes:
        """The body, all of which is here; `receive` waits for the end of the connection then."""
        body = bytes(self.body)
        self.body.clear()
        self.message_event.clear()
        self.waiting_for_100_continue = False
        self.flow.resume_reading()
        return body

    async def send(self, message: Message) -> None:  # type: ignore[override]  # starlette's type
        """Take the next message of a response. Raises `RuntimeError` for one out of turn."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_complete:
            raise RuntimeError("the response was complete already")
        kind = "http.response.body" if self.response_started else "http.response.start"
        if message["type"] != kind:
            raise RuntimeError(f"{message['type']} was sent where {kind} was due")
        if self.response_started:
            self._write(message.get("body", b""), more=message.get("more_body", False))
            return
        head = self._head(message["status"], message.get("headers", ()))
        self.response_started = True
        self.waiting_for_100_continue = False
        self.transport.write(head)

    def _head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        lines = [b"%b: %b\r\n" % pair for pair in (*self.default_headers, *headers)]
        if b"".join(lines).translate(None, _TEXT) != _LINE_END * len(lines):
            # whoever could put a line into a header could put another response there
            raise RuntimeError("a header of the response has a control character in it")
        says_close = False
        for name, value in headers:
            if name == b"content-length":
                self.expected_content_length = int(value)
                self.chunked_encoding = False
            elif name == b"connection" and value.lower() == b"close":
                self.keep_alive, says_close = False, True
        if not (self.keep_alive or says_close):
            lines.append(b"connection: close\r\n")
        is_bodiless = self.scope["method"] == "HEAD" or status in {204, 304}
        if self.chunked_encoding is None and self.scope["http_version"] == "1.0":
            self._is_endless = not is_bodiless
        elif self.chunked_encoding is None and not is_bodiless:
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        return b"".join([STATUS_LINE[status], *lines, _LINE_END])

    def _write(self, body: bytes, *, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
        elif self._is_endless:
            self.transport.write(body)
        elif self.chunked_encoding:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            self.transport.write(chunk if more else chunk + b"0\r\n\r\n")
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("the body is longer than its Content-Length")
            self.transport.write(body)
        if more:
            return
        if self.expected_content_length:
            raise RuntimeError("the body is shorter than its Content-Length")
        self.response_complete = True
        self.message_event.set()
        if not (self.keep_alive or self.more_body):
            self.transport.close()  # else the connection does, which takes what still comes
        self.on_response()
