"""Errors as Ollama's clients expect them: one sentence, with a part of our own beside it."""

from __future__ import annotations

from arbiter.errors import ArbiterError
from arbiter.gateway.rendering import encoded, told_of


def ollama_error(error: ArbiterError, decision: str | None = None) -> bytes:
    """An error in Ollama's shape; within a stream it is the last line."""
    return encoded(
        {
            "error": told_of(error),
            "arbiter": {
                "code": error.code,
                "ours": error.ours,
                "decision": error.decision or decision,
            },
        }
    )
