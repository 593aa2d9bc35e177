"""POST /v1/chat/completions: the request as it arrives, and what the house makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import structs

from arbiter.errors import InvalidField, Unsupported
from arbiter.gateway.chat_answer import ChatFrames, whole_chat
from arbiter.gateway.chat_answers import ManyChatFrames, whole_chats
from arbiter.gateway.exchange import Request, Writer, exchange
from arbiter.gateway.extras import header_extras
from arbiter.gateway.media import read_picture_url, read_sound
from arbiter.gateway.openai import (
    TokensOrAll,
    WritingRequest,
    beginning_of,
    conversation_of,
    read_request,
    read_sampling,
    read_whom,
    talk_of,
)
from arbiter.gateway.rooms import Rooms
from arbiter.gateway.security import Caller
from arbiter.gateway.several import MOST_ANSWERS, Several, again
from arbiter.gateway.tools import (
    WireCall,
    WireChoice,
    WireFormat,
    WireTools,
    read_calls,
    read_shape,
    read_tools,
)
from arbiter.inference import Ask, Chat, Effort, Media, Message, Role, ToolCall

UNSUPPORTED: Mapping[str, tuple[object, ...]] = {
    "audio": (None,),
    "function_call": (None, "none", "auto"),
    "functions": (None, []),
    "modalities": (None, ["text"]),
    "moderation": (None,),
    "prediction": (None,),
    "web_search_options": (None,),
}

_PARTLY = frozenset({"chat_template_kwargs"})
_SWITCHES = frozenset({"enable_thinking", "thinking"})

_Value = TypeVar("_Value")

MAX_MESSAGES = 4096
MOST_OTHERS = 20

WireEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


class ImageUrl(msgspec.Struct, frozen=True):
    """A picture, in a ``data:`` URL."""

    url: str


class InputAudio(msgspec.Struct, frozen=True):
    """A sound, in base64."""

    data: str
    format: str


class Part(msgspec.Struct, frozen=True):
    """A part of a message's content."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | None = None
    input_audio: InputAudio | None = None


class WireMessage(msgspec.Struct, frozen=True):
    """A message as it arrives."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    tool_calls: list[WireCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    function_call: object = None
    audio: object = None


class ChatRequest(WritingRequest, frozen=True, kw_only=True):
    """A chat completion request: the fields that mean something here."""

    messages: Annotated[list[WireMessage], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
    n: Annotated[int, msgspec.Meta(ge=1, le=MOST_ANSWERS)] | None = None
    max_completion_tokens: TokensOrAll | None = None
    tools: WireTools | None = None
    tool_choice: str | WireChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: WireFormat | None = None
    reasoning_effort: WireEffort | None = None
    chat_template_kwargs: dict[str, object] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=MOST_OTHERS)] | None = None

    @property
    def odds(self) -> int | None:
        """How many other tokens are to be told at each place; None: nothing of that kind is."""
        if self.top_logprobs and not self.logprobs:
            raise InvalidField("top_logprobs needs logprobs.", param="top_logprobs")
        return (self.top_logprobs or 0) if self.logprobs else None


async def chat_completions(request: Request, rooms: Rooms) -> None:
    """Answer a chat completion request."""
    chat = read_chat(request.body)
    ask = ask_of(chat, header_extras(request.head), request.caller)
    if chat.n is not None and chat.n > 1:
        await _several(request, rooms, chat, ask)
        return
    created = int(rooms.clock.now().timestamp())
    writer = Writer(
        whole=partial(whole_chat, model=chat.model, created=created),
        streamed=partial(
            ChatFrames, model=chat.model, created=created, with_usage=chat.wants_usage
        ),
    )
    await exchange(request, rooms, ask, writer)


async def _several(request: Request, rooms: Rooms, chat: ChatRequest, ask: Ask) -> None:
    """Answer a request that wants more than one answer."""
    created = int(rooms.clock.now().timestamp())
    asks = [structs.replace(ask, sampling=again(ask.sampling, time)) for time in range(chat.n or 1)]
    writer = Writer(
        whole=partial(whole_chats, model=chat.model, created=created),
        streamed=partial(
            ManyChatFrames, model=chat.model, created=created, with_usage=chat.wants_usage
        ),
    )
    all_ = Several(rooms.answer, asks, request.caller.allowance)
    await exchange(request, replace(rooms, answer=all_), ask, writer)


def read_chat(body: bytes) -> ChatRequest:
    """The request in a body. Raises `BadRequest` naming the field that cannot be served."""
    return read_request(body, ChatRequest, UNSUPPORTED, takes=_PARTLY)


def ask_of(request: ChatRequest, headers: Mapping[str, str], caller: Caller) -> Ask:
    """The request as the house understands it; what its headers say comes before its metadata."""
    target, task, extras = read_whom(request, headers)
    messages = _messages(request.messages)
    beginning = beginning_of(messages)
    tools = read_tools(request.tools, request.tool_choice, request.parallel_tool_calls)
    switched = _switched(request.chat_template_kwargs)
    return Ask(
        target=target,
        work=Chat(
            messages=messages,
            tools=tools,
            shape=read_shape(request.response_format),
            effort=effort_of(request.reasoning_effort) or switched,
        ),
        sampling=read_sampling(
            request,
            max_tokens=request.max_tokens
            if request.max_completion_tokens is None
            else request.max_completion_tokens,
            odds=request.odds,
        ),
        stream=bool(request.stream),
        task=task,
        limits=extras.limits,
        helper=extras.helper,
        conversation=conversation_of(request, extras, caller, beginning),
        talk=talk_of(request, extras, beginning),
        expected=extras.expected,
        load_options=request.load_options,
        caller=caller.id,
    )


def effort_of(wanted: WireEffort | None) -> Effort | None:
    """How much to think, in the house's words."""
    return "max" if wanted == "xhigh" else wanted


