"""A model that an Ollama serves: what is asked of it, and what goes wrong on the way.

Ollama knows a model by a name whose content may change at any time. So after the first bytes of
every answer it is asked which content the name stands for now; an answer of another content is
never given for the one that was registered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from arbiter.cost import Footprint
from arbiter.engines.base import Place
from arbiter.engines.ollama_listing import parse_tags, parse_version, tagged
from arbiter.engines.ollama_request import (
    EMBED,
    Pinned,
    encode_embedding,
    encode_generation,
    encode_unload,
)
from arbiter.engines.ollama_wire import Answer, parse_answer, parse_refusal, parse_vectors
from arbiter.engines.openai_wire import LONGEST_ANSWER, ReportedError
from arbiter.engines.remote import Ear, Remote, Stream, pause_of
from arbiter.errors import (
    ArbiterError,
    EngineError,
    EngineRefused,
    EngineTimeout,
    InstanceLost,
    ServerCut,
    StreamCut,
)
from arbiter.inference import Chat, Chunk, Embedding, Finish, Generation, Vectors

_SHOWN_DIGITS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for an Ollama, in seconds.

    step_s: for one answer of a look or a check. look_s: for a whole look. load_s: until a model is
    loaded. first_s: for the first byte of an answer; Ollama may have to load the model again for
    it. next_s: for the next byte, and never longer than first_s; it says nothing while a model
    writes a tool call. whole_s: for an answer in one piece, and for the next line of one that only
    keeps itself alive. pull_s: between two lines of a pull, which is silent while it checks a
    download. change_s: until a name is given or taken away.
    """

    step_s: float = 2.0
    look_s: float = 2.25
    load_s: float = 600.0
    first_s: float = 600.0
    next_s: float = 600.0
    whole_s: float = 1800.0
    pull_s: float = 600.0
    change_s: float = 30.0


