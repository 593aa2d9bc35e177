"""A model at an OpenAI-compatible server: connections to it, and an eye on whether it is there.

Nothing is loaded or unloaded here: the server does that as it likes. This module knows no kind of
server by its ways: `arbiter.engines.openai_dialects` says what may be sent to one, and
`arbiter.engines.openai_trouble` what its refusals mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Final

from arbiter.clock import Clock
from arbiter.engines.base import Fact, Offer, Place, Site
from arbiter.engines.openai_dialects import dialect_of
from arbiter.engines.openai_facts import ARBITER, Entry
from arbiter.engines.openai_offers import OFFERS_OF
from arbiter.engines.openai_probe import LIST, LIST_S, entries_of
from arbiter.engines.openai_request import EMBEDDINGS, encode_embedding, encode_request, path_of
from arbiter.engines.openai_stream import ServerStream
from arbiter.engines.openai_trouble import failure, refusal, wrong_length
from arbiter.engines.openai_wire import LONGEST_ANSWER, ReportedError, parse_answer, parse_vectors
from arbiter.engines.remote import Ear, Remote, Response, Stream
from arbiter.errors import ArbiterError, EngineError, InstanceLost, ServerCut, StreamCut
from arbiter.inference import Chunk, Embedding, Finish, Generation, Vectors

_MISTAKES: Final = (400, 422)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for a server, in seconds.

    first_s: for the first byte of a stream; the server may load the model for it. next_s: for the
    next byte, and never longer than first_s. whole_s: for an answer in one piece, and for the next
    event of a stream that only keeps itself alive. watch_s: between two looks whether it is still
    there.
    """

    first_s: float = 600.0
    next_s: float = 120.0
    whole_s: float = 1800.0
    watch_s: float = 5.0


