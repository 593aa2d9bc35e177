"""Errors as Ollama's clients expect them: one sentence, with a part of our own beside it."""

from __future__ import annotations

from arbiter.errors import ArbiterError, PromptTooLong, UnknownModel
from arbiter.gateway.rendering import encoded, told_of


def ollama_error(
    error: ArbiterError, decision: str | None = None, *, to_admin: bool = False
) -> bytes:
    """An error in Ollama's shape; within a stream it is the last line."""
    told = told_of(error, to_admin=to_admin)
    if isinstance(error, UnknownModel):
        told = f"model not found: {told}"  # the words by which some clients know it
    elif isinstance(error, PromptTooLong):
        told = f"the input length exceeds the context length: {told}"  # an Ollama's own
    return encoded(
        {
            "error": told,
            "arbiter": {
                "code": error.code,
                "ours": error.ours,
                "decision": error.decision or decision,
            },
        }
    )
