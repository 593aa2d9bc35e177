"""Requests in the OpenAI dialect as servers understand it.

Every field is named here: nothing that a client wrote passes by accident.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import msgspec

from arbiter.errors import EngineRefused
from arbiter.inference import (
    Chat,
    Completion,
    Embedding,
    Generation,
    Media,
    Message,
    Sampling,
    Shape,
    Tools,
)

CHAT: Final = "/v1/chat/completions"
COMPLETIONS: Final = "/v1/completions"
EMBEDDINGS: Final = "/v1/embeddings"

_RANDOM_SEED: Final = 0xFFFFFFFF
"""llama.cpp takes this seed as a wish for a random one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What a kind of server understands beyond OpenAI's own fields.

    name: the kind, as people know it. extras: those of ``top_k``, ``min_p``, ``repeat_penalty``,
    ``repeat_last_n`` and ``typical_p`` that it heeds. says_repetition: it calls the third one
    ``repetition_penalty``. folds_seed: its seeds have 32 bits, one of which means a random one.
    names_tools: it can be told which tool to call; others are offered that one alone.
    by_template: how much to think is said to the model's template; others take
    ``reasoning_effort``.
    """

    name: str
    extras: frozenset[str] = frozenset()
    says_repetition: bool = False
    folds_seed: bool = False
    names_tools: bool = True
    by_template: bool = False


USUAL_EXTRAS: Final = frozenset({"top_k", "min_p", "repeat_penalty"})
EVERY_EXTRA: Final = USUAL_EXTRAS | {"repeat_last_n", "typical_p"}
LLAMA_CPP: Final = Dialect(
    name="llama.cpp", extras=EVERY_EXTRA, folds_seed=True, names_tools=False, by_template=True
)
_EFFORT: Final = {"some": "medium", "max": "high"}
"""OpenAI's words for what it has no word for."""


class _StreamOptions(msgspec.Struct):
    include_usage: bool = True


class _Function(msgspec.Struct, omit_defaults=True):
    name: str
    description: str | None = None
    parameters: msgspec.Raw | None = None
    strict: bool | None = None


class _Tool(msgspec.Struct):
    function: _Function
    type: str = "function"


class _CalledFunction(msgspec.Struct):
    name: str
    arguments: str


class _Call(msgspec.Struct):
    id: str
    function: _CalledFunction
    type: str = "function"


class _Message(msgspec.Struct, omit_defaults=True):
    role: str
    content: str | list[dict[str, object]]
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    reasoning_content: str | None = None


class _Request(msgspec.Struct, omit_defaults=True):
    """Every field that is ever sent: nothing that a client wrote passes by accident."""

    model: str | None = None
    messages: list[_Message] | None = None
    prompt: str | None = None
    suffix: str | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | dict[str, object] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, object] | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None
    cache_prompt: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    repetition_penalty: float | None = None
    repeat_last_n: int | None = None
    typical_p: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | int | None = None
    top_logprobs: int | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, object] | None = None


class _EmbeddingRequest(msgspec.Struct, omit_defaults=True):
    input: tuple[str, ...]
    encoding_format: str
    model: str | None = None
    dimensions: int | None = None


_encode = msgspec.json.Encoder().encode
_WITH_USAGE: Final = _StreamOptions()


def path_of(work: Chat | Completion) -> str:
    """The address to which a request for this work goes."""
    return CHAT if isinstance(work, Chat) else COMPLETIONS


