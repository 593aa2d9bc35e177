"""What a version must be able to do for a piece of work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from arbiter.inference.message import Message
from arbiter.inference.work import Chat, Completion, Embedding, Work


def needed(work: Work) -> frozenset[str]:
    """The capabilities without which a version cannot do this work.

    >>> from arbiter.inference import Tool, Tools
    >>> sorted(needed(Chat(messages=(), tools=Tools(offered=(Tool(name="clock"),)))))
    ['chat', 'tools']
    """
    match work:
        case Chat(tools=tools, shape=shape, messages=messages):
            seen = _senses(messages)
            if tools is None and shape is None:
                return _CHAT | seen if seen else _CHAT
            is_callable = tools is not None and tools.offered and tools.choice != "none"
            more = {"tools"} if is_callable else set[str]()
            return _CHAT | seen | more | ({"json"} if shape is not None else set[str]())
        case Completion(suffix=suffix):
            return _COMPLETION if suffix is None else _COMPLETION | {"insert"}
        case Embedding():
            return _EMBEDDING
        case _:
            assert_never(work)


def _senses(messages: Sequence[Message]) -> frozenset[str]:
    """What it takes to see and hear all that is in a conversation."""
    found = [one for message in messages if message.parts for one in message.media]
    return frozenset([_SENSE[one.kind] for one in found]) if found else _NOTHING


def lacking(work: Work, capabilities: frozenset[str]) -> frozenset[str]:
    """What a version that somebody named lacks for this work; nothing when nobody knows.

    A model without a chat template of its own can still be talked to, if a person insists.

    >>> sorted(lacking(Embedding(inputs=("a",)), frozenset({"chat", "completion"})))
    ['embedding']
    """
    if not capabilities:
        return frozenset()
    missing = needed(work) - capabilities
    return missing - _WRITING if capabilities & _WRITING else missing


_NOTHING = frozenset[str]()
_SENSE = {"image": "vision", "audio": "audio"}
_WRITING = frozenset({"chat", "completion"})
_CHAT = frozenset({"chat"})
_COMPLETION = frozenset({"completion"})
_EMBEDDING = frozenset({"embedding"})
