"""What clients of OpenAI's responses ask for, as it arrives, and what the house makes of it.

A conversation there is a list of items: messages, what was thought, calls and their results. Here
what an assistant thinks, says and calls in one go is one message, as chat templates want it.
Nothing is stored, so there is nothing to refer to: an earlier response is sent again, as clients do
with ``store`` false.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Annotated, Final, Literal

import msgspec
from msgspec.structs import replace

from arbiter.errors import InvalidField, Unsupported
from arbiter.gateway.chat import MOST_OTHERS, WireEffort, effort_of
from arbiter.gateway.media import read_picture_url
from arbiter.gateway.openai import (
    AnyRequest,
    Probability,
    Temperature,
    Tokens,
    beginning_of,
    conversation_of,
    read_request,
    read_whom,
    talk_of,
)
from arbiter.gateway.security import Caller
from arbiter.gateway.tools import (
    MAX_TOOLS,
    NamedFunction,
    WireChoice,
    WireFormat,
    WireFunction,
    WireSchema,
    WireTool,
    read_name,
    read_shape,
    read_tools,
)
from arbiter.inference import Ask, Chat, Media, Message, Role, Sampling, Shape, ToolCall, Tools

MAX_ITEMS: Final = 8192
_TOOL: Final = re.compile(r"tools\[(\d+)\]")
_LOGPROBS: Final = "message.output_text.logprobs"
_TEXTS: Final = frozenset({"input_text", "output_text", "text"})
_REFUSED: Final[Mapping[str, tuple[object, ...]]] = {
    "previous_response_id": (None,),
    "conversation": (None,),
    "prompt": (None,),
    "background": (None, False),
    "image": (None,),
    "moderation": (None,),
}


_NOT_OURS: Final = frozenset(
    {
        "apply_patch",
        "code_interpreter",
        "computer",
        "computer_use_preview",
        "custom",
        "file_search",
        "image_generation",
        "local_shell",
        "mcp",
        "namespace",
        "shell",
        "tool_search",
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
    }
)
"""Kinds of tools that OpenAI runs itself or that only its own models can call.

Agents send them with every request, whatever the model (Codex `web_search` and `namespace`), and a
model may do without. To refuse them kept such agents from llama.cpp's server, until it left them
out (ggml-org/llama.cpp issue 20156). A kind that nobody knows is refused.
"""


class Part(msgspec.Struct, frozen=True):
    """A part of a message, of a result or of a thought."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None


class Item(msgspec.Struct, frozen=True):
    """An item as it arrives: each kind has fields of its own."""

    type: str | None = None
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | list[Part] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[Part] | None = None
    summary: list[Part] | None = None


