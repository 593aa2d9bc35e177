"""Reading a binary header within bounds: whatever its counts claim, no more is read or kept."""

from __future__ import annotations

import struct
from typing import BinaryIO, Final

from arbiter.errors import ModelFileError

U64: Final = struct.Struct("<Q")
_STRINGS = 1 << 22
"""Most strings in all arrays together; a vocabulary with its merges has about a million."""
_KEPT_BYTES = 8 * 1024 * 1024
"""Most bytes of names and texts that are kept in memory."""
_CHUNK = 256 * 1024


class Cursor:
    """Where the reading has got to, and the bounds that it may not cross."""

    def __init__(self, stream: BinaryIO, *, file_size: int, limit_bytes: int) -> None:
        self._stream = stream
        self._end = min(file_size, limit_bytes)
        self._limited = limit_bytes < file_size
        self._buffer = b""
        self._start = 0
        self._at = 0
        self._strings = _STRINGS
        self._kept = _KEPT_BYTES

    @property
    def offset(self) -> int:
        """The byte of the file that is read next."""
        return self._start + self._at

    def fault(self, fault: str, *, hint: str | None = None) -> ModelFileError:
        """The error for a fault that was found here."""
        return ModelFileError(f"At byte {self.offset}: {fault}.", hint=hint)

    def number(self, form: struct.Struct, what: str) -> float:
        """The next number: whole, unless the form is that of a float."""
        self._need(form.size, what)
        value: float = form.unpack_from(self._buffer, self._at)[0]
        self._at += form.size
        return value

    def whole(self, form: struct.Struct, what: str) -> int:
        """The next number of a form that holds whole numbers."""
        return int(self.number(form, what))

    def count(self, form: struct.Struct, *, most: int, what: str) -> int:
        """The next number, which may not be more than `most`."""
        value = self.whole(form, f"the number of {what}")
        if value > most:
            raise self.fault(f"it claims {value} {what}, and {most} is the most that is believed")
        return value

    def take(self, size: int, what: str) -> bytes:
        """The next bytes, to be kept."""
        self._check(size, what)
        if size > self._kept:
            raise self.fault(f"with {what} it has more than {_KEPT_BYTES} bytes of names and texts")
        self._kept -= size
        self._need(size, what)
        found = self._buffer[self._at : self._at + size]
        self._at += size
        return found

    def name(self, what: str, *, most: int) -> str:
        """The next string, as a name: UTF-8 without exception, so that names can be compared."""
        size = self.count(U64, most=most, what=f"bytes of {what}")
        found = self.take(size, what)
        try:
            return found.decode()
        except UnicodeDecodeError as error:
            raise self.fault(f"{what} is not UTF-8") from error

    def text(self, what: str) -> str:
        """The next string, as a text: what is not UTF-8 in it is replaced, for it is only shown."""
        return self.take(self.whole(U64, what), what).decode(errors="replace")

    def skip(self, size: int, what: str) -> None:
        """Go past bytes without keeping them."""
        self._check(size, what)
        ahead = len(self._buffer) - self._at
        if size <= ahead:
            self._at += size
            return
        self._start += len(self._buffer)
        self._buffer, self._at, left = b"", 0, size - ahead
        while left:
            left -= self._read(min(_CHUNK, left), what)
            self._start += len(self._buffer)
            self._buffer = b""

    def skip_strings(self, count: int, what: str) -> None:
        """Go past so many strings without keeping them.

        The loop stays inside the buffer, because a vocabulary has a few hundred thousand.
        """
        if count > self._strings:
            raise self.fault(f"with {what} it has more than {_STRINGS} strings in arrays")
        self._strings -= count
        unpack, buffer, at = U64.unpack_from, self._buffer, self._at
        for _ in range(count):
            if at + 8 > len(buffer):
                self._at = at
                self._need(8, what)
                buffer, at = self._buffer, self._at
            size: int = unpack(buffer, at)[0]
            at += 8 + size
            if at > len(buffer):
                self._at = at - size
                self.skip(size, what)
                buffer, at = self._buffer, self._at
        self._at = at

    def _check(self, size: int, what: str) -> None:
        if size > self._end - self.offset:
            if self._limited:
                raise self.fault(f"{what} reaches past the limit of {self._end} bytes for a header")
            raise self.fault(
                f"{what} needs {size} bytes and the file has {self._end - self.offset} left"
            )

    def _need(self, size: int, what: str) -> None:
        if len(self._buffer) - self._at >= size:
            return
        self._check(size, what)
        self._buffer = self._buffer[self._at :]
        self._start, self._at = self._start + self._at, 0
        while len(self._buffer) < size:
            ahead = self._start + len(self._buffer)
            self._read(min(max(_CHUNK, size - len(self._buffer)), self._end - ahead), what)

    def _read(self, size: int, what: str) -> int:
        try:
            found = self._stream.read(size)
        except OSError as error:
            raise ModelFileError(
                f"At byte {self.offset}: reading failed: {error.strerror or error}."
            ) from error
        if not found:
            raise self.fault(f"the file ended in the middle of {what}, before its stated size")
        self._buffer += found
        return len(found)
