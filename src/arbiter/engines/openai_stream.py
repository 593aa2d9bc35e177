"""Streams in the OpenAI dialect, from servers that frame their events as they please.

llama.cpp's own worker is read by `arbiter.engines.openai_wire.StreamedAnswer`, which is quicker
because it knows exactly how its events look. Nothing here knows a kind of server.
"""

from __future__ import annotations

import msgspec

from arbiter.engines.openai_refusal import words_of
from arbiter.engines.openai_wire import (
    LONGEST_ANSWER,
    LONGEST_EVENT,
    MOST_BYTES,
    MalformedAnswer,
    ReportedError,
    StreamedAnswer,
)
from arbiter.inference import Called, Finish


class ServerStream(StreamedAnswer):
    """Server-sent events as any server may frame them.

    Lines end as the standard allows, the space after ``data:`` may be missing, events may have
    names, and an error may come as an event like any other. ``[DONE]`` is the end, whatever the
    server does with the connection then.
    """

    __slots__ = (
        "_bytes",
        "_data",
        "_has_spoken",
        "_is_named_error",
        "_length",
        "_size",
        "events",
        "is_done",
    )

    def __init__(self, *, odds: int | None = None) -> None:
        super().__init__(odds=odds)
        self._data: list[bytes] = []
        self._size = 0
        self._length = 0
        self._bytes = 0
        self._has_spoken = False
        self._is_named_error = False
        self.is_done = False
        self.events = 0
        """How many events have come; comments are none."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to come: it has said so, or reported an error."""
        return self.is_done or self._error is not None

    def feed(self, data: bytes) -> str:
        """Take some bytes and give the text in them. Raises `MalformedAnswer`."""
        self._bytes += len(data)
        if self._bytes > MOST_BYTES:
            raise MalformedAnswer("an answer without an end")
        if self._is_one_event(data):
            before = len(self._thought)
            text = self._event(data[6:-2], is_error=False)
            self._count(len(text) + len(self._thought) - before)
            return text
        data = self._rest + data if self._rest else data
        # a carriage return at the very end may be half of a line's end
        held = data.endswith(b"\r")
        data = data[:-1] if held else data
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = data.split(b"\n")
        self._rest = rest + b"\r" if held else rest
        if len(self._rest) > LONGEST_EVENT:
            raise MalformedAnswer("an event without an end")
        before = len(self._thought)
        text = "".join([self._line(line) for line in lines])
        self._count(len(text) + len(self._thought) - before)
        return text

    def calls(self) -> list[Called]:
        """The pieces of tool calls that have come since this was last asked.

        Raises `MalformedAnswer`.
        """
        found = super().calls()
        self._count(sum(len(call.arguments) for call in found))
        self._has_spoken = self._has_spoken or bool(found)
        return found

    def finish(self) -> Finish:
        """The end of the answer. Raises `MalformedAnswer` when it never came, `ReportedError`."""
        if self._reason is None and self.is_done and self._has_spoken:
            # it said that it was done, and only not why
            self._reason = "stop"
        return super().finish()

    def _count(self, letters: int) -> None:
        self._length += letters
        if self._length > LONGEST_ANSWER:
            raise MalformedAnswer("an answer without an end")

    def _is_one_event(self, data: bytes) -> bool:
        """Whether this is what most servers send at a time: one line of data, and nothing waits."""
        return (
            data.startswith(b"data: ")
            and data.endswith(b"\n\n")
            and data.find(b"\n") == len(data) - 2
            and b"\r" not in data
            and not (self._rest or self._data or self._is_named_error)
        )

    def _line(self, line: bytes) -> str:
        if not line:
            return self._dispatch()
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            self._size += len(line)
            if self._size > LONGEST_EVENT:
                raise MalformedAnswer("an event without an end")
        elif line.startswith(b"event:"):
            self._is_named_error = line[6:].strip() == b"error"
        # anything else is a comment that keeps the connection alive, or a field nobody needs
        return ""

    def _dispatch(self) -> str:
        data = b"\n".join(self._data)
        is_error, self._is_named_error = self._is_named_error, False
        self._data.clear()
        self._size = 0
        return self._event(data, is_error=is_error)

    def _event(self, data: bytes, *, is_error: bool) -> str:
        if not data or self.is_done or self.is_broken:
            return ""
        self.events += 1
        if data.strip() == b"[DONE]":
            self.is_done = True
            return ""
        if is_error or (b'"error"' in data and _is_error(data)):
            self._error = ReportedError(words_of(data) or "it did not say what")
            return ""
        text = self._take(data)
        self._has_spoken = self._has_spoken or bool(text)
        return text


def _is_error(data: bytes) -> bool:
    """Whether an event is an error: it has one, or says that it is one."""
    try:
        told = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(told, dict) and bool(told.get("error") or told.get("object") == "error")