class OllamaRunner:
    """A model at one Ollama.

    place: where it is. is_ours: whether this house had it loaded; only then is it unloaded again.
    thinks: False for a model that is known not to think before it answers.
    """

    pid: None = None
    """Ollama's processes are not the house's to measure."""

    def __init__(
        self,
        *,
        remote: Remote,
        place: Place,
        digest: str | None,
        pinned: Pinned,
        patience: Patience,
        reported: Footprint | None,
        is_ours: bool,
        thinks: bool = True,
    ) -> None:
        self.place = place
        self.reported = reported
        self._remote = remote
        self._digest = digest
        self._pinned = pinned
        self._patience = patience
        self._is_ours = is_ours
        self._thinks = thinks
        self._lost = asyncio.Event()
        self._last_words = ""
        self._unloading: asyncio.Task[None] | None = None

    async def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
        """Answer, piece by piece. See `arbiter.engines.base.Runner`."""
        path, body = encode_generation(self.place.model, request, self._pinned, thinks=self._thinks)
        begun = False
        try:
            chunks = self._streamed if request.stream else self._whole
            async with aclosing(chunks(path, body, _most_calls(request))) as found:
                async for piece in found:
                    if not begun:
                        await self._check_content()
                        begun = True
                    yield piece
        except (OSError, ValueError, ReportedError) as error:
            raise await self._translate(error, begun=begun) from error

    async def _streamed(
        self, path: str, body: bytes, most_calls: int | None
    ) -> AsyncGenerator[Chunk, None]:
        answer = Answer(most_calls=most_calls)
        begun, data, patience = False, b" ", self._patience
        async with self._asked(path, body, silence_s=patience.first_s) as stream:
            ear = Ear(
                stream, first_s=patience.first_s, next_s=patience.next_s, whole_s=patience.whole_s
            )
            while data and not answer.is_over:
                data = await ear.receive(news=answer.lines, begun=begun)
                for piece in answer.feed(data) if data else answer.end():
                    begun = True
                    yield piece
            yield answer.finish()

    async def _whole(
        self, path: str, body: bytes, most_calls: int | None
    ) -> AsyncGenerator[Chunk, None]:
        limit = self._patience.whole_s
        async with (
            asyncio.timeout(limit),
            self._asked(path, body, silence_s=limit) as stream,
        ):
            told = await stream.receive_all(most=LONGEST_ANSWER)
        pieces, finish = parse_answer(told, most_calls=most_calls)
        for piece in pieces:
            yield piece
        yield finish

    async def embed(self, request: Embedding) -> tuple[Vectors, Finish]:
        """A vector for each input. See `arbiter.engines.base.Runner`."""
        body = encode_embedding(self.place.model, request, self._pinned)
        try:
            async with (
                asyncio.timeout(self._patience.whole_s),
                self._asked(EMBED, body, silence_s=self._patience.whole_s) as stream,
            ):
                told = await stream.receive_all()
            vectors, finish = parse_vectors(told, wanted=len(request.inputs))
            await self._check_content()
        except (OSError, ValueError) as error:
            raise await self._translate(error, begun=False) from error
        except EngineRefused as error:
            error.param = "input"
            raise
        _check_length(vectors, request.dimensions)
        return vectors, finish

    async def is_healthy(self) -> bool:
        """Whether the server answers now, as an Ollama."""
        if self._unloading is not None or self._lost.is_set():
            return False
        return await self._answers()

    async def wait_lost(self) -> str:
        """Return when the model is found gone; never after `unload`."""
        await self._lost.wait()
        if self._unloading is not None:
            await asyncio.Event().wait()
        return self._last_words

    async def unload(self) -> None:
        """Leave the server as it was found. Idempotent. Streams that still run are cut."""
        if self._unloading is None:
            self._unloading = asyncio.create_task(self._leave())
        await asyncio.shield(self._unloading)

    async def _leave(self) -> None:
        try:
            if self._is_ours and not self._lost.is_set():
                path, body = encode_unload(self.place.model)
                # a server that is gone holds nothing any more
                with suppress(OSError, ValueError):
                    await self._remote.post(path, body, silence_s=self._patience.step_s)
        finally:
            await self._remote.close()

    @asynccontextmanager
    async def _asked(self, path: str, body: bytes, *, silence_s: float) -> AsyncIterator[Stream]:
        """The answer to a request, if it is one. Raises what a refusal means."""
        if self._unloading is not None:
            raise InstanceLost("This model was unloaded.")
        if self._lost.is_set():
            raise InstanceLost(self._last_words)
        with await self._remote.ask("POST", path, body, silence_s=silence_s) as stream:
            if stream.status != 200:
                async with asyncio.timeout(silence_s):
                    told = await stream.receive_all(most=LONGEST_ANSWER)
                raise self._refused(stream, told)
            yield stream

    def _refused(self, stream: Stream, body: bytes) -> ArbiterError:
        place = self.place
        error = parse_refusal(
            stream.status,
            body,
            model=place.model,
            url=place.url,
            retry_after_s=pause_of(stream.headers),
        )
        if isinstance(error, InstanceLost):
            self._lose(error.message)
        return error

    async def _check_content(self) -> None:
        """Raise `InstanceLost` when the name stands for another content than was registered.

        Asked once the answer has begun: what the name stands for then, it stood for when Ollama
        took the request. The list of what is loaded does not do: it goes on telling the content
        with which a model was loaded first. Where Ollama does not say, nothing speaks against it.
        """
        if self._digest is None:
            return
        try:
            response = await self._remote.get("/api/tags", silence_s=self._patience.step_s)
            tags = parse_tags(response.body)
        except (OSError, ValueError):
            return
        found = next((tagged(t.digest) for t in tags if t.title == self.place.model), None)
        if found is not None and found != self._digest:
            words = changed(self.place, found, self._digest)
            self._lose(words)
            raise InstanceLost(words, hint="Run: arbiter models discover")

    async def _answers(self) -> bool:
        try:
            response = await self._remote.get("/api/version", silence_s=self._patience.step_s)
            parse_version(response.body)
        except (OSError, ValueError):
            return False
        return response.status == 200

    async def _translate(self, error: Exception, *, begun: bool) -> ArbiterError:
        """What went wrong, in the house's words."""
        url = self.place.url
        if self._unloading is not None:
            return self._cut() if begun else InstanceLost("This model was unloaded.")
        if isinstance(error, TimeoutError):
            if begun:
                return StreamCut("The engine fell silent in the middle of its answer.")
            return EngineTimeout()
        if isinstance(error, ReportedError):
            words = f"The Ollama at {url} broke off: {error}."
            return StreamCut(words) if begun else EngineError(words)
        # a stream may also just end when its server does
        if (begun or isinstance(error, OSError)) and not await self._answers():
            self._lose(f"The Ollama at {url} does not answer any more.")
        if begun:
            return self._cut()
        if isinstance(error, OSError):
            return InstanceLost(f"The Ollama at {url} broke off before its answer began.")
        return EngineError(f"The answer of the Ollama at {url} cannot be understood.")

    def _cut(self) -> StreamCut:
        return ServerCut(self._last_words) if self._lost.is_set() else StreamCut()

    def _lose(self, words: str) -> None:
        if not self._lost.is_set():
            self._last_words = words
            self._lost.set()


def changed(place: Place, found: str | None, wanted: str) -> str:
    """That a name stands for another content than was registered."""
    return (
        f"{place.model} at {place.url} is now {_short(found)}, not {_short(wanted)} as registered."
    )


def _short(digest: str | None) -> str:
    return "something unknown" if digest is None else digest[: len("sha256:") + _SHOWN_DIGITS]


def _most_calls(request: Generation) -> int | None:
    work = request.work
    if isinstance(work, Chat) and work.tools is not None and work.tools.parallel is False:
        return 1
    return None


def _check_length(vectors: Vectors, wanted: int | None) -> None:
    """Raise `EngineRefused` for vectors of another length than was asked for.

    Ollama cuts vectors to a shorter length, old ones not even that, and none makes them longer;
    none of them says so.
    """
    found = len(vectors.vectors[0]) if vectors.vectors else wanted
    if wanted is not None and wanted != found:
        raise EngineRefused(
            f"This model's vectors have {found} numbers, and cannot be made to have {wanted}.",
            hint="Leave dimensions out.",
            param="dimensions",
        )
