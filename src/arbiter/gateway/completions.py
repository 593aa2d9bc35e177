"""POST /v1/completions: a text is to go on, without a chat template around it.

``max_tokens`` is left to the engine when it is not given. OpenAI's own default is 16, a number
from the time of its first models; servers of local models go on to the text's end or to the end
of the context, and so do we: an answer that breaks off after 16 tokens would be taken for a fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Annotated

import msgspec

from arbiter.errors import ArbiterError, InvalidField, Unsupported
from arbiter.gateway.chat_answer import odds_shown
from arbiter.gateway.exchange import Request, Writer, exchange
from arbiter.gateway.extras import header_extras
from arbiter.gateway.openai import (
    WritingRequest,
    conversation_of,
    read_request,
    read_sampling,
    read_whom,
    talk_of,
)
from arbiter.gateway.rendering import encoded, encoded_text, error_body, usage_of
from arbiter.gateway.rooms import Rooms
from arbiter.gateway.security import Caller
from arbiter.inference import Ask, Chunk, Completion, Decided, Delta, Finish
from arbiter.refs import short

UNSUPPORTED: Mapping[str, tuple[object, ...]] = {
    "best_of": (None, 1),
    "echo": (None, False),
    "n": (None, 1),
}

MOST_OTHERS = 20
_DONE = b"data: [DONE]\n\n"


class CompletionRequest(WritingRequest, frozen=True, kw_only=True):
    """A completion request: the fields that mean something here."""

    prompt: str | list[object]
    suffix: str | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=MOST_OTHERS)] | None = None


async def completions(request: Request, rooms: Rooms) -> None:
    """Answer a completion request."""
    asked = read_completion(request.body)
    ask = ask_of(asked, header_extras(request.head), request.caller)
    created = int(rooms.clock.now().timestamp())
    writer = Writer(
        whole=partial(_whole, model=asked.model, created=created, others=asked.logprobs or 0),
        streamed=partial(
            TextFrames,
            model=asked.model,
            created=created,
            with_usage=asked.wants_usage,
            others=asked.logprobs or 0,
        ),
    )
    await exchange(request, rooms, ask, writer)


def read_completion(body: bytes) -> CompletionRequest:
    """The request in a body. Raises `BadRequest` naming the field that cannot be served."""
    return read_request(body, CompletionRequest, UNSUPPORTED)


def ask_of(request: CompletionRequest, headers: Mapping[str, str], caller: Caller) -> Ask:
    """The request as the house understands it."""
    target, task, extras = read_whom(request, headers)
    prompt = _prompt(request.prompt)
    return Ask(
        target=target,
        # clients send an empty suffix where they mean none
        work=Completion(prompt=prompt, suffix=request.suffix or None),
        sampling=read_sampling(request, max_tokens=request.max_tokens, odds=request.logprobs),
        stream=bool(request.stream),
        task=task,
        limits=extras.limits,
        helper=extras.helper,
        conversation=conversation_of(request, extras, caller, (prompt,)),
        talk=talk_of(request, extras, (prompt,)),
        expected=extras.expected,
        load_options=request.load_options,
        caller=caller.id,
    )


def _prompt(prompt: str | list[object]) -> str:
    if isinstance(prompt, str):
        return prompt
    if any(not isinstance(one, str) for one in prompt):
        raise Unsupported("A prompt of token ids is not supported here, only text.", param="prompt")
    if len(prompt) != 1:
        if not prompt:
            raise InvalidField("prompt is empty.", param="prompt")
        raise Unsupported(
            "Several prompts in one request are not supported here.",
            hint="Send a request for each.",
            param="prompt",
        )
    return str(prompt[0])


class TextFrames:
    """The chunks of one stream."""

    __slots__ = ("_decision", "_head", "_letters", "_others", "_tail", "_with_usage", "opening")

    def __init__(
        self, decided: Decided, *, model: str, created: int, with_usage: bool, others: int = 0
    ) -> None:
        self._others = others
        self._letters = 0
        """How many came before, where somebody wants to know at which a token begins."""
        self._decision = decided.decision
        self._with_usage = with_usage
        self._head = b"data: " + _head(model, created, decided)
        self._tail = b'],"usage":null}\n\n' if with_usage else b"]}\n\n"
        self.opening = b""

    def piece(self, chunk: Chunk) -> bytes:
        """A chunk of text."""
        if not isinstance(chunk, Delta) or not chunk.text:
            return b""
        odds = b"null"
        if chunk.odds:
            odds = odds_of((chunk,), others=self._others, before=self._letters)
        self._letters += len(chunk.text)
        return self._head + _choice(chunk.text, b"null", odds) + self._tail

    def ending(self, finish: Finish) -> bytes:
        """The last chunks: why it ended, what it used when that was asked for, and ``[DONE]``."""
        end = self._head + _choice("", b'"%s"' % finish.reason.value.encode()) + self._tail
        if self._with_usage:
            end += self._head + b'],"usage":%s}\n\n' % encoded(usage_of(finish.usage))
        return end + _DONE

    def failing(self, error: ArbiterError) -> bytes:
        """The last event of a stream that breaks off; no ``[DONE]`` follows."""
        return b"data: %s\n\n" % error_body(error, self._decision)


def _whole(
    decided: Decided,
    chunks: Sequence[Chunk],
    finish: Finish,
    *,
    model: str,
    created: int,
    others: int = 0,
) -> bytes:
    text = "".join([chunk.text for chunk in chunks if isinstance(chunk, Delta)])
    return b'%s%s],"usage":%s}' % (
        _head(model, created, decided),
        _choice(text, b'"%s"' % finish.reason.value.encode(), odds_of(chunks, others=others)),
        encoded(usage_of(finish.usage)),
    )


def _head(model: str, created: int, decided: Decided) -> bytes:
    return (
        b'{"id":"cmpl-%s","object":"text_completion","created":%d,"model":%s,'
        b'"system_fingerprint":"%s","choices":['
        % (
            decided.decision.encode(),
            created,
            encoded_text(model),
            short(decided.version).encode(),
        )
    )


def _choice(text: str, reason: bytes, odds: bytes = b"null") -> bytes:
    return b'{"text":%s,"index":0,"logprobs":%s,"finish_reason":%s}' % (
        encoded_text(text),
        odds,
        reason,
    )


def odds_of(chunks: Sequence[Chunk], *, others: int, before: int = 0) -> bytes:
    """How probable tokens were, in four lists side by side; null where nobody told.

    others: how many at each place beside the token itself, which is always among them. before: how
    many letters came earlier.
    """
    found = [one for chunk in chunks if isinstance(chunk, Delta) for one in chunk.odds]
    if not found:
        return b"null"
    tokens = [str(odds_shown(one)["token"]) for one in found]
    lengths = [len(token) for token in tokens]
    return encoded(
        {
            "tokens": tokens,
            "token_logprobs": [odds_shown(one)["logprob"] for one in found],
            "top_logprobs": [
                {
                    str(shown["token"]): shown["logprob"]
                    for shown in map(odds_shown, (*one.others[:others], one))
                }
                for one in found
            ],
            "text_offset": [*accumulate(lengths[:-1], initial=before)],
        }
    )
