"""What goes out on one connection, gathered: one system call for what was said at one time.

A server says a response in pieces: its head, its first words, its end. Written one by one, each
costs a system call and wakes whoever reads. So what is written while the loop is busy goes out
together, before the loop waits for anything. Nothing in this module knows HTTP.
"""

from __future__ import annotations

import asyncio

from arbiter.outbox import Outbox

_MOST_HELD = 64 * 1024
"""Bytes at which they go out at once: the transport is to know when a reader falls behind."""


class Outlet(asyncio.Transport):
    """A transport that holds what is written until the loop has done what it has at hand.

    outbox: what gathers it with that of other connections.
    """

    __slots__ = ("_has_ended", "_held", "_outbox", "_pieces", "_transport")

    def __init__(self, transport: asyncio.Transport, outbox: Outbox) -> None:
        super().__init__()
        self._transport = transport
        self._outbox = outbox
        self._pieces: list[bytes] = []
        self._held = 0
        self._has_ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send this soon, in order."""
        if not self._pieces:
            self._outbox.put(self._let_out)
        self._pieces.append(bytes(data))
        self._held += len(data)
        if self._held > _MOST_HELD:
            self._let_out()

    def end(self) -> None:
        """Send what is held and say that nothing follows; what comes in is still taken."""
        self._let_out()
        self._has_ended = True
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def close(self) -> None:
        """Send what is held, then hang up."""
        self._let_out()
        self._transport.close()

    def abort(self) -> None:
        """Hang up at once; what is held is lost."""
        self._pieces.clear()
        self._held = 0
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._has_ended or self._transport.is_closing()

    def _let_out(self) -> None:
        if self._pieces:
            held = b"".join(self._pieces)
            self._pieces.clear()
            self._held = 0
            if not self._transport.is_closing():  # uvloop's raises when the client has gone
                self._transport.write(held)
