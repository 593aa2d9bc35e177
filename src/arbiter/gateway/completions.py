"""POST /v1/completions: a text is to go on, without a chat template around it.

``max_tokens`` is left to the engine when it is not given. OpenAI's own default is 16, a number
from the time of its first models; servers of local models go on to the text's end or to the end
of the context, and so do we: an answer that breaks off after 16 tokens would be taken for a fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated

import msgspec

from arbiter.errors import InvalidField, Unsupported
from arbiter.gateway.completions_answer import (
    Form,
    ManyTextFrames,
    TextFrames,
    whole_text,
    whole_texts,
)
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
from arbiter.gateway.rooms import Rooms
from arbiter.gateway.security import Caller
from arbiter.gateway.several import MOST_ANSWERS, Several, again
from arbiter.inference import Ask, Completion

UNSUPPORTED: Mapping[str, tuple[object, ...]] = {"best_of": (None, 1)}

MOST_OTHERS = 20

MOST_ECHOED = 1024 * 1024
"""Letters of prompts that one response repeats, where it repeats each more than once: a small
request is not to become an answer that fills the memory."""


class CompletionRequest(WritingRequest, frozen=True, kw_only=True):
    """A completion request: the fields that mean something here."""

    prompt: str | list[object]
    suffix: str | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=MOST_OTHERS)] | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=MOST_ANSWERS)] | None = None
    echo: bool | None = None


async def completions(request: Request, rooms: Rooms) -> None:
    """Answer a completion request."""
    asked = read_completion(request.body)
    asks = asks_of(asked, header_extras(request.head), request.caller)
    form = Form(
        model=asked.model,
        created=int(rooms.clock.now().timestamp()),
        with_usage=asked.wants_usage,
        others=asked.logprobs or 0,
        echoes=_echoes(asks) if asked.echo else (),
    )
    if len(asks) == 1:
        writer = Writer(
            whole=partial(whole_text, form=form), streamed=partial(TextFrames, form=form)
        )
    else:
        writer = Writer(
            whole=partial(whole_texts, form=form), streamed=partial(ManyTextFrames, form=form)
        )
        all_ = Several(rooms.answer, asks, request.caller.allowance)
        rooms = replace(rooms, answer=all_)
    await exchange(request, rooms, asks[0], writer)


def read_completion(body: bytes) -> CompletionRequest:
    """The request in a body. Raises `BadRequest` naming the field that cannot be served."""
    return read_request(body, CompletionRequest, UNSUPPORTED)


def asks_of(
    request: CompletionRequest, headers: Mapping[str, str], caller: Caller
) -> tuple[Ask, ...]:
    """What is asked of the house: `n` answers to each prompt, in the order of the prompts."""
    target, task, extras = read_whom(request, headers)
    prompts, times = _prompts(request.prompt), request.n or 1
    if len(prompts) * times > MOST_ANSWERS:
        raise InvalidField(
            f"{len(prompts)} prompts, {times} times each, are more than {MOST_ANSWERS} answers.",
            hint="Send several requests.",
            param="prompt",
        )
    if extras.expected is not None and len(prompts) > 1:
        raise InvalidField(
            "expected is the right answer to one prompt, and here are several.", param="expected"
        )
    if request.echo and times > 1 and sum(map(len, prompts)) * times > MOST_ECHOED:
        raise InvalidField(
            f"These prompts, {times} times each, are more than {MOST_ECHOED:,} letters.",
            hint="Leave echo out, and put your prompt before each text yourself.",
            param="echo",
        )
    if request.echo and request.logprobs is not None:
        raise Unsupported(
            "echo with logprobs is not supported here: nothing tells how probable a prompt was.",
            hint="Leave one of them out.",
            param="echo",
        )
    sampling = read_sampling(request, max_tokens=request.max_tokens, odds=request.logprobs)
    return tuple(
        [
            Ask(
                target=target,
                # clients send an empty suffix where they mean none
                work=Completion(prompt=prompt, suffix=request.suffix or None),
                sampling=again(sampling, time),
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
            for prompt in prompts
            for time in range(times)
        ]
    )


def _echoes(asks: Sequence[Ask]) -> tuple[str, ...]:
    return tuple([ask.work.prompt for ask in asks if isinstance(ask.work, Completion)])


def _prompts(given: str | list[object]) -> tuple[str, ...]:
    if isinstance(given, str):
        return (given,)
    if not given:
        raise InvalidField("prompt is empty.", param="prompt")
    texts = [one for one in given if isinstance(one, str)]
    if len(texts) != len(given):
        raise Unsupported("A prompt of token ids is not supported here, only text.", param="prompt")
    return tuple(texts)
