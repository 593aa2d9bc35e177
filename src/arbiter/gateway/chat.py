"""POST /v1/chat/completions: the request as it arrives, and what the house makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Literal

import msgspec

from arbiter.errors import InvalidField, Unsupported
from arbiter.gateway.chat_answer import ChatFrames, whole_chat
from arbiter.gateway.exchange import Request, Writer, exchange
from arbiter.gateway.extras import header_extras
from arbiter.gateway.openai import (
    Tokens,
    WritingRequest,
    conversation_of,
    read_request,
    read_sampling,
    read_whom,
    talk_of,
)
from arbiter.gateway.rooms import Rooms
from arbiter.gateway.security import Caller
from arbiter.gateway.tools import (
    WireCall,
    WireChoice,
    WireFormat,
    WireTools,
    read_calls,
    read_shape,
    read_tools,
)
from arbiter.inference import Ask, Chat, Message, Role, ToolCall

UNSUPPORTED: Mapping[str, tuple[object, ...]] = {
    "audio": (None,),
    "function_call": (None, "none", "auto"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "modalities": (None, ["text"]),
    "n": (None, 1),
    "prediction": (None,),
    "reasoning_effort": (None,),
    "top_logprobs": (None, 0),
    "verbosity": (None,),
    "web_search_options": (None,),
}

_UNSUPPORTED_IN_MESSAGES = ("function_call", "audio")

MAX_MESSAGES = 4096


class Part(msgspec.Struct, frozen=True):
    """A part of a message's content; only text is passed on."""

    type: str
    text: str | None = None


class WireMessage(msgspec.Struct, frozen=True):
    """A message as it arrives."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    tool_calls: list[WireCall] | None = None
    tool_call_id: str | None = None
    function_call: object = None
    audio: object = None


class ChatRequest(WritingRequest, frozen=True, kw_only=True):
    """A chat completion request: the fields that mean something here."""

    messages: Annotated[list[WireMessage], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Tokens | None = None
    tools: WireTools | None = None
    tool_choice: str | WireChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: WireFormat | None = None


async def chat_completions(request: Request, rooms: Rooms) -> None:
    """Answer a chat completion request."""
    chat = read_chat(request.body)
    ask = ask_of(chat, header_extras(request.head), request.caller)
    created = int(rooms.clock.now().timestamp())
    writer = Writer(
        whole=partial(whole_chat, model=chat.model, created=created),
        streamed=partial(
            ChatFrames, model=chat.model, created=created, with_usage=chat.wants_usage
        ),
    )
    await exchange(request, rooms, ask, writer)


def read_chat(body: bytes) -> ChatRequest:
    """The request in a body. Raises `BadRequest` naming the field that cannot be served."""
    return read_request(body, ChatRequest, UNSUPPORTED)


def ask_of(request: ChatRequest, headers: Mapping[str, str], caller: Caller) -> Ask:
    """The request as the house understands it; what its headers say comes before its metadata."""
    target, task, extras = read_whom(request, headers)
    messages = _messages(request.messages)
    beginning = _beginning(messages)
    tools = read_tools(request.tools, request.tool_choice, request.parallel_tool_calls)
    return Ask(
        target=target,
        work=Chat(messages=messages, tools=tools, shape=read_shape(request.response_format)),
        sampling=read_sampling(
            request, max_tokens=request.max_completion_tokens or request.max_tokens
        ),
        stream=bool(request.stream),
        task=task,
        limits=extras.limits,
        conversation=conversation_of(request, extras, caller, beginning),
        talk=talk_of(request, extras, beginning),
        expected=extras.expected,
        load_options=request.load_options,
        caller=caller.id,
    )


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
    for name in _UNSUPPORTED_IN_MESSAGES:
        if getattr(message, name):
            raise Unsupported(
                f"{name} is not supported here yet.", param=f"messages[{index}].{name}"
            )
    role: Role = "system" if message.role == "developer" else message.role
    content = _content(message, index)
    if content is None:
        if role != "assistant":
            raise InvalidField("A message needs content.", param=f"messages[{index}].content")
        content = ""
    if not message.tool_calls:
        return Message(role=role, content=content)
    where = f"messages[{index}].tool_calls"
    if role != "assistant":
        raise InvalidField("Only the assistant calls tools.", param=where)
    return Message(role=role, content=content, calls=read_calls(message.tool_calls, where))


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
    content = _content(message, index)
    if content is None:
        raise InvalidField("A message needs content.", param=f"{where}.content")
    return Message(role="tool", content=content, answers=call.id, name=call.name)


def _content(message: WireMessage, index: int) -> str | None:
    content = message.content
    if isinstance(content, list):
        return "\n".join([_text(part, index, place) for place, part in enumerate(content)])
    return content


def _text(part: Part, index: int, place: int) -> str:
    where = f"messages[{index}].content[{place}]"
    if part.type != "text":
        raise Unsupported(
            f"This door passes text only for now, not {part.type!r:.40}.", param=f"{where}.type"
        )
    if part.text is None:
        raise InvalidField("A part of type text needs a text.", param=f"{where}.text")
    return part.text


def _beginning(messages: Sequence[Message]) -> tuple[str, ...]:
    """How a conversation began: it stays the same in its later turns."""
    system = [message.content for message in messages if message.role == "system"]
    first = [message.content for message in messages if message.role == "user"][:1]
    return (*system, "\0", *first)
