"""What went wrong with an OpenAI-compatible server, in the house's errors.

Pure. Before the first piece of an answer the house may ask elsewhere, after it never.
"""

from __future__ import annotations

import re
from typing import Final

from arbiter.engines.openai_refusal import parse_refusal, printable, words_of
from arbiter.engines.openai_wire import ReportedError
from arbiter.engines.remote import Response, pause_of
from arbiter.errors import (
    ArbiterError,
    Busy,
    CannotServe,
    EngineError,
    EngineRefused,
    EngineTimeout,
    InstanceLost,
    KeyRefused,
    PromptTooLong,
    StreamCut,
)
from arbiter.inference import Vectors

_NOTHING_THERE: Final = frozenset({404, 405, 501})
_TOO_LARGE: Final = re.compile(r"input \((\d+) tokens\) is too large.*batch size: (\d+)")
"""How llama-server, with a status of 500, refuses to make a vector of a long text."""


def refusal(response: Response, *, kind: str, path: str, has_key: bool) -> ArbiterError:
    """What an answer means whose status is not 200."""
    status, words = response.status, words_of(response.body)
    said = f": {words}" if words else "."
    if 300 <= status < 400:
        where = printable(response.headers.get("Location", "nowhere"), longest=200)
        return EngineRefused(
            f"{kind} redirects {path} to {where}, which is not followed.",
            hint="Name that address itself in discovery.servers if it is to be used.",
        )
    if status in {401, 403}:
        return KeyRefused(
            f"{kind} {'refuses the key that it was sent' if has_key else 'wants a key'}{said}",
            hint="Set it in the settings, in [discovery.keys].",
        )
    if status in {429, 503}:
        return Busy(f"{kind} is busy{said}", retry_after_s=pause_of(response.headers))
    if too_large := _TOO_LARGE.search(words):
        return PromptTooLong(
            f"A text has {too_large[1]} tokens, and {kind} was started with room for "
            f"{too_large[2]} in one.",
            hint="Send shorter texts, or start the server with a larger physical batch.",
            param="input",
            tokens=int(too_large[1]),
            room=int(too_large[2]),
        )
    if status in _NOTHING_THERE:
        # the model is listed there, or this would not have been asked
        return CannotServe(
            f"{kind} does not do this with this model: {path} gives status {status}{said}",
            hint="Ask for another model, or leave the choice to the house: auto.",
            param="model",
        )
    if status >= 500:
        return EngineError(f"{kind} failed with status {status}{said}")
    return parse_refusal(status, response.body)


def failure(error: Exception, *, kind: str, begun: bool) -> EngineError:
    """What it means that an answer did not come, or broke off. begun: a piece of it has come."""
    if begun:
        if isinstance(error, ReportedError):
            return StreamCut(f"{kind} broke off: {printable(str(error))}")
        if isinstance(error, TimeoutError):
            return StreamCut(f"{kind} fell silent in the middle of its answer.")
        return StreamCut(f"The answer of {kind} broke off.")
    if isinstance(error, TimeoutError):
        return EngineTimeout(f"{kind} did not answer in time.")
    if isinstance(error, ReportedError):
        return EngineError(f"{kind} failed: {printable(str(error))}")
    if isinstance(error, ValueError):
        return EngineError(f"The answer of {kind} cannot be understood.")
    return InstanceLost(f"{kind} is gone, or closed the connection before it answered.")


def wrong_length(vectors: Vectors, *, wanted: int | None, kind: str) -> EngineRefused | None:
    """What to say of vectors of another length than was asked for: some servers do not heed it."""
    found = len(vectors.vectors[0]) if vectors.vectors else 0
    if wanted is None or wanted == found:
        return None
    return EngineRefused(
        f"The vectors of this model have {found} numbers, and {kind} did not make them {wanted}.",
        hint="Leave dimensions out.",
        param="dimensions",
    )
