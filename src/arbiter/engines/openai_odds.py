"""How probable tokens were, as servers of the OpenAI dialect and of Ollama's tell it."""

from __future__ import annotations

import msgspec

from arbiter.inference import Odds


class _OneOdds(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[_OneOdds] | None = None


class _AllOdds(msgspec.Struct):
    """Of a chat; or, in four lists side by side, of a text, as OpenAI's older servers tell it."""

    content: list[_OneOdds] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


_odds = msgspec.json.Decoder(_AllOdds | list[_OneOdds] | None).decode


def read_odds(raw: msgspec.Raw, *, most: int | None = None) -> tuple[Odds, ...]:
    """What a server tells of its tokens; nothing where it cannot be understood.

    most: other tokens that are wanted at each place; None: all that it tells. llama.cpp tells
    twenty where none were asked for. OpenAI's servers put the list into an object, Ollama does not.
    """
    try:
        told = _odds(raw) if raw else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ()
    if isinstance(told, _AllOdds) and told.content is None:
        return _side_by_side(told, most)
    listed = told.content if isinstance(told, _AllOdds) else told
    return tuple([_one_odds(one, most) for one in listed or ()])


def _side_by_side(told: _AllOdds, most: int | None) -> tuple[Odds, ...]:
    """The first token of all has no probability where the prompt is told too: it is left out."""
    tokens, logprobs = told.tokens or (), told.token_logprobs or ()
    if len(tokens) != len(logprobs):
        return ()
    tops = told.top_logprobs or ()
    others = tops if len(tops) == len(tokens) else (None,) * len(tokens)
    return tuple(
        [
            Odds(
                token=token,
                logprob=logprob,
                others=tuple(
                    [Odds(token=one, logprob=p) for one, p in [*(top or {}).items()][:most]]
                ),
            )
            for token, logprob, top in zip(tokens, logprobs, others, strict=True)
            if logprob is not None
        ]
    )


def _one_odds(told: _OneOdds, most: int | None = None) -> Odds:
    return Odds(
        token=told.token,
        logprob=told.logprob,
        raw=None if told.bytes is None else tuple(told.bytes),
        others=tuple([_one_odds(one) for one in (told.top_logprobs or ())[:most]]),
    )
