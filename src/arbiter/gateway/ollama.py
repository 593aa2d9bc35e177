"""The addresses at which Ollama's clients have something written: generate, chat, and vectors.

A request with nothing to answer loads the model; with a ``keep_alive`` of 0 it lets it go. A model
that is in use is never let go, and one that nobody let go stays until its memory is needed: any
other ``keep_alive`` is taken and not heeded.
"""

from __future__ import annotations

from functools import partial

from arbiter.errors import ArbiterError
from arbiter.gateway.exchange import NDJSON, Request, Writer, exchange
from arbiter.gateway.extras import header_extras
from arbiter.gateway.hangup import Watch
from arbiter.gateway.ollama_answer import (
    OllamaFrames,
    Told,
    nothing_said,
    one_vector,
    whole_answer,
    whole_vectors,
)
from arbiter.gateway.ollama_asked import (
    EmbedRequest,
    KeepAlive,
    OldEmbedRequest,
    WritingRequest,
    ask_for_vectors,
    ask_to_go_on,
    ask_to_talk,
    is_let_go,
    model_of,
    read_chat,
    read_generate,
)
from arbiter.gateway.ollama_error import ollama_error
from arbiter.gateway.openai import read_request
from arbiter.gateway.rendering import encoded, send_json
from arbiter.gateway.rooms import Rooms
from arbiter.inference import Ask


async def generate(request: Request, rooms: Rooms) -> None:
    """Answer ``/api/generate``."""
    asked = read_generate(request.body)
    if not (asked.prompt or asked.images or asked.suffix):
        await _only_loaded(request, rooms, asked, is_chat=False)
        return
    ask = ask_to_go_on(asked, header_extras(request.head), request.caller)
    await _answered(request, rooms, asked, ask, is_chat=False)


async def chat(request: Request, rooms: Rooms) -> None:
    """Answer ``/api/chat``."""
    asked = read_chat(request.body)
    if not asked.messages:
        await _only_loaded(request, rooms, asked, is_chat=True)
        return
    ask = ask_to_talk(asked, header_extras(request.head), request.caller)
    await _answered(request, rooms, asked, ask, is_chat=True)


async def embed(request: Request, rooms: Rooms) -> None:
    """Answer ``/api/embed``."""
    asked = read_request(request.body, EmbedRequest, {})
    if not asked.input:
        told = encoded({"model": asked.asked, "embeddings": []})
        if await _turned(request, rooms, model_of(asked), asked.keep_alive) is not None:
            await send_json(request.send, told)
        return
    lets_go = is_let_go(asked.keep_alive)
    answer = partial(whole_vectors, told=_told(rooms, asked.asked, is_chat=False))
    writer = Writer(whole=answer, error=ollama_error)
    ask = ask_for_vectors(asked, header_extras(request.head), request.caller)
    await exchange(request, rooms, ask, writer)
    await _after(rooms, model_of(asked), lets_go=lets_go)


async def embeddings(request: Request, rooms: Rooms) -> None:
    """Answer ``/api/embeddings``, the older address for one vector."""
    asked = read_request(request.body, OldEmbedRequest, {})
    if not asked.prompt:
        if await _turned(request, rooms, model_of(asked), asked.keep_alive) is not None:
            await send_json(request.send, encoded({"embedding": []}))
        return
    lets_go = is_let_go(asked.keep_alive)
    ask = ask_for_vectors(asked, header_extras(request.head), request.caller)
    await exchange(request, rooms, ask, Writer(whole=one_vector, error=ollama_error))
    await _after(rooms, model_of(asked), lets_go=lets_go)


async def _answered(
    request: Request, rooms: Rooms, asked: WritingRequest, ask: Ask, *, is_chat: bool
) -> None:
    lets_go = is_let_go(asked.keep_alive)
    told = _told(rooms, asked.asked, is_chat=is_chat)
    writer = Writer(
        whole=partial(whole_answer, told=told),
        streamed=partial(OllamaFrames, told=told),
        error=ollama_error,
        stream=NDJSON,
        broken=None,
    )
    await exchange(request, rooms, ask, writer)
    await _after(rooms, model_of(asked), lets_go=lets_go)


async def _only_loaded(
    request: Request, rooms: Rooms, asked: WritingRequest, *, is_chat: bool
) -> None:
    told = _told(rooms, asked.asked, is_chat=is_chat)
    reason = await _turned(request, rooms, model_of(asked), asked.keep_alive)
    if reason is not None:
        await send_json(request.send, nothing_said(told, reason))


async def _turned(
    request: Request, rooms: Rooms, model: str, keep_alive: KeepAlive | None
) -> str | None:
    """Load a model or let it go; which of the two, or None when the client has left meanwhile.

    Raises any `ArbiterError`.
    """
    if is_let_go(keep_alive):
        await rooms.shelf.unload(model)
        return "unload"
    with Watch(request.receive, request.line) as watch:
        await rooms.shelf.load(model)
    return None if watch.gone else "load"


async def _after(rooms: Rooms, model: str, *, lets_go: bool) -> None:
    """Let a model go that was wanted for one answer only."""
    if not lets_go:
        return
    try:
        await rooms.shelf.unload(model)
    except ArbiterError:
        return  # it is answered already: a name that is gone has nothing to let go


def _told(rooms: Rooms, model: str, *, is_chat: bool) -> Told:
    clock = rooms.clock
    return Told(model=model, is_chat=is_chat, clock=clock, began=clock.monotonic())
