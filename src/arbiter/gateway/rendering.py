"""How the door speaks: JSON replies, and every error rendered once, by its class.

Errors have the shape that the clients of their address expect (`arbiter.gateway.dialects`), with a
part of our own that says whose fault it was. A 5xx says only the fixed sentence of its class,
because what an engine or a disk wrote may hold paths and addresses; to whoever runs the house (the
control API) it says all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

import msgspec
from starlette.types import Send

from arbiter.errors import (
    ArbiterError,
    LoadFailed,
    MethodNotAllowed,
    NotProvided,
    PromptTooLong,
    Unexpected,
)
from arbiter.inference import Usage
from arbiter.logs import Value, told

Header = tuple[bytes, bytes]

log = logging.getLogger("arbiter.gateway")

_ENCODER = msgspec.json.Encoder()
_JSON = (b"content-type", b"application/json")
_KNOWN = "This model's maximum context length"
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def encoded(value: object) -> bytes:
    """A value as JSON."""
    return _ENCODER.encode(value)


def encoded_text(text: str) -> bytes:
    """A text as a JSON string; half a surrogate pair, which no JSON can carry, becomes ``?``."""
    try:
        return _ENCODER.encode(text)
    except UnicodeEncodeError:
        return _ENCODER.encode(text.encode("utf-8", "replace").decode())


def usage_of(usage: Usage) -> dict[str, object] | None:
    """The usage as OpenAI shows it; None when the engine did not count both sides.

    Clients add these numbers up: a made-up zero would be worse than saying nothing.
    """
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if prompt is None or completion is None:
        return None
    shown: dict[str, object] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    if usage.cached_tokens is not None:
        shown["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    return shown


def error_type(status: int) -> str:
    """OpenAI's word for a kind of error.

    >>> error_type(404), error_type(503)
    ('invalid_request_error', 'server_error')
    """
    return "server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error")


def is_internal(error: ArbiterError) -> bool:
    """Whether only the fixed sentence of an error's class is for everybody."""
    return error.status >= 500 and not error.public


def told_of(error: ArbiterError, *, to_admin: bool = False) -> str:
    """What is said of an error."""
    if is_internal(error) and not to_admin:
        return (type(error).__doc__ or "").strip().splitlines()[0]
    # A sentence may quote what the client sent: half a surrogate pair must not break the reply.
    return error.sentence.encode("utf-8", "replace").decode()


def error_body(
    error: ArbiterError, decision: str | None = None, *, to_admin: bool = False
) -> bytes:
    """An error in OpenAI's shape."""
    told = told_of(error, to_admin=to_admin)
    if isinstance(error, PromptTooLong) and error.room is not None and _KNOWN not in told:
        # clients go by these words of OpenAI's as often as by the code
        told = f"{_KNOWN} is {error.room} tokens. {told}"
    return encoded(
        {
            "error": {
                "message": told,
                "type": error_type(error.status),
                "param": None if is_internal(error) and not to_admin else error.param,
                "code": error.code,
            },
            "arbiter": {"ours": error.ours, "decision": error.decision or decision},
        }
    )


def known(
    error: Exception, *, request: str | None = None, sent_as: str | None = None
) -> ArbiterError:
    """The error itself when it was raised on purpose; else it is logged and hidden.

    request: by which it is found again; sent_as: what its sender calls it.
    """
    ids: dict[str, Value] = {"request_id": request, "client_request_id": sent_as}
    if isinstance(error, ArbiterError):
        error.request = request
        if error.status >= 500:
            # while a model cannot be loaded every request says so; the pool has told it once
            is_told = isinstance(error, LoadFailed | NotProvided)
            level = logging.DEBUG if is_told else logging.WARNING
            # what an engine said may quote the prompt; it is in the record, for who runs the house
            words = error.sentence if error.ours else "the engine's words are in the record"
            log.log(
                level,
                "a request failed: %s: %s",
                error.code,
                words,
                extra=told({"decision": error.decision, **ids}),
            )
        elif error.decision is None:
            # one that was decided on has a line of its own
            log.info(
                "request refused", extra=told({"error": error.code, "status": error.status, **ids})
            )
        return error
    log.error("a request failed unexpectedly", exc_info=error, extra=told(ids))
    return Unexpected()


class ErrorBody(Protocol):
    """Writes an error in the shape that a client expects. decision: the one that it ended."""

    def __call__(self, error: ArbiterError, decision: str | None = None) -> bytes:
        """The body."""
        ...


async def send_error(
    send: Send,
    error: ArbiterError,
    *,
    body: ErrorBody = error_body,
    decision: str | None = None,
    headers: Iterable[Header] = (),
    close: bool = False,
) -> None:
    """Send an error as the whole response.

    close: end the connection after it. Needed when the body was not read to its end, or the
        server would go on swallowing it.
    """
    extra = [(b"x-should-retry", b"true" if error.retryable else b"false"), *headers]
    if error.retry_after_s is not None:
        extra.append((b"retry-after", b"%d" % error.retry_after_s))
    if error.decision is not None and decision is None:
        extra.append((b"x-arbiter-decision", error.decision.encode()))
    if isinstance(error, MethodNotAllowed):
        extra.append((b"allow", error.allowed.encode()))
    if error.status == 401:
        extra.append((b"www-authenticate", b"Bearer"))
    if close:
        extra.append((b"connection", b"close"))
    await send_json(send, body(error, decision), status=error.status, headers=extra)


async def send_json(
    send: Send,
    body: bytes,
    *,
    status: int = 200,
    headers: Iterable[Header] = (),
    kind: Header = _JSON,
) -> None:
    """Send a whole response: JSON, unless its kind is another."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [kind, (b"content-length", b"%d" % len(body)), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})
