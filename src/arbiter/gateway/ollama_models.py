"""The addresses at which Ollama's clients look after models: what there is, pull, delete.

What nobody knows of a model is left out. What would make, copy or publish a model is answered
with 501: versions come into the house by being added or found, and change by a swap.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from arbiter.engines.base import PullStep
from arbiter.errors import ArbiterError, NotProvided
from arbiter.gateway.exchange import NDJSON, Request
from arbiter.gateway.hangup import Watch
from arbiter.gateway.ollama_answer import moment
from arbiter.gateway.ollama_asked import NamedRequest, model_of
from arbiter.gateway.ollama_error import ollama_error
from arbiter.gateway.openai import read_request
from arbiter.gateway.rendering import encoded, known, send_error, send_json
from arbiter.gateway.rooms import LoadedModel, ModelFacts, Rooms

SPOKEN: Final = "0.33.0"
"""The version of Ollama whose interface this is: clients ask for it before they use some of it."""

_NO_DIGEST: Final = "decided-anew"
"""For ``auto``, which has none: Ollama's own command line cuts twelve letters off every digest."""

_FOR_EVER: Final = timedelta(microseconds=(2**63 - 1) // 1000)
"""How far ahead an Ollama says that a model leaves which is kept for ever."""

_WORDS: Final = frozenset(
    {"completion", "tools", "insert", "vision", "embedding", "thinking", "audio", "image"}
)


async def version(request: Request, rooms: Rooms) -> None:  # noqa: ARG001  # every handler's form
    """Answer ``/api/version``."""
    await send_json(request.send, encoded({"version": SPOKEN}))


async def tags(request: Request, rooms: Rooms) -> None:
    """Answer ``/api/tags``: every name that can be asked for."""
    await send_json(request.send, encoded({"models": [_tag(one) for one in rooms.shelf.all()]}))


async def running(request: Request, rooms: Rooms) -> None:
    """Answer ``/api/ps``: what is in memory."""
    never = moment(rooms.clock.now() + _FOR_EVER)
    told = [{**_process(one), "expires_at": never} for one in rooms.shelf.loaded()]
    await send_json(request.send, encoded({"models": told}))


async def show(request: Request, rooms: Rooms) -> None:
    """Answer ``/api/show``: what is known of a model."""
    facts = rooms.shelf.find(model_of(read_request(request.body, NamedRequest, {})))
    info: dict[str, object] = {}
    if facts.architecture:
        info["general.architecture"] = facts.architecture
        if facts.context_length is not None:
            info[f"{facts.architecture}.context_length"] = facts.context_length
    if facts.parameters is not None:
        info["general.parameter_count"] = facts.parameters
    told: dict[str, object] = {
        "details": _details(facts),
        "model_info": info,
        "capabilities": capabilities_told(facts),
    }
    if facts.licence:
        told["license"] = facts.licence
    if facts.registered_at is not None:
        told["modified_at"] = moment(facts.registered_at)
    await send_json(request.send, encoded(told))


async def delete(request: Request, rooms: Rooms) -> None:
    """Answer ``/api/delete``: the name goes; the file and what was learned of it stay."""
    await rooms.shelf.remove(model_of(read_request(request.body, NamedRequest, {})))
    await send_json(request.send, b"{}")


async def not_provided(request: Request, rooms: Rooms) -> None:  # noqa: ARG001  # every handler's form
    """Answer what no house does."""
    raise NotProvided(
        hint="Register a file with: arbiter models add FILE NAME; name one with: arbiter alias set."
    )


async def pull(request: Request, rooms: Rooms) -> None:
    """Answer ``/api/pull``: the server that offers the model fetches it, step by step.

    A client that hangs up ends it, as it does at an Ollama.
    """
    asked = read_request(request.body, NamedRequest, {})
    told: asyncio.Queue[PullStep | None] = asyncio.Queue()

    async def work() -> None:
        try:
            await rooms.shelf.pull(model_of(asked), told.put_nowait)
        finally:
            told.put_nowait(None)

    working = asyncio.create_task(work())
    try:
        with Watch(request.receive, request.line):
            if asked.stream is False:
                await asyncio.wait({working})
                error = _trouble(working)
                if error is not None:
                    await send_error(request.send, error, body=_to_admin)
                else:
                    await send_json(request.send, encoded({"status": "success"}))
            else:
                await _tell(request, told, working)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def _tell(
    request: Request, told: asyncio.Queue[PullStep | None], working: asyncio.Task[None]
) -> None:
    """Send every step, then how it ended."""
    send, has_begun = request.send, False
    while (step := await told.get()) is not None:
        if step.status == "success":
            continue  # of the fetching; what was fetched is still to be taken in
        if not has_begun:
            has_begun = True
            await send({"type": "http.response.start", "status": 200, "headers": [*NDJSON]})
        line = encoded(_step(step)) + b"\n"
        await send({"type": "http.response.body", "body": line, "more_body": True})
    await asyncio.wait({working})
    error = _trouble(working)
    if not has_begun:
        if error is not None:
            await send_error(send, error, body=_to_admin)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [*NDJSON]})
    last = encoded({"status": "success"}) if error is None else _to_admin(error)
    await send({"type": "http.response.body", "body": last + b"\n"})


