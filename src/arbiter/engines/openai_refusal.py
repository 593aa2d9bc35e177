"""How servers of the OpenAI dialect say that they will not, and what to tell the caller of it."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from arbiter.errors import EngineRefused, PromptTooLong

MORE_ROOM: Final = (
    "Send a shorter prompt, ask a model with more room, or load this one with a larger context "
    "(pool.context, or its server's own setting)."
)
_TOO_LONG: Final = re.compile(
    r"maximum context length|(?:exceed|longer|overflow).{0,80}context"
    r"|context.{0,80}(?:exceed|overflow)",
    re.IGNORECASE,
)
_HAS: Final = re.compile(
    r"\b([0-9]{1,9})(?: input tokens| in the (?:messages|prompt)| tokens\) is longer)"
)
_HOLDS: Final = re.compile(r"context length (?:is |\()([0-9]{1,9}) tokens", re.IGNORECASE)


class _Problem(msgspec.Struct):
    message: str = ""
    type: str = ""
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


class _Refusal(msgspec.Struct):
    error: _Problem


_problem = msgspec.json.Decoder(_Problem).decode
_refusal = msgspec.json.Decoder(_Refusal).decode


def parse_refusal(status: int, body: bytes) -> EngineRefused:
    """What to tell the caller about a response that is no answer."""
    try:
        problem = _refusal(body).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        words = words_of(body)
        told = f": {words}" if words else "."
        return EngineRefused(f"The engine refused the request with status {status}{told}")
    if problem.type == "exceed_context_size_error" and problem.n_prompt_tokens and problem.n_ctx:
        return PromptTooLong(
            f"The prompt has {problem.n_prompt_tokens} tokens, and this model is loaded with room "
            f"for {problem.n_ctx}.",
            hint=MORE_ROOM,
            param="messages",
            tokens=problem.n_prompt_tokens,
            room=problem.n_ctx,
        )
    told = f"The engine refused the request: {problem.message[:500]}"
    if is_too_long(problem.message):
        tokens, room = lengths_in(problem.message)
        return PromptTooLong(told, param="messages", tokens=tokens, room=room)
    return EngineRefused(told)


def is_too_long(words: str) -> bool:
    """Whether this is how a server says that a prompt does not fit: vLLM, SGLang, Ollama ...

    >>> is_too_long("This model's maximum context length is 4096 tokens. However, ...")
    True
    >>> is_too_long("the input length exceeds the context length"), is_too_long("no such model")
    (True, False)
    """
    return _TOO_LONG.search(words) is not None


def lengths_in(words: str) -> tuple[int | None, int | None]:
    """How many tokens a prompt has, and how many there is room for, where such words say it.

    >>> lengths_in("This model's maximum context length is 4096 tokens. However, you requested "
    ... "5000 tokens (4900 in the messages, 100 in the completion).")
    (4900, 4096)
    >>> lengths_in("The input (50 tokens) is longer than the model's context length (40 tokens).")
    (50, 40)
    >>> lengths_in("the input length exceeds the context length")
    (None, None)
    """
    found = _HAS.search(words), _HOLDS.search(words)
    tokens, room = [None if one is None else int(one[1]) for one in found]
    return tokens, room


def words_of(body: bytes) -> str:
    """What a server says in an error, in whatever form it says so; nothing when it is unreadable.

    >>> words_of(b'{"error":{"message":"too long"}}'), words_of(b'{"detail":"no such thing"}')
    ('too long', 'no such thing')
    >>> words_of(b"upstream is down"), words_of(b"<html><body>502</body></html>")
    ('upstream is down', '')
    """
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body[:2000].decode("utf-8", "replace").strip()
        return "" if text.startswith(("<", "{", "[")) else printable(text)
    for _ in range(3):
        if isinstance(told, dict):
            told = told.get("error") or told.get("message") or told.get("detail")
    return printable(told) if isinstance(told, str) else ""


def printable(text: str, *, longest: int = 500) -> str:
    """A text of somebody else's on one line, shortened, with nothing that moves a cursor.

    >>> printable("a" + chr(27) + "[2Jb" + chr(10) + "  c")
    'a [2Jb c'
    """
    shown = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * longest])
    shown = " ".join(shown.split())
    return shown if len(shown) <= longest else f"{shown[:longest]} ..."


def message_of(data: bytes) -> str:
    """What the error in an event or a body says."""
    try:
        return _problem(data).message[:500]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "it did not say what"
