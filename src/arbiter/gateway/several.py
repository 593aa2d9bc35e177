"""One request that wants several answers: each is asked for, decided and put on record by itself.

Prompts of one request may be of different lengths and tasks, and each answer can be judged, so each
is a request of its own to the house and only the response is shared. They are answered one after
another: whoever sends a list has one place in line, and does not push past those who asked for one
answer. What fails, fails the whole response; what was answered before is on record all the same.

Pieces say which answer they belong to; the dialect's writer puts them into its form.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType

from msgspec import structs

from arbiter.errors import StreamCut
from arbiter.gateway.limits import Allowance
from arbiter.gateway.rendering import encoded
from arbiter.inference import (
    Answer,
    Ask,
    Called,
    Chunk,
    Decided,
    Delta,
    Finish,
    FinishReason,
    Piece,
    Reply,
    Sampling,
    Thought,
    Usage,
)

OneAnswer = AbstractAsyncContextManager[Reply]

MOST_ANSWERS = 128
"""Answers that one request may ask for."""

_LAST_SEED = 2**63 - 1


class Begun(Delta, frozen=True, kw_only=True):
    """An answer begins. place: which of them it is, from 0."""

    place: int
    decided: Decided
    text: str = ""


class Placed(Delta, frozen=True, kw_only=True):
    """A piece of one of the answers. piece: a thought or a call; None for text."""

    place: int
    piece: Thought | Called | None = None


class Ended(Delta, frozen=True, kw_only=True):
    """An answer has ended, and why."""

    place: int
    reason: FinishReason
    text: str = ""


class Several:
    """Answers several requests as if they were one (`arbiter.inference.Answer`).

    asks: the requests; what is asked of this is the first of them. allowance: counts each. Raises
    `OverLimit` and `InvalidField` for more than it has now, or ever has.
    """

    def __init__(self, answer: Answer, asks: Sequence[Ask], allowance: Allowance | None) -> None:
        if allowance is not None:
            allowance.fits(len(asks))
        self._answer = answer
        self._asks = asks
        self._allowance = allowance

    def answer(
        self, ask: Ask, *, each: Callable[[OneAnswer], OneAnswer] | None = None
    ) -> OneAnswer:
        """Enter when the first of the answers has begun.

        ask: the first, as the door sends it. each: what is put around each of them, because any may
        have to wait.
        """
        rest = [
            structs.replace(one, trace=ask.trace, sent_as=ask.sent_as) for one in self._asks[1:]
        ]
        return _AllOfThem(self._answer, (ask, *rest), self._allowance, each)


class _AllOfThem:
    """The answers under way, at most one of them open at a time."""

    def __init__(
        self,
        answer: Answer,
        asks: Sequence[Ask],
        allowance: Allowance | None,
        each: Callable[[OneAnswer], OneAnswer] | None,
    ) -> None:
        self._answer = answer
        self._asks = asks
        self._allowance = allowance
        self._each = each
        self._open: OneAnswer | None = None
        self._first: Reply | None = None
        self._uncounted = 0
        """Tokens of the answers that have ended, beyond one for each piece: as many as nobody
        counts when the response breaks off, for then its end does not tell them."""

    async def __aenter__(self) -> _AllOfThem:
        """Begin the first. Raises any `ArbiterError`."""
        self._first = await self._next(self._asks[0])
        return self

    @property
    def decided(self) -> Decided:
        """Who gives the first answer; the others say it where they begin."""
        assert self._first is not None  # noqa: S101  # it was entered
        return self._first.decided

    def tally(self) -> str:
        """Each has a receipt of its own."""
        return ""

    async def chunks(self) -> AsyncIterator[Chunk]:
        """All pieces in the order of the answers, and one end with what they took together."""
        usages = []
        for place, ask in enumerate(self._asks):
            reply = self._first if place == 0 else await self._also(ask)
            assert reply is not None  # noqa: S101  # it was entered
            yield Begun(place=place, decided=reply.decided)
            end: Finish | None = None
            pieces = 1  # its beginning
            async for chunk in reply.chunks():
                pieces += 1
                if isinstance(chunk, Finish):
                    end = chunk
                elif isinstance(chunk, Delta):
                    yield Placed(place=place, text=chunk.text, odds=chunk.odds)
                elif isinstance(chunk, Thought | Called):
                    yield Placed(place=place, text="", piece=chunk)
            await self._leave()
            if end is None:
                raise StreamCut
            usages.append(end.usage)
            self._uncounted += max(0, _tokens(end.usage) - pieces)
            yield Ended(place=place, reason=end.reason)
        self._uncounted = 0
        yield Finish(reason=FinishReason.STOP, usage=summed(usages))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """Leave the one that is open, if one is."""
        if self._allowance is not None:
            self._allowance.spend(self._uncounted)
        last, self._open = self._open, None
        return None if last is None else await last.__aexit__(kind, error, trace)

    async def _also(self, ask: Ask) -> Reply:
        if self._allowance is not None:
            self._allowance.also()
        return await self._next(ask)

    async def _next(self, ask: Ask) -> Reply:
        under_way = self._answer.answer(ask)
        self._open = under_way = under_way if self._each is None else self._each(under_way)
        try:
            return await under_way.__aenter__()
        except BaseException:
            self._open = None  # what was never entered is not left either
            raise

    async def _leave(self) -> None:
        last, self._open = self._open, None
        if last is not None:
            await last.__aexit__(None, None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """One of the answers, put together again. chunks: without its end."""

    place: int
    decided: Decided
    chunks: tuple[Piece, ...]
    reason: FinishReason

    @property
    def by(self) -> bytes:
        """Who gave it, for the end of its choice."""
        return by(self.decided)


def apart(chunks: Iterable[Chunk]) -> list[Whole]:
    """The answers that these pieces belong to, in their order."""
    found: list[Whole] = []
    begun: Begun | None = None
    parts: list[Piece] = []
    for chunk in chunks:
        if isinstance(chunk, Begun):
            begun, parts = chunk, []
        elif isinstance(chunk, Placed):
            parts.append(chunk.piece or chunk)
        elif isinstance(chunk, Ended) and begun is not None:
            one = Whole(
                place=chunk.place, decided=begun.decided, chunks=tuple(parts), reason=chunk.reason
            )
            found.append(one)
    return found


def by(decided: Decided) -> bytes:
    """Who gave an answer, as further fields of its choice: the headers name only the first."""
    told = {"decision": decided.decision, "version": decided.version}
    return b',"arbiter":%s' % encoded(told)


def again(sampling: Sampling, time: int) -> Sampling:
    """The same for another answer to the same prompt: with one seed all of them would be one.

    >>> again(Sampling(seed=7), 2).seed, again(Sampling(), 2).seed
    (9, None)
    """
    if not time or sampling.seed is None:
        return sampling
    far = sampling.seed + time
    return structs.replace(sampling, seed=far if far <= _LAST_SEED else sampling.seed - time)


def summed(usages: Iterable[Usage]) -> Usage:
    """What all took together; unknown where one is not known.

    >>> summed([Usage(prompt_tokens=3, completion_tokens=1), Usage(prompt_tokens=4)])
    Usage(prompt_tokens=7, completion_tokens=None, cached_tokens=None)
    """
    all_ = list(usages)
    return Usage(
        prompt_tokens=_sum([one.prompt_tokens for one in all_]),
        completion_tokens=_sum([one.completion_tokens for one in all_]),
        cached_tokens=_sum([one.cached_tokens for one in all_]),
    )


def _tokens(usage: Usage) -> int:
    return (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
