"""Whose turn it is: a line in which callers come in turn, and each caller's conversations too.

One that asks a hundred things at once is served once a round, as is one that asks a single thing.
Within a conversation, who came first is first. This module knows no clock and waits for nobody.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Who(NamedTuple):
    """Whom a request is for: the key that it came with, and its conversation."""

    caller: str = "house"
    conversation: str = ""


HOUSE = Who()
"""The house itself."""


class _Caller(Generic[T]):
    """What one caller waits for: its conversations in the order of their turns."""

    __slots__ = ("conversations", "count")

    def __init__(self) -> None:
        self.conversations: OrderedDict[str, deque[T]] = OrderedDict()
        self.count = 0


class Line(Generic[T]):
    """Who waits, and who is next.

    >>> line = Line[str]()
    >>> for caller, item in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1")):
    ...     line.join(Who(caller), item)
    >>> [line.next() for _ in range(5)]
    ['a1', 'b1', 'a2', 'a3', None]
    """

    def __init__(self) -> None:
        self._callers: OrderedDict[str, _Caller[T]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        """How many wait."""
        return self._count

    def join(self, who: Who, item: T) -> None:
        """Take a place behind one's own; a caller who is new has its turn after all others."""
        caller = self._callers.setdefault(who.caller, _Caller())
        caller.conversations.setdefault(who.conversation, deque()).append(item)
        caller.count += 1
        self._count += 1

    def leave(self, who: Who, item: T) -> bool:
        """Give up a place. False: it was not there any more."""
        caller = self._callers.get(who.caller)
        places = None if caller is None else caller.conversations.get(who.conversation)
        if caller is None or places is None or item not in places:
            return False
        places.remove(item)
        self._less(who, caller, places)
        return True

    def next(self) -> T | None:
        """Take out whoever's turn it is; None when nobody waits."""
        if not self._count:
            return None
        name, caller = next(iter(self._callers.items()))
        talk, places = next(iter(caller.conversations.items()))
        item = places.popleft()
        self._callers.move_to_end(name)
        caller.conversations.move_to_end(talk)
        self._less(Who(name, talk), caller, places)
        return item

    def last_of_many(self, who: Who) -> T | None:
        """Take out the latest of the caller who has most places, if that is to this one's good.

        None: this one would have as many or more, so that it is this one who has to go.
        """
        if not self._count:
            return None
        name, caller = max(self._callers.items(), key=lambda one: one[1].count)
        own = self._callers.get(who.caller)
        if name == who.caller or caller.count <= (0 if own is None else own.count) + 1:
            return None
        talk, places = max(caller.conversations.items(), key=lambda one: len(one[1]))
        item = places.pop()
        self._less(Who(name, talk), caller, places)
        return item

    def by_caller(self) -> Mapping[str, int]:
        """How many places each caller has."""
        return {name: caller.count for name, caller in self._callers.items()}

    def _less(self, who: Who, caller: _Caller[T], places: deque[T]) -> None:
        caller.count -= 1
        self._count -= 1
        if not places:
            del caller.conversations[who.conversation]
        if not caller.count:
            del self._callers[who.caller]
