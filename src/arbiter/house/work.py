"""What a program asks: a text, messages or a piece of work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from arbiter.inference import Chat, Completion, Embedding, Message, Work


def work_of(prompt: str | Sequence[Message] | Work) -> Work:
    """What a program hands in, as work: a text is a conversation's first turn."""
    if isinstance(prompt, Chat | Completion | Embedding):
        return prompt
    if isinstance(prompt, str):
        return Chat(messages=(Message(role="user", content=prompt),))
    return Chat(messages=tuple(prompt))


def texts_of(work: Work) -> tuple[str, ...]:
    """All that is asked, as texts; a conversation that has no name is known by them."""
    match work:
        case Chat(messages=messages):
            return tuple([message.content for message in messages])
        case Completion(prompt=prompt):
            return (prompt,)
        case Embedding(inputs=inputs):
            return inputs
        case _:
            assert_never(work)
