"""Several answers to one chat, one after another in one response."""

from __future__ import annotations

from collections.abc import Sequence

from arbiter.errors import ArbiterError
from arbiter.gateway.chat_answer import ChatFrames, choice_of, response_of
from arbiter.gateway.several import Begun, Ended, Placed, apart, by
from arbiter.inference import Chunk, Decided, Finish


class ManyChatFrames:
    """The chunks of one stream. All have the id of the first answer, as clients expect."""

    __slots__ = ("_by", "_created", "_first", "_model", "_now", "_with_usage", "opening")

    def __init__(self, decided: Decided, *, model: str, created: int, with_usage: bool) -> None:
        self._first = decided
        self._model = model
        self._created = created
        self._with_usage = with_usage
        self._now = self._frames(0, decided)
        """Writes the answer that is under way."""
        self._by = decided
        self.opening = b""

    def piece(self, chunk: Chunk) -> bytes:
        """A chunk of one of the answers, or the end of one."""
        match chunk:
            case Begun():
                self._now, self._by = self._frames(chunk.place, chunk.decided), chunk.decided
            case Placed():
                return self._said(self._now.piece(chunk.piece or chunk))
            case Ended():
                end = self._now.closing(Finish(reason=chunk.reason), by(self._by))
                return self._said(end)
        return b""

    def ending(self, finish: Finish) -> bytes:
        """What all used, when that was asked for, and ``[DONE]``."""
        return self._now.used(finish)

    def failing(self, error: ArbiterError) -> bytes:
        """The last event of a stream that breaks off; no ``[DONE]`` follows."""
        return self._now.failing(error)

    def _frames(self, place: int, decided: Decided) -> ChatFrames:
        return ChatFrames(
            decided,
            first=self._first,
            model=self._model,
            created=self._created,
            with_usage=self._with_usage,
            place=place,
        )

    def _said(self, event: bytes) -> bytes:
        """With what goes out before the first words of an answer, or before its end."""
        if not event:
            return b""
        opening, self._now.opening = self._now.opening, b""
        return opening + event


def whole_chats(
    decided: Decided, chunks: Sequence[Chunk], finish: Finish, *, model: str, created: int
) -> bytes:
    """Several answers in one piece."""
    choices = [
        choice_of(one.decided, one.chunks, Finish(reason=one.reason), place=one.place, more=one.by)
        for one in apart(chunks)
    ]
    return response_of(decided, b",".join(choices), finish, model=model, created=created)