class Offered(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool; only functions are passed on, and `_NOT_OURS` left out."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, object] | None = None
    strict: bool | None = None


class Choice(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which tool must be called."""

    type: str
    name: str | None = None


class Format(msgspec.Struct, frozen=True, omit_defaults=True):
    """The form of the answer."""

    type: str
    name: str | None = None
    schema: dict[str, object] | None = None
    strict: bool | None = None


class Text(msgspec.Struct, frozen=True):
    """How the text of the answer is to be."""

    format: Format | None = None


class Reasoning(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much to think. A summary is not made: what was thought comes as it was thought."""

    effort: WireEffort | None = None


class ResponsesRequest(AnyRequest, frozen=True, kw_only=True):
    """A request: the fields that mean something here."""

    input: str | Annotated[list[Item], msgspec.Meta(min_length=1, max_length=MAX_ITEMS)]
    instructions: str | None = None
    max_output_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: Probability | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=MOST_OTHERS)] | None = None
    include: list[str] | None = None
    tools: Annotated[list[Offered], msgspec.Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: str | Choice | None = None
    parallel_tool_calls: bool | None = None
    text: Text | None = None
    reasoning: Reasoning | None = None
    stream: bool | None = None


def read_responses(body: bytes) -> ResponsesRequest:
    """The request in a body. Raises `BadRequest` naming the field that cannot be served."""
    return read_request(body, ResponsesRequest, _REFUSED)


def ask_of(asked: ResponsesRequest, headers: Mapping[str, str], caller: Caller) -> Ask:
    """The request as the house understands it. Raises `InvalidField`, `Unsupported`."""
    target, task, extras = read_whom(asked, headers)
    messages = _messages(asked)
    beginning = beginning_of(messages)
    wants_odds = asked.top_logprobs is not None or _LOGPROBS in (asked.include or ())
    return Ask(
        target=target,
        work=Chat(
            messages=messages,
            tools=_tools(asked),
            shape=_shape(asked),
            effort=effort_of(None if asked.reasoning is None else asked.reasoning.effort),
        ),
        sampling=Sampling(
            temperature=asked.temperature,
            top_p=asked.top_p,
            max_tokens=asked.max_output_tokens,
            odds=(asked.top_logprobs or 0) if wants_odds else None,
        ),
        stream=bool(asked.stream),
        task=task,
        limits=extras.limits,
        helper=extras.helper,
        conversation=conversation_of(asked, extras, caller, beginning),
        talk=talk_of(asked, extras, beginning),
        expected=extras.expected,
        caller=caller.id,
    )


def passed_on(asked: ResponsesRequest) -> list[Offered]:
    """The tools that the model is offered: those that it is not are left out of them."""
    return [one for one in asked.tools or () if one.type not in _NOT_OURS]


def _tools(asked: ResponsesRequest) -> Tools | None:
    kept = passed_on(asked)
    offered = [
        WireTool(
            type=one.type,
            function=None
            if one.name is None
            else WireFunction(
                name=one.name,
                description=one.description,
                parameters=one.parameters,
                strict=one.strict,
            ),
        )
        for one in kept
    ]
    try:
        return read_tools(offered, _choice(asked.tool_choice), asked.parallel_tool_calls)
    except InvalidField as error:
        error.param = None if error.param is None else _as_sent(error.param, asked)
        raise


def _as_sent(param: str, asked: ResponsesRequest) -> str:
    """The field as the client has it: counted with all tools, fields beside a tool's type."""
    places = [at for at, one in enumerate(asked.tools or ()) if one.type not in _NOT_OURS]
    found = _TOOL.match(param)
    if found is not None:
        param = f"tools[{places[int(found[1])]}]{param[found.end() :]}"
    return param.replace(".function", "")


def _choice(choice: str | Choice | None) -> str | WireChoice | None:
    if not isinstance(choice, Choice):
        return choice
    named = None if choice.name is None else NamedFunction(name=choice.name)
    return WireChoice(type=choice.type, function=named)


def _shape(asked: ResponsesRequest) -> Shape | None:
    wanted = None if asked.text is None else asked.text.format
    if wanted is None:
        return None
    schema = None
    if wanted.type == "json_schema":
        name = wanted.name or "answer"
        schema = WireSchema(name=name, schema=wanted.schema, strict=wanted.strict)
    try:
        return read_shape(WireFormat(type=wanted.type, json_schema=schema))
    except InvalidField as error:
        error.param = "text.format"
        raise


def _messages(asked: ResponsesRequest) -> tuple[Message, ...]:
    found: list[Message] = []
    if asked.instructions:
        found.append(Message(role="system", content=asked.instructions))
    if isinstance(asked.input, str):
        return (*found, Message(role="user", content=asked.input))
    called: dict[str, str] = {}
    is_open = False
    for index, item in enumerate(asked.input):
        where = f"input[{index}]"
        message = _message(item, where, called)
        # a message, and whatever was thought before it and called after it, are one turn
        joins = is_open and message.role == "assistant" and _joins(found[-1], message)
        if joins:
            found[-1] = _joined(found[-1], message)
        else:
            found.append(message)
        is_open = message.role == "assistant"
    return _begun_once(found) if asked.instructions else tuple(found)


def _begun_once(messages: Sequence[Message]) -> tuple[Message, ...]:
    """With the instructions and what a developer says right after them in one message.

    This API has two places for them, and many chat templates refuse a second system message.
    """
    first = [*takewhile(lambda one: one.role == "system" and not one.parts, messages)]
    content = "\n\n".join([one.content for one in first])
    return (Message(role="system", content=content), *messages[len(first) :])


def _message(item: Item, where: str, called: dict[str, str]) -> Message:
    match item.type or "message":
        case "message":
            return _said(item, where)
        case "reasoning":
            given = item.content if isinstance(item.content, list) else None
            texts = [_given(p.text, f"{where}.content") for p in given or item.summary or ()]
            return Message(role="assistant", content="", thought="\n".join(texts) or None)
        case "function_call":
            call = ToolCall(
                id=_given(item.call_id, f"{where}.call_id"),
                name=read_name(_given(item.name, f"{where}.name"), f"{where}.name"),
                arguments=item.arguments or "{}",
            )
            called[call.id] = call.name
            return Message(role="assistant", content="", calls=(call,))
        case "function_call_output":
            call_id = _given(item.call_id, f"{where}.call_id")
            if call_id not in called:
                raise InvalidField(
                    f"No function_call before this one has the call_id {call_id!r:.80}.",
                    param=f"{where}.call_id",
                )
            text, parts = _parts(item.output, f"{where}.output")
            return Message(
                role="tool", content=text, answers=call_id, name=called[call_id], parts=parts
            )
    raise Unsupported(
        f"Items of the type {item.type!r:.40} are not supported here.", param=f"{where}.type"
    )


def _said(item: Item, where: str) -> Message:
    if item.role is None:
        raise InvalidField("This is missing.", param=f"{where}.role")
    role: Role = "system" if item.role == "developer" else item.role
    text, parts = _parts(item.content, f"{where}.content")
    return Message(role=role, content=text, parts=parts)


def _parts(content: str | Sequence[Part] | None, where: str) -> tuple[str, tuple[str | Media, ...]]:
    if content is None:
        raise InvalidField("This is missing.", param=where)
    if isinstance(content, str):
        return content, ()
    parts = [_part(part, f"{where}[{place}]") for place, part in enumerate(content)]
    texts = [part for part in parts if isinstance(part, str)]
    return "\n".join(texts), () if len(texts) == len(parts) else tuple(parts)


def _part(part: Part, where: str) -> str | Media:
    if part.type in _TEXTS:
        return _given(part.text, f"{where}.text")
    if part.type == "refusal":
        return _given(part.refusal, f"{where}.refusal")
    if part.type == "input_image":
        url = _given(part.image_url, f"{where}.image_url")
        return read_picture_url(url, f"{where}.image_url")
    raise Unsupported(
        f"Parts of the type {part.type!r:.40} are not supported here.", param=f"{where}.type"
    )


def _joins(one: Message, other: Message) -> bool:
    """Whether two parts of what an assistant did belong to one turn of it."""
    if other.calls:
        return True
    is_thought_only = bool(one.thought) and not (one.content or one.calls or one.parts)
    return is_thought_only and not other.thought


def _joined(one: Message, other: Message) -> Message:
    return replace(
        one,
        content=one.content or other.content,
        parts=one.parts or other.parts,
        calls=(*one.calls, *other.calls),
    )


def _given(value: str | None, where: str) -> str:
    if value is None:
        raise InvalidField("This is missing.", param=where)
    return value
