"""What a caller is told whose prompt has no room in any model that could serve it otherwise.

Clients that hold long conversations look for this error, and shorten theirs. Told that no model is
capable they would give up.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from arbiter.errors import PromptTooLong
from arbiter.inference import Chat, Completion, Embedding, Work, prompt_chars
from arbiter.refs import VersionId
from arbiter.selection.contender import Seen
from arbiter.selection.room import tokens_of, two_figures


def prompt_too_long(
    work: Work, seen: Sequence[Seen], able: Collection[VersionId]
) -> PromptTooLong | None:
    """The error, by whoever has the most room. able: who could serve, were the prompt shorter.

    None when no context of theirs is known: then it was not the length.
    """
    sized = [
        (one.contender.context, one)
        for one in seen
        if one.contender.version in able and one.contender.context is not None
    ]
    if not sized:
        return None
    room, widest = max(sized, key=lambda pair: pair[0])
    texts = isinstance(work, Embedding)
    chars = max(map(len, work.inputs)) if isinstance(work, Embedding) else prompt_chars(work)
    tokens = tokens_of(chars, widest.speed.chars_per_token)
    source = " by earlier prompts" if tokens.is_learned else ""
    return PromptTooLong(
        f"{'A text' if texts else 'The prompt'} has about {two_figures(tokens.about)} tokens "
        f"(estimated at {tokens.chars:.1f} characters each{source}), and no model that could "
        f"serve it has room for so many: the most is {room:,}, of {widest.contender.name}.",
        hint=f"Send {'shorter texts' if texts else 'a shorter prompt'}, or load a model with a "
        "larger context (pool.context, or its server's own setting).",
        param=_field_of(work),
        tokens=round(tokens.about),
        room=room,
    )


def _field_of(work: Work) -> str:
    """What OpenAI calls the field that the words are in."""
    match work:
        case Chat():
            return "messages"
        case Completion():
            return "prompt"
        case _:
            return "input"
