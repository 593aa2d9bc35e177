"""Errors as Anthropic's clients expect them, with a part of our own: whose fault it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from arbiter.errors import ArbiterError, PromptTooLong
from arbiter.gateway.rendering import encoded, told_of

_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def anthropic_type(status: int) -> str:
    """Anthropic's word for a kind of error.

    >>> anthropic_type(422), anthropic_type(502), anthropic_type(503)
    ('invalid_request_error', 'api_error', 'overloaded_error')
    """
    return _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")


def anthropic_error(error: ArbiterError, decision: str | None = None) -> bytes:
    """An error in Anthropic's shape; within a stream it is the data of an event ``error``."""
    decision = error.decision or decision
    told = told_of(error)
    if isinstance(error, PromptTooLong):
        told = f"{_too_long(error)}: {told}"
    return encoded(
        {
            "type": "error",
            "error": {"type": anthropic_type(error.status), "message": told},
            "request_id": decision or error.request,
            "arbiter": {"code": error.code, "ours": error.ours, "decision": decision},
        }
    )


def _too_long(error: PromptTooLong) -> str:
    """The words by which clients know to shorten a conversation, and by how much.

    >>> _too_long(PromptTooLong(tokens=9_000, room=4_096))
    'prompt is too long: 9000 tokens > 4096 maximum'
    """
    words = "prompt is too long"
    if error.tokens is None or error.room is None or error.tokens <= error.room:
        return words
    return f"{words}: {error.tokens} tokens > {error.room} maximum"


def anthropic_failure(error: ArbiterError, decision: str | None = None) -> bytes:
    """The event of a stream that breaks off."""
    return b"event: error\ndata: %s\n\n" % anthropic_error(error, decision)