class OpenAIServerRunner:
    """A model at a server.

    place: where it is. offer: what the server said of it when it was looked at for this.
    """

    def __init__(
        self,
        *,
        remote: Remote,
        place: Place,
        site: Site,
        offer: Offer,
        clock: Clock,
        patience: Patience,
        has_key: bool,
        cache_prompt: bool | None,
    ) -> None:
        self.place = place
        self._remote = remote
        self._kind = site.kind
        self._dialect = dialect_of(site.kind)
        self._model = offer.model
        # another house may have a candidate under the name, which is another version
        pin = site.kind == ARBITER and offer.digest is not None
        self._asked = f"{offer.model}@{offer.digest}" if pin else offer.model
        self._claims = offer.claims
        self._clock = clock
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._has_key = has_key
        self._cache_prompt = cache_prompt
        self._counts = True
        self._running = 0
        self._nudged = asyncio.Event()
        self._lost: str | None = None
        self._unloaded = False

    @property
    def pid(self) -> None:
        """The process is the server's own affair, and may be on another machine."""

    @property
    def reported(self) -> None:
        """These servers do not tell what memory a model takes."""

    async def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
        """Answer, piece by piece. See `arbiter.engines.base.Runner`."""
        begun = False
        self._come()
        try:
            until = self._loop.time() + self._patience.whole_s
            with await self._posted(request) as stream:
                if _is_streamed(stream, asked=request.stream):
                    answer = ServerStream(odds=request.sampling.odds)
                    ear, data = self._ear(stream), b" "
                    while data and not answer.is_over:
                        data = await ear.receive(news=answer.events, begun=begun)
                        # at the end, the ends of line and event that a server may leave out
                        for piece in answer.pieces(data or b"\n\n"):
                            begun = True
                            yield piece
                    finish = answer.finish()
                else:
                    body = await stream.receive_all(most=LONGEST_ANSWER, until=until)
                    whole, finish = parse_answer(body, odds=request.sampling.odds)
                    for chunk in whole:
                        begun = True
                        yield chunk
            yield finish
        except (OSError, ValueError, ReportedError) as error:
            raise await self._failed(error, begun=begun) from error
        finally:
            self._leave()

    async def embed(self, request: Embedding) -> tuple[Vectors, Finish]:
        """See `arbiter.engines.base.Runner`."""
        body = encode_embedding(request, model=self._asked)
        limit = self._patience.whole_s
        self._come()
        try:
            async with asyncio.timeout(limit):
                response = await self._remote.post(EMBEDDINGS, body, silence_s=limit)
            if response.status != 200:
                raise await self._refusal(response, EMBEDDINGS)
            vectors, finish = parse_vectors(response.body, wanted=len(request.inputs))
        except (OSError, ValueError) as error:
            raise await self._failed(error, begun=False) from error
        finally:
            self._leave()
        unheeded = wrong_length(vectors, wanted=request.dimensions, kind=self._kind)
        if unheeded is not None:
            raise unheeded
        return vectors, finish

    async def is_healthy(self) -> bool:
        """Whether the server answers now."""
        if self._is_over():
            return False
        try:
            return (await self._remote.get(LIST, silence_s=LIST_S)).status == 200
        except (OSError, ValueError):
            return False

    async def wait_lost(self) -> str:
        """Return when the server is gone, or serves something else; never after `unload`."""
        while not self._is_over():
            await self._pause()
            words = None if self._is_over() else await self._trouble()
            if words is not None:
                self._lose(words)
        if self._lost is None:
            await asyncio.Event().wait()
        if not self._running:
            await self._remote.close()
        return self._lost or ""

    async def unload(self) -> None:
        """Close the connections; the server keeps the model or not, as it likes. Idempotent."""
        self._unloaded = True
        await self._remote.close()

    # Two calls around what is asked and no context made of a generator, which costs as much as
    # what is asked.

    def _come(self) -> None:
        """Something is asked; `_leave` when it has ended."""
        if self._is_over():
            raise InstanceLost(f"The connection to {self._kind} was closed.")
        self._running += 1

    def _leave(self) -> None:
        """What was lost is closed by the last to leave."""
        self._running -= 1
        if self._lost is not None and not self._running:
            self._remote.cut()

    async def _posted(self, request: Generation) -> Stream:
        """The answer to a request, as it begins. Raises what it was refused with."""
        path = path_of(request.work)
        limit = self._patience.first_s if request.stream else self._patience.whole_s
        while True:
            counted = self._counts
            body = encode_request(
                request,
                model=self._asked,
                cache_prompt=self._cache_prompt,
                dialect=self._dialect,
                counted=counted,
            )
            stream = await self._remote.ask("POST", path, body, silence_s=limit)
            if stream.status == 200:
                return stream
            with stream:
                async with asyncio.timeout(limit):
                    told = await stream.receive_all(most=LONGEST_ANSWER)
                response = Response(status=stream.status, headers=stream.headers, body=told)
            if not (counted and stream.status in _MISTAKES and b"stream_options" in told):
                raise await self._refusal(response, path)
            self._counts = False  # it does not know how to count a stream: asked without

    def _ear(self, stream: Stream) -> Ear:
        patience = self._patience
        return Ear(
            stream, first_s=patience.first_s, next_s=patience.next_s, whole_s=patience.whole_s
        )

    async def _refusal(self, response: Response, path: str) -> ArbiterError:
        """What an answer that is none means. A model that is not listed any more is lost."""
        if response.status == 404 and (words := await self._trouble()):
            self._lose(words)
            return InstanceLost(words)
        return refusal(response, kind=self._kind, path=path, has_key=self._has_key)

    async def _failed(self, error: Exception, *, begun: bool) -> EngineError:
        found = failure(error, kind=self._kind, begun=begun)
        if isinstance(found, InstanceLost):
            self._lose(found.message)
        elif isinstance(found, StreamCut) and not isinstance(error, ReportedError):
            if not self._is_over() and (words := await self._trouble()):
                self._lose(words)
            if self._lost is not None:
                return ServerCut(f"{found.message} {self._lost}")
            self._nudged.set()
        return found

    def _is_over(self) -> bool:
        return self._unloaded or self._lost is not None

    def _lose(self, words: str) -> None:
        if not self._is_over():
            self._lost = words
            self._nudged.set()

    async def _pause(self) -> None:
        """Until it is time to look again, or somebody has reason to doubt."""
        timer = asyncio.create_task(self._clock.sleep(self._patience.watch_s))
        nudge = asyncio.create_task(self._nudged.wait())
        try:
            await asyncio.wait({timer, nudge}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            nudge.cancel()
            await asyncio.gather(timer, nudge, return_exceptions=True)
        self._nudged.clear()

    async def _trouble(self) -> str | None:
        """Why this model is not to be had here any more; None when it is, or nobody can tell."""
        where = f"{self._kind} at {self._remote.url}"
        try:
            response = await self._remote.get(LIST, silence_s=LIST_S)
            entries = entries_of(response, url=self._remote.url, has_key=self._has_key)
        except TimeoutError:
            return None  # a server that computes may have no time for questions
        except (OSError, ValueError):
            return f"{where} is gone."
        except ArbiterError as error:
            return error.message
        if entries is None:
            return f"{where} was started again and loads its model."
        now = self._listed(entries)
        if now is None or not now.items() <= self._claims.items():
            return f"{where} offers another {self._model!r} now, or none."
        return None

    def _listed(self, entries: tuple[Entry, ...]) -> Mapping[str, Fact] | None:
        """What the list alone says of the model; None when it is not in it."""
        found = OFFERS_OF[self._kind](entries, {}).offers
        return next((offer.claims for offer in found if offer.model == self._model), None)


def _is_streamed(stream: Stream, *, asked: bool) -> bool:
    """Whether events come: some servers answer whole, whatever they were asked, or name no type."""
    kind = stream.media.lower()
    return b"event-stream" in kind or (asked and b"json" not in kind)
