"""Lines of the log: for people, or one JSON object a line.

The standard library's logging, so that the lines of uvicorn, aiohttp and asyncio are written in the
same way. A record brings named values along with `told`. An exception is written as its class and
the places it passed, without its words: those may quote what somebody asked.

Lines are written by a thread of their own. Whoever reads them slowly, or not at all, as a terminal
that was stopped does, loses lines and holds up no request.
"""

from __future__ import annotations

import json
import logging
import queue
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, Literal

MOST_LINES = 10_000
"""Lines that wait to be written; what comes beyond them is lost, and counted."""

CLOSE_S = 2.0
"""How long the lines that wait may take when the program ends."""

_OTHERS = logging.WARNING
_OWN = ("arbiter", "uvicorn")
_VALUES = "arbiter_values"

Value = str | int | float | bool | None


def told(values: Mapping[str, Value]) -> dict[str, object]:
    """Named values for a record: ``LOG.info("moved", extra=told({"alias": "fast"}))``."""
    return {_VALUES: values}


def _values(record: logging.LogRecord) -> dict[str, Value]:
    found: Mapping[str, Value] = getattr(record, _VALUES, {})
    return {name: value for name, value in found.items() if value is not None}


def _at(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def passage(error: BaseException) -> str:
    """Where an exception came through and of what class it is, in a line; its causes before it.

    >>> try:
    ...     raise ValueError("what somebody asked")
    ... except ValueError as error:
    ...     passage(error)
    '<doctest arbiter.logs.passage[0]>:2 in <module>: ValueError'
    """
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = "" if cause is None else f"{passage(cause)}; then "
    frames = traceback.extract_tb(error.__traceback__)
    places = " > ".join(f"{one.filename}:{one.lineno} in {one.name}" for one in frames)
    return f"{before}{places}: {type(error).__name__}"


class TextLines(logging.Formatter):
    """A line for people: time, level, who says it, what, and the values."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; line ends within it are written as JSON writes them."""
        words = f"{_at(record)} {record.levelname.lower():7} {record.name}: {record.getMessage()}"
        for name, value in _values(record).items():
            words += f" {name}={_plain(value)}"
        if record.exc_info is not None and record.exc_info[1] is not None:
            words += f" ({passage(record.exc_info[1])})"
        return words.replace("\r", "\\r").replace("\n", "\\n")


def _plain(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if text.isprintable() and text and " " not in text else json.dumps(text)


class JsonLines(logging.Formatter):
    """A JSON object: ``time``, ``level``, ``logger``, ``message``, and the values."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, object] = {
            "time": _at(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_values(record),
        }
        if record.exc_info is not None and record.exc_info[1] is not None:
            line["exception"] = passage(record.exc_info[1])
        return json.dumps(line)


class Writer(logging.Handler):
    """Puts lines into a bounded queue, from which a thread writes them."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__()
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(MOST_LINES)
        self._lost = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record, or lose it when too many wait."""
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._lost += 1
        except Exception:  # noqa: BLE001  # a line that cannot be made must not end a request
            self.handleError(record)

    def close(self) -> None:
        """Write what waits, unless nobody reads it."""
        try:
            self._lines.put(None, timeout=CLOSE_S)
        except queue.Full:
            return
        self._thread.join(CLOSE_S)
        super().close()

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            lost, self._lost = self._lost, 0
            try:
                self._stream.write(f"{line}\n")
                if lost:
                    self._stream.write(f"{self._missing(lost)}\n")
                self._stream.flush()
            except (OSError, ValueError):
                return  # nobody is there to read any more

    def _missing(self, lost: int) -> str:
        words = "%d lines were lost, because nobody read them in time"
        return self.format(
            logging.LogRecord("arbiter.logs", logging.WARNING, "", 0, words, (lost,), None)
        )


@contextmanager
def written(
    *,
    form: Literal["text", "json"],
    level: Literal["debug", "info", "warning", "error"],
    stream: IO[str] | None = None,
) -> Iterator[None]:
    """Write the log of this program for as long as the context is open.

    Only a program that is all Arbiter's own does this; a library leaves it to whoever imports it.
    Other packages are heard from `warning` on, and at every level when ``level`` is ``debug``.
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    writer = Writer(stream or sys.stderr)
    writer.setFormatter(JsonLines() if form == "json" else TextLines())
    root, own = logging.getLogger(), [logging.getLogger(name) for name in _OWN]
    before = [(one, one.level) for one in (root, *own)]
    root.setLevel(least if least == logging.DEBUG else max(least, _OTHERS))
    for one in own:
        one.setLevel(least)
    root.addHandler(writer)
    try:
        yield
    finally:
        root.removeHandler(writer)
        writer.close()
        for one, was in before:
            one.setLevel(was)
