"""Requests as Ollama understands them, and the options that it may be given.

Every field is named here: nothing that a client wrote passes by accident. Options for which
Ollama would load a model again are those of the version and of nobody else; they go with every
request in the same words, so that no request makes Ollama reload.

This module knows no HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, assert_never

import msgspec

from arbiter.errors import EngineRefused, LoadFailed
from arbiter.inference import (
    Chat,
    Completion,
    Effort,
    Embedding,
    Generation,
    Message,
    Sampling,
    Shape,
    ToolCall,
    Tools,
)

CHAT: Final = "/api/chat"
GENERATE: Final = "/api/generate"
EMBED: Final = "/api/embed"

_NUMBERS: Final = frozenset({"num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread"})
_SWITCHES: Final = frozenset({"use_mmap"})
_KEEP_ALIVE: Final = "keep_alive"
_SECONDS: Final = re.compile(r"-?\d{1,9}\Z")
_DURATION: Final = re.compile(r"-?(\d{1,9}(\.\d{1,9})?(ns|us|ms|s|m|h))+\Z")
_RANDOM_SEED: Final = 0xFFFFFFFF
"""llama.cpp, which runs below Ollama, takes this seed as a wish for a random one."""

Option = int | float | bool | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """The options of a version: they are the same in every request, or absent from every one.

    keep_alive: seconds, or a duration as Ollama writes it (``10m``); None leaves it to Ollama.
    """

    options: Mapping[str, Option] = field(default_factory=dict)
    keep_alive: int | str | None = None


def read_options(given: Mapping[str, str]) -> Pinned:
    """The options of a `LoadSpec`, read. Raises `LoadFailed` for one that there is not.

    >>> read_options({"num_ctx": "8192", "keep_alive": "-1"})
    Pinned(options={'num_ctx': 8192}, keep_alive=-1)
    """
    known = _NUMBERS | _SWITCHES | {_KEEP_ALIVE}
    unknown = sorted(given.keys() - known)
    if unknown:
        raise LoadFailed(
            f"ollama has no option {unknown[0]!r}.", hint=f"It has {', '.join(sorted(known))}."
        )
    keep_alive = given.get(_KEEP_ALIVE)
    return Pinned(
        options={name: _option(name, given[name]) for name in sorted(given.keys() - {_KEEP_ALIVE})},
        keep_alive=None if keep_alive is None else _keep_alive(keep_alive),
    )


def _option(name: str, text: str) -> Option:
    if name in _SWITCHES:
        if text not in {"true", "false"}:
            raise LoadFailed(f"{name} is true or false, not {text!r}.")
        return text == "true"
    if not _SECONDS.match(text):
        raise LoadFailed(f"{name} is a whole number, not {text!r}.")
    return int(text)


def _keep_alive(text: str) -> int | str:
    if _SECONDS.match(text):
        return int(text)
    if not _DURATION.match(text):
        raise LoadFailed(
            f"keep_alive is no duration: {text!r}.",
            hint="It is a number of seconds, or like 10m; -1 keeps a model for ever.",
        )
    return text


class _Function(msgspec.Struct, omit_defaults=True):
    name: str
    description: str | None = None
    parameters: msgspec.Raw | None = None


class _Tool(msgspec.Struct):
    function: _Function
    type: str = "function"


class _CalledFunction(msgspec.Struct):
    name: str
    arguments: msgspec.Raw


class _Call(msgspec.Struct):
    id: str
    function: _CalledFunction


class _Message(msgspec.Struct, omit_defaults=True):
    role: str
    content: str
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None


class _Request(msgspec.Struct, omit_defaults=True):
    """Every field that is ever sent. What is None stays with Ollama's own default.

    truncate and shift: False has Ollama refuse what does not fit; left alone, it answers from a
    prompt that it cut short, and says nothing of that.
    """

    model: str
    stream: bool | None = None
    messages: list[_Message] | None = None
    prompt: str | None = None
    suffix: str | None = None
    raw: bool | None = None
    input: tuple[str, ...] | None = None
    dimensions: int | None = None
    tools: list[_Tool] | None = None
    format: msgspec.Raw | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    truncate: bool | None = None
    shift: bool | None = None
    options: Mapping[str, Option] | None = None
    keep_alive: int | str | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def encode_generation(
    model: str, request: Generation, pinned: Pinned, *, thinks: bool = True
) -> tuple[str, bytes]:
    """Where a request goes, and its body. thinks: False for a model that is known not to think.

    Raises `EngineRefused` for what Ollama cannot be asked: a tool that must be called, and nothing
    to say, by which Ollama understands a wish to load the model.
    """
    work, options = request.work, {**pinned.options, **_sampling(request.sampling)}
    odds = request.sampling.odds
    if isinstance(work, Completion):
        return GENERATE, _encode(
            _Request(
                model=model,
                stream=request.stream,
                prompt=_prompt(work),
                suffix=work.suffix or None,
                # only the model's own template knows how a gap is written
                raw=None if work.suffix else True,
                logprobs=None if odds is None else True,
                top_logprobs=odds or None,
                truncate=False,
                shift=False,
                options=options or None,
                keep_alive=pinned.keep_alive,
            )
        )
    if not work.messages:
        raise EngineRefused("There is no message to answer.", param="messages")
    return CHAT, _encode(
        _Request(
            model=model,
            stream=request.stream,
            messages=_turns(work),
            tools=_tools(work.tools),
            format=None if work.shape is None else _format(work.shape),
            # Ollama refuses the wish for a model that does not think, and it is no more than a wish
            think=_think(work.effort) if thinks else None,
            logprobs=None if odds is None else True,
            top_logprobs=odds or None,
            truncate=False,
            shift=False,
            options=options or None,
            keep_alive=pinned.keep_alive,
        )
    )


def encode_embedding(model: str, request: Embedding, pinned: Pinned) -> bytes:
    """The body of an embedding request."""
    return _encode(
        _Request(
            model=model,
            input=request.inputs,
            dimensions=request.dimensions,
            truncate=False,
            options=pinned.options or None,
            keep_alive=pinned.keep_alive,
        )
    )


def encode_load(model: str, pinned: Pinned, *, only_embeds: bool) -> tuple[str, bytes]:
    """Where a request goes that only loads a model, and its body.

    only_embeds: such a model has no answer to an empty prompt, but one to no input at all.
    """
    options, keep_alive = pinned.options or None, pinned.keep_alive
    if only_embeds:
        body = _Request(model=model, input=(), options=options, keep_alive=keep_alive)
        return EMBED, _encode(body)
    body = _Request(model=model, stream=False, options=options, keep_alive=keep_alive)
    return GENERATE, _encode(body)


def encode_unload(model: str) -> tuple[str, bytes]:
    """Where a request goes that only unloads a model, and its body; of any kind of model."""
    return GENERATE, _encode(_Request(model=model, stream=False, keep_alive=0))


def _prompt(work: Completion) -> str:
    if not work.prompt:
        raise EngineRefused(
            "Ollama takes an empty prompt for a wish to load the model.",
            hint="Send at least one character.",
            param="prompt",
        )
    return work.prompt


def _sampling(how: Sampling) -> dict[str, Option]:
    if how.bias:
        raise EngineRefused(
            "Ollama cannot be told to prefer tokens.",
            hint="Leave logit_bias out, or ask a model that another engine runs.",
            param="logit_bias",
        )
    seed = how.seed
    if seed is not None:
        seed &= 0xFFFFFFFF
        seed -= seed == _RANDOM_SEED
    told: dict[str, Option | None] = {
        "temperature": how.temperature,
        "top_p": how.top_p,
        "top_k": how.top_k,
        "min_p": how.min_p,
        "seed": seed,
        "num_predict": how.max_tokens,
        "stop": how.stop or None,
        "repeat_penalty": how.repeat_penalty,
        "repeat_last_n": how.repeat_last_n,
        "typical_p": how.typical_p,
        "presence_penalty": how.presence_penalty,
        "frequency_penalty": how.frequency_penalty,
    }
    return {name: value for name, value in told.items() if value is not None}


def _turns(work: Chat) -> list[_Message]:
    names: dict[str, str] = {}
    found = []
    for message in work.messages:
        names.update((call.id, call.name) for call in message.calls)
        found.append(_turn(message, names))
    return found


def _turn(message: Message, names: Mapping[str, str]) -> _Message:
    name = message.name
    if name is None and message.answers is not None:
        # templates write a result beside the name of its tool, which OpenAI's clients leave out
        name = names.get(message.answers)
    return _Message(
        role=message.role,
        content=message.content,
        thinking=message.thought or None,
        images=_images(message) if message.parts else None,
        tool_calls=[_call(call) for call in message.calls] or None,
        tool_call_id=message.answers,
        tool_name=name,
    )


def _think(effort: Effort | None) -> bool | str | None:
    match effort:
        case None | "low" | "medium" | "high" | "max":
            return effort
        case "none" | "some":
            return effort == "some"
        case "minimal":
            return "low"
        case _:
            assert_never(effort)


def _images(message: Message) -> list[str]:
    media = message.media
    if any(one.kind != "image" for one in media):
        raise EngineRefused(
            "Ollama takes pictures, and no sounds.",
            hint="Ask a model that another engine runs.",
            param="messages",
        )
    return [one.data for one in media]


def _call(call: ToolCall) -> _Call:
    try:
        arguments = _decode(call.arguments or "{}")
    except msgspec.DecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        raise EngineRefused(
            f"Ollama takes the arguments of a call as a JSON object, and those of {call.name!r} "
            "in this conversation are none.",
            param="messages",
        )
    return _Call(
        id=call.id,
        function=_CalledFunction(name=call.name, arguments=msgspec.Raw(_encode(arguments))),
    )


def _tools(tools: Tools | None) -> list[_Tool] | None:
    if tools is None or tools.choice == "none":
        return None
    if tools.choice == "required" or tools.named is not None:
        raise EngineRefused(
            "Ollama cannot be made to call a tool; its models choose for themselves.",
            hint="Leave tool_choice out, or ask a model that another engine runs.",
            param="tool_choice",
        )
    return [
        _Tool(
            function=_Function(
                name=tool.name,
                description=tool.description,
                parameters=None if tool.parameters is None else _raw(tool.parameters),
            )
        )
        for tool in tools.offered
    ] or None


def _format(shape: Shape) -> msgspec.Raw:
    return _raw('"json"' if shape.schema is None else shape.schema)


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())
