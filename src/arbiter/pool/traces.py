"""Which instance has seen the beginning of a prompt lately, and so may have it in its cache.

A prompt is told by a chain of digests: one for each turn of a chat with everything before it, one
for each piece of a text. Whoever has seen the first turns of a conversation is found by its next
request, and whoever has seen a long system prompt by the next conversation that begins with it.
What an engine really keeps is not known here; what it has not seen, it cannot have kept.

Only digests are held, none outlives the house, and they are bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from arbiter.inference import Chat, Completion, Work

MOST: Final = 8_192
"""Beginnings that are remembered of one version; the ones unused for longest are forgotten."""

LEAST_CHARS: Final = 100
"""A shorter beginning is read again in no time, so it binds nobody."""

PIECE_CHARS: Final = 1_024
"""The beginnings of a text are told apart by so many characters."""

MOST_PIECES: Final = 64
"""Of a longer chain the last turns are kept."""


class Beginning(NamedTuple):
    """The first so many characters of a prompt."""

    key: bytes
    chars: int


def beginnings(work: Work | None) -> tuple[Beginning, ...]:
    """Those of a prompt, the longest first; none of what has no cache, as vectors have none.

    >>> from arbiter.inference import Message
    >>> first = Message(role="system", content="Be brief. " * 30)
    >>> one = Chat(messages=(first, Message(role="user", content="Hi.")))
    >>> other = Chat(messages=(first, Message(role="user", content="Bye.")))
    >>> [found.chars for found in beginnings(one)]
    [303, 300]
    >>> beginnings(one)[-1] == beginnings(other)[-1], beginnings(one)[0] == beginnings(other)[0]
    (True, False)
    """
    match work:
        case Chat(messages=messages, tools=tools):
            # a template writes the tools before everything else
            head = "" if tools is None else repr(tools.offered)
            return _chain(head, [(repr(one), len(one.content)) for one in messages])
        case Completion(prompt=text):
            starts = range(0, len(text) - PIECE_CHARS + 1, PIECE_CHARS)
            return _chain("", [(repr(text[at : at + PIECE_CHARS]), PIECE_CHARS) for at in starts])
        case _:
            return ()


def _chain(head: str, pieces: Sequence[tuple[str, int]]) -> tuple[Beginning, ...]:
    """Of texts as `repr` writes them: it has quotes around them, and escapes what is no text."""
    digest, chars = blake2b(head.encode(), digest_size=16), 0
    found = []
    for written, length in pieces:
        digest.update(written.encode())
        chars += length
        if chars >= LEAST_CHARS:
            found.append(Beginning(digest.copy().digest(), chars))
    return tuple(reversed(found[-MOST_PIECES:]))


class Traces:
    """Who has seen which beginnings, of the instances of one version.

    >>> work = Completion(prompt="x" * 3_000)
    >>> traces = Traces()
    >>> traces.note(beginnings(work), "a")
    >>> traces.known(beginnings(Completion(prompt="x" * 2_500)))
    {'a': 2048}
    """

    def __init__(self, *, most: int = MOST) -> None:
        self._most = most
        self._seen: OrderedDict[bytes, set[str]] = OrderedDict()

    def __len__(self) -> int:
        """How many beginnings are remembered."""
        return len(self._seen)

    def note(self, found: Sequence[Beginning], instance: str) -> None:
        """An instance is sent a prompt."""
        for one in found:
            self._seen.setdefault(one.key, set()).add(instance)
            self._seen.move_to_end(one.key)
        while len(self._seen) > self._most:
            self._seen.popitem(last=False)

    def known(self, found: Sequence[Beginning]) -> Mapping[str, int]:
        """How many characters of a prompt's beginning each instance has seen; the longest first."""
        known: dict[str, int] = {}
        for one in found:
            for instance in self._seen.get(one.key, ()):
                known.setdefault(instance, one.chars)
        return known

    def forget(self, instance: str) -> None:
        """An instance is loaded anew: its cache is empty."""
        for key in [key for key, who in self._seen.items() if instance in who]:
            who = self._seen[key]
            who.discard(instance)
            if not who:
                del self._seen[key]
