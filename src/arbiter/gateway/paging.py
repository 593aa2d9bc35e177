"""Lists in parts: in a stable order, bounded, and gone through with a cursor.

A cursor is the key of the last item that was told, so a list that changes meanwhile neither
repeats nor skips what stays in it. Nothing here knows what is listed.
"""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Final, TypeVar

from fastapi import Depends, Query

from arbiter.errors import InvalidField

Item = TypeVar("Item")

MOST: Final = 1000
USUAL: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Which part of a list is wanted. after: the last key of the part before; empty: the first."""

    limit: int = USUAL
    after: str = ""

    def of(
        self, items: Iterable[Item], key: Callable[[Item], str]
    ) -> tuple[list[Item], str | None]:
        """This part of a list, and the cursor of the next one; None when there is none.

        >>> Page(limit=2, after="b").of("dacbe", key=str)
        (['c', 'd'], 'ZA')
        >>> Page(limit=2, after=read_cursor("ZA")).of("dacbe", key=str)
        (['e'], None)
        """
        left = sorted((one for one in items if not self.after or key(one) > self.after), key=key)
        return self.cut(left, key)

    def cut(self, items: list[Item], key: Callable[[Item], str]) -> tuple[list[Item], str | None]:
        """The first of what was read in its order already, and the cursor of what follows."""
        told = items[: self.limit]
        return told, cursor(key(told[-1])) if len(items) > self.limit else None

    def number(self) -> int | None:
        """The cursor of a list whose keys are whole numbers. Raises `InvalidField`."""
        if not self.after:
            return None
        if not (self.after.isascii() and self.after.isdigit() and len(self.after) <= 18):
            raise _no_cursor()
        return int(self.after)


def numbered(position: int) -> str:
    """A position as a key that sorts as the number does.

    >>> numbered(7) < numbered(12)
    True
    """
    return f"{position:012d}"


def cursor(key: str) -> str:
    """A key as it is handed out: it needs no quoting in an address, whatever is in it."""
    return urlsafe_b64encode(key.encode()).decode().rstrip("=")


def read_cursor(text: str) -> str:
    """The key of a cursor. Raises `InvalidField` for what is none.

    >>> read_cursor(cursor("org/owl:1b")), read_cursor("")
    ('org/owl:1b', '')
    """
    try:
        return b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True).decode()
    except ValueError:
        raise _no_cursor() from None


def _no_cursor() -> InvalidField:
    return InvalidField(
        "This is no cursor of this list.",
        hint="Take `next` of the answer before, as it is.",
        param="after",
    )


def _page(
    limit: Annotated[int, Query(ge=1, le=MOST, description="How many at most.")] = USUAL,
    after: Annotated[
        str, Query(max_length=400, description="`next` of the answer before, as it is.")
    ] = "",
) -> Page:
    return Page(limit=limit, after=read_cursor(after))


Wanted = Annotated[Page, Depends(_page)]
"""The part that a request asks for."""
