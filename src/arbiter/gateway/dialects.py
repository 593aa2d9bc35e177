"""Which language the clients of an address speak, for what goes wrong before it is served.

A key that is missing is told to an Ollama client in Ollama's shape and to an Anthropic client in
Anthropic's, though neither request was read.
"""

from __future__ import annotations

from arbiter.gateway.anthropic_error import anthropic_error
from arbiter.gateway.ollama_error import ollama_error
from arbiter.gateway.rendering import ErrorBody, error_body


def errors_at(path: str) -> ErrorBody:
    """How errors are written at an address.

    >>> errors_at("/api/chat").__name__, errors_at("/v1/models").__name__
    ('ollama_error', 'error_body')
    """
    if path.startswith("/api/"):
        return ollama_error
    if path.startswith("/v1/messages"):
        return anthropic_error
    return error_body