def encode_request(
    request: Generation,
    *,
    model: str | None = None,
    cache_prompt: bool | None = None,
    dialect: Dialect = LLAMA_CPP,
    counted: bool = True,
) -> bytes:
    """The body of a chat or completion request.

    cache_prompt: a field of llama.cpp's own. counted: whether a stream is to end with its usage,
    which some servers refuse to be asked. Raises `EngineRefused` for an option of sampling that
    the server would not heed: an answer that ignores what was asked for is a wrong one.
    """
    how = request.sampling
    if dialect is not LLAMA_CPP:
        _check(how, dialect)
    seed = how.seed
    if seed is not None and dialect.folds_seed:
        seed &= 0xFFFFFFFF
        seed -= seed == _RANDOM_SEED
    repeat, repetition = how.repeat_penalty, None
    if dialect.says_repetition:
        repeat, repetition = None, repeat
    work = request.work
    chat = work if isinstance(work, Chat) else None
    text = work if isinstance(work, Completion) else None
    tools = None if chat is None else chat.tools
    effort, kwargs = (None, None) if chat is None else _thinking(chat, dialect)
    if tools is not None and tools.named is not None and not dialect.names_tools:
        only = tuple(tool for tool in tools.offered if tool.name == tools.named)
        tools = replace(tools, offered=only, choice="required", named=None)
    return _encode(
        _Request(
            model=model,
            messages=None if chat is None else [_turn(message) for message in chat.messages],
            prompt=None if text is None else text.prompt,
            suffix=None if text is None else text.suffix,
            tools=None if tools is None else _tools(tools),
            tool_choice=None if tools is None else _choice(tools),
            parallel_tool_calls=None if tools is None else tools.parallel,
            response_format=None if chat is None or chat.shape is None else _format(chat.shape),
            stream=request.stream,
            stream_options=_WITH_USAGE if request.stream and counted else None,
            cache_prompt=cache_prompt,
            temperature=how.temperature,
            top_p=how.top_p,
            seed=seed,
            max_tokens=how.max_tokens,
            stop=how.stop or None,
            presence_penalty=how.presence_penalty,
            frequency_penalty=how.frequency_penalty,
            top_k=how.top_k,
            min_p=how.min_p,
            repeat_penalty=repeat,
            repetition_penalty=repetition,
            repeat_last_n=how.repeat_last_n,
            typical_p=how.typical_p,
            logit_bias={str(token): bias for token, bias in how.bias} if how.bias else None,
            logprobs=_odds(how.odds, is_chat=chat is not None),
            top_logprobs=None if chat is None else how.odds or None,
            reasoning_effort=effort,
            chat_template_kwargs=kwargs,
        )
    )


def _odds(wanted: int | None, *, is_chat: bool) -> bool | int | None:
    """A chat is asked whether, a text how many: and none at all would be taken for no."""
    if wanted is None:
        return None
    return True if is_chat else max(1, wanted)


def _check(how: Sampling, dialect: Dialect) -> None:
    for name in _unheeded(dialect.extras):
        if getattr(how, name) is not None:
            raise EngineRefused(
                f"{dialect.name} is not known to heed {name}, so it is not sent there.",
                hint=f"Leave {name} out, or ask a model of another server.",
                param=name,
            )


@lru_cache(maxsize=16)
def _unheeded(extras: frozenset[str]) -> tuple[str, ...]:
    """What a server that heeds these does not; every request asks, and there are few kinds."""
    return tuple(sorted(EVERY_EXTRA - extras))


def _thinking(chat: Chat, dialect: Dialect) -> tuple[str | None, dict[str, object] | None]:
    """How much to think, in the field that the server heeds."""
    effort = chat.effort
    if effort is None:
        return None, None
    if not dialect.by_template:
        return _EFFORT.get(effort, effort), None
    # each family of templates knows one of the two, and takes no notice of the other
    told: dict[str, object] = {"enable_thinking": effort != "none"}
    if effort not in {"none", "some"}:
        told["reasoning_effort"] = _EFFORT.get(effort, effort)
    return None, told


def encode_embedding(request: Embedding, *, model: str | None = None) -> bytes:
    """The body of an embedding request."""
    return _encode(
        _EmbeddingRequest(
            input=request.inputs,
            model=model,
            dimensions=request.dimensions,
            encoding_format="float",
        )
    )


def _turn(message: Message) -> _Message:
    if not (message.calls or message.parts) and message.answers is None and not message.thought:
        return _Message(role=message.role, content=message.content)
    return _Message(
        role=message.role,
        content=[_part(part) for part in message.parts] or message.content,
        tool_calls=[
            _Call(id=call.id, function=_CalledFunction(name=call.name, arguments=call.arguments))
            for call in message.calls
        ]
        or None,
        tool_call_id=message.answers,
        name=message.name,
        reasoning_content=message.thought or None,
    )


def _part(part: str | Media) -> dict[str, object]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if part.kind == "audio":
        return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
    url = f"data:image/{part.format};base64,{part.data}"
    return {"type": "image_url", "image_url": {"url": url}}


def _tools(tools: Tools) -> list[_Tool]:
    return [
        _Tool(
            function=_Function(
                name=tool.name,
                description=tool.description,
                parameters=None if tool.parameters is None else _raw(tool.parameters),
                strict=tool.strict,
            )
        )
        for tool in tools.offered
    ]


def _choice(tools: Tools) -> str | dict[str, object]:
    if tools.named is not None:
        return {"type": "function", "function": {"name": tools.named}}
    return tools.choice


def _format(shape: Shape) -> dict[str, object]:
    if shape.schema is None:
        return {"type": "json_object"}
    schema: dict[str, object] = {"name": shape.name or "answer", "schema": _raw(shape.schema)}
    if shape.strict is not None:
        schema["strict"] = shape.strict
    return {"type": "json_schema", "json_schema": schema}


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())