def _switched(kwargs: Mapping[str, object] | None) -> Effort | None:
    """Whether to think, as clients of vLLM and llama.cpp say it: by an argument of the template.

    No other argument goes through: what one does is known to the template alone.
    """
    effort: Effort | None = None
    for name, value in (kwargs or {}).items():
        if name not in _SWITCHES or not isinstance(value, bool):
            raise InvalidField(
                f"{name!r:.60} may not be set by a request.",
                hint="Of these only enable_thinking is taken: true or false.",
                param="chat_template_kwargs",
            )
        effort = "some" if value else "none"
    return effort


def _messages(messages: Sequence[WireMessage]) -> tuple[Message, ...]:
    found: list[Message] = []
    made: dict[str, ToolCall] = {}
    for index, wire in enumerate(messages):
        if wire.role == "tool":
            found.append(_result(wire, index, made))
            continue
        message = _message(wire, index)
        for call in message.calls:
            made[call.id] = call
        found.append(message)
    return tuple(found)


def _message(message: WireMessage, index: int) -> Message:
    if message.role == "tool" or message.role == "function":  # noqa: PLR1714  # narrows the type
        raise Unsupported(
            f"Messages of the role {message.role} are not supported here yet.",
            param=f"messages[{index}].role",
        )
    if message.function_call or message.audio:
        name = "function_call" if message.function_call else "audio"
        raise Unsupported(f"{name} is not supported here yet.", param=f"messages[{index}].{name}")
    role: Role = "system" if message.role == "developer" else message.role
    content, parts = _content(message, index)
    if content is None:
        if role != "assistant":
            raise InvalidField("A message needs content.", param=f"messages[{index}].content")
        content = ""
    thought = message.reasoning_content if role == "assistant" else None
    if not message.tool_calls:
        if not (parts or thought):
            return Message(role=role, content=content)
        return Message(role=role, content=content, parts=parts, thought=thought)
    where = f"messages[{index}].tool_calls"
    if role != "assistant":
        raise InvalidField("Only the assistant calls tools.", param=where)
    calls = read_calls(message.tool_calls, where)
    return Message(role=role, content=content, calls=calls, parts=parts, thought=thought)


def _result(message: WireMessage, index: int, made: Mapping[str, ToolCall]) -> Message:
    """What a tool gave back, for a call that was made before."""
    where = f"messages[{index}]"
    if not message.tool_call_id:
        raise InvalidField(
            "A message of the role tool needs the id of the call that it answers.",
            param=f"{where}.tool_call_id",
        )
    call = made.get(message.tool_call_id)
    if call is None:
        raise InvalidField(
            f"No assistant message before this one has a call {message.tool_call_id!r:.80}.",
            param=f"{where}.tool_call_id",
        )
    content, parts = _content(message, index)
    if content is None:
        raise InvalidField("A message needs content.", param=f"{where}.content")
    return Message(role="tool", content=content, answers=call.id, name=call.name, parts=parts)


def _content(message: WireMessage, index: int) -> tuple[str | None, tuple[str | Media, ...]]:
    """The text of a message, and its parts in their order where they are not all text."""
    content = message.content
    if not isinstance(content, list):
        return content, ()
    parts = [_part(part, f"messages[{index}].content[{n}]") for n, part in enumerate(content)]
    texts = [part for part in parts if isinstance(part, str)]
    return "\n".join(texts), () if len(texts) == len(parts) else tuple(parts)


def _part(part: Part, where: str) -> str | Media:
    match part.type:
        case "text":
            return _given(part.text, f"{where}.text")
        case "refusal":
            return _given(part.refusal, f"{where}.refusal")
        case "image_url":
            picture = _given(part.image_url, f"{where}.image_url")
            return read_picture_url(picture.url, f"{where}.image_url.url")
        case "input_audio":
            sound = _given(part.input_audio, f"{where}.input_audio")
            return read_sound(sound.data, sound.format, f"{where}.input_audio")
    raise Unsupported(
        f"Parts of the type {part.type!r:.40} are not supported here.", param=f"{where}.type"
    )


def _given(value: _Value | None, where: str) -> _Value:
    if value is None:
        raise InvalidField("This is missing.", param=where)
    return value