def _trouble(working: asyncio.Task[None]) -> ArbiterError | None:
    error = working.exception()
    return known(error) if isinstance(error, Exception) else None


def _to_admin(error: ArbiterError, decision: str | None = None) -> bytes:
    """Whoever may pull a model runs the house, and is told what its servers say."""
    return ollama_error(error, decision, to_admin=True)


def _step(step: PullStep) -> dict[str, object]:
    told: dict[str, object] = {"status": step.status}
    if step.digest is not None:
        told["digest"] = step.digest
    if step.total is not None:
        told["total"] = step.total
    if step.completed is not None:
        told["completed"] = step.completed
    return told


def _tag(facts: ModelFacts) -> dict[str, object]:
    told: dict[str, object] = {
        "name": facts.name,
        "model": facts.name,
        "digest": facts.version.removeprefix("sha256:") or _NO_DIGEST,
        "details": _details(facts),
        "capabilities": capabilities_told(facts),
    }
    if facts.registered_at is not None:
        told["modified_at"] = moment(facts.registered_at)
    if facts.size_bytes is not None:
        told["size"] = facts.size_bytes
    return told


def _process(one: LoadedModel) -> dict[str, object]:
    facts = one.facts
    told: dict[str, object] = {
        "name": facts.name,
        "model": facts.name,
        "digest": facts.version.removeprefix("sha256:"),
        "details": _details(facts),
    }
    if one.memory_bytes is not None or one.accelerator_bytes:
        told["size"] = (one.memory_bytes or 0) + one.accelerator_bytes
    if one.accelerator_bytes:
        told["size_vram"] = one.accelerator_bytes
    if one.context is not None:
        told["context_length"] = one.context
    return told


def _details(facts: ModelFacts) -> dict[str, object]:
    family = facts.architecture
    return {
        "parent_model": "",
        "format": facts.format,
        "family": family,
        "families": [family] if family else [],
        "parameter_size": "" if facts.parameters is None else rounded(facts.parameters),
        "quantization_level": facts.quantization,
    }


def capabilities_told(facts: ModelFacts) -> list[str]:
    """What a model can do, in Ollama's words: whoever chats completes."""
    able = {"completion" if one == "chat" else one for one in facts.capabilities}
    return sorted(able & _WORDS)


def rounded(number: int) -> str:
    """A number of parameters as Ollama shows it.

    >>> rounded(999_885_952), rounded(1_500_000_000), rounded(70_000)
    ('999.89M', '1.5B', '70K')
    """
    for size, letter, digits in ((10**9, "B", 1), (10**6, "M", 2), (10**3, "K", 0)):
        if number >= size:
            found = number / size
            return f"{found:.0f}{letter}" if found.is_integer() else f"{found:.{digits}f}{letter}"
    return str(number)
