"""What is wanted: the next turn, the rest of a text, vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

import msgspec

from arbiter.inference.message import Message
from arbiter.inference.tools import Tools


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The form that the answer's text must have: any JSON object, or what a schema allows.

    schema: a JSON schema, as text; None asks for any JSON object.
    """

    schema: str | None = None
    name: str | None = None
    strict: bool | None = None


Effort = Literal["none", "some", "minimal", "low", "medium", "high", "max"]
"""How much a model is to think before it answers; ``some`` leaves it to the model how much."""


class Chat(msgspec.Struct, frozen=True, kw_only=True):
    """The next turn of a conversation is wanted.

    effort: a wish. None leaves it to the model, and a model that cannot think does not heed it.
    """

    messages: tuple[Message, ...]
    tools: Tools | None = None
    shape: Shape | None = None
    effort: Effort | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A text is to go on; no chat template is put around it. suffix: what comes after the gap."""

    prompt: str
    suffix: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """A vector is wanted for each text, in this order. dimensions: None leaves the model's own."""

    inputs: tuple[str, ...]
    dimensions: int | None = None


Work = Chat | Completion | Embedding


def prompt_chars(work: Work) -> int:
    """How long a prompt is, in characters, with its tools; of texts for vectors, all together.

    >>> prompt_chars(Completion(prompt="Once", suffix="."))
    5
    """
    match work:
        case Chat(messages=messages, tools=tools):
            said = 0
            for message in messages:
                said += len(message.content)
                for call in message.calls:
                    said += len(call.arguments)
            if tools is None:
                return said
            return said + sum(
                [
                    len(tool.name) + len(tool.description or "") + len(tool.parameters or "")
                    for tool in tools.offered
                ]
            )
        case Completion(prompt=prompt, suffix=suffix):
            return len(prompt) + len(suffix or "")
        case Embedding(inputs=inputs):
            return sum([len(text) for text in inputs])
        case _:
            assert_never(work)
