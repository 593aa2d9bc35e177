"""Who a conversation was given to, so that it stays there while it lasts.

A pick by chance would hold anyway as long as the probabilities do (`arbiter.selection.chances`).
But they move as answers are judged, and nobody wants another model in the middle of a talk. After
`HELD_S` a conversation is drawn again: what is asked in the same words every day is no talk.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from arbiter.refs import TaskName, VersionId

HELD_S = 3600.0
"""How long a conversation stays with its version, in seconds since it was drawn."""

MOST = 20_000
"""Conversations that are remembered; about 6 MB."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """The version that a conversation was given to, with what probability, and until when.

    draws: how often it was drawn by another word.
    """

    version: VersionId
    probability: float
    until: float
    draws: int = 0


class Conversations:
    """Every conversation that is held. One writer: whoever picks."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, TaskName], Held] = OrderedDict()

    def get(self, conversation: str, task: TaskName, *, now: float) -> Held | None:
        """Where a conversation is held. now: monotonic seconds."""
        held = self._held.get((conversation, task))
        return None if held is None or held.until <= now else held

    def drawn_by(self, conversation: str, task: TaskName, *, now: float) -> str:
        """What the next draw of a conversation goes by: another word once it was silent for long.

        By the same word it would be given to the same version for good: whoever asks the same five
        things every day would never have the others tried. A talk that goes on keeps its word, and
        so its version as long as the probabilities stay.
        """
        draws = self._next(conversation, task, now=now)
        return f"{conversation}\0{draws}" if draws else conversation

    def _next(self, conversation: str, task: TaskName, *, now: float) -> int:
        held = self._held.get((conversation, task))
        if held is None:
            return 0
        # had anything been asked since it ended, it would have been held again
        was_silent = now - held.until >= HELD_S
        return held.draws + 1 if was_silent else held.draws

    def hold(
        self, conversation: str, task: TaskName, version: VersionId, *, probability: float,
        now: float,
    ) -> None:  # fmt: skip
        """Hold it from now on; the oldest is let go when there are too many."""
        key = (conversation, task)
        self._held[key] = Held(
            version=version,
            probability=probability,
            until=now + HELD_S,
            draws=self._next(conversation, task, now=now),
        )
        self._held.move_to_end(key)
        if len(self._held) > MOST:
            self._held.popitem(last=False)
