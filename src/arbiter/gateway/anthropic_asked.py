"""What Anthropic's clients ask for, as it arrives, and what the house makes of it.

A turn there is a list of blocks. Results of tools come in a user's turn beside its text; here each
is a message of its own, before the text. What asks for something to be fetched, or to be run where
the model is, is refused. Hints about caching, editing of old turns, tiers and places are ignored:
they change what a request costs there, not what it means.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal

import msgspec

from arbiter.errors import InvalidField, Unsupported
from arbiter.gateway.media import read_picture
from arbiter.gateway.openai import (
    AnyRequest,
    Probability,
    Tokens,
    TopK,
    beginning_of,
    conversation_of,
    read_request,
    read_whom,
    talk_of,
)
from arbiter.gateway.security import Caller
from arbiter.gateway.tools import MAX_TOOLS
from arbiter.inference import (
    Ask,
    Chat,
    Effort,
    Media,
    Message,
    Sampling,
    Shape,
    Tool,
    ToolCall,
    Tools,
)

MAX_MESSAGES: Final = 100_000
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_EFFORTS: Final[Mapping[str, Effort]] = {
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
}
_REFUSED: Final[Mapping[str, tuple[object, ...]]] = {
    "container": (None,),
    "mcp_servers": (None, []),
}


class Source(msgspec.Struct, frozen=True):
    """Where a picture or a document is."""

    type: str
    data: str | None = None
    media_type: str | None = None


class Block(msgspec.Struct, frozen=True):
    """A block of a turn: each kind has fields of its own."""

    type: str
    text: str | None = None
    source: Source | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, object] | None = None
    tool_use_id: str | None = None
    content: str | list[Block] | None = None
    is_error: bool | None = None
    thinking: str | None = None


Content = str | list[Block]


class Turn(msgspec.Struct, frozen=True):
    """A turn as it arrives."""

    role: Literal["user", "assistant", "system"]
    content: Content


class Offered(msgspec.Struct, frozen=True):
    """A tool. Those of a type of their own run where the model is, and there are none here."""

    name: str
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, object] | None = None
    strict: bool | None = None


class Choice(msgspec.Struct, frozen=True):
    """Whether a tool must be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct, frozen=True):
    """Whether the model is to think before it answers. A budget of tokens is not heeded."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]


class Format(msgspec.Struct, frozen=True):
    """The form of the answer."""

    type: Literal["json_schema"]
    schema: dict[str, object]


class OutputConfig(msgspec.Struct, frozen=True):
    """More about the answer."""

    effort: str | None = None
    format: Format | None = None


class CountRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says of the prompt: enough to count its tokens."""

    model: str
    messages: Annotated[list[Turn], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
    system: Content | None = None
    tools: Annotated[list[Offered], msgspec.Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: Choice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: Format | None = None
    metadata: dict[str, str | None] | None = None


class MessagesRequest(CountRequest, frozen=True, kw_only=True):
    """A request for the next turn."""

    max_tokens: Tokens
    stop_sequences: Annotated[list[str], msgspec.Meta(max_length=16)] | None = None
    stream: bool | None = None
    temperature: Probability | None = None
    top_p: Probability | None = None
    top_k: TopK | None = None


def read_messages(body: bytes) -> MessagesRequest:
    """A request of ``/v1/messages``. Raises `BadRequest` naming the field."""
    return read_request(body, MessagesRequest, _REFUSED)


def read_count(body: bytes) -> CountRequest:
    """A request of ``/v1/messages/count_tokens``. Raises `BadRequest` naming the field."""
    return read_request(body, CountRequest, _REFUSED)


def ask_of(asked: CountRequest, headers: Mapping[str, str], caller: Caller) -> Ask:
    """The request as the house understands it. Raises `InvalidField`, `Unsupported`.

    One that is only to be counted leaves no record, and no rollout sees it.
    """
    said = {name: value for name, value in (asked.metadata or {}).items() if value is not None}
    whom = AnyRequest(model=asked.model, user=said.pop("user_id", None), metadata=said)
    target, task, extras = read_whom(whom, headers)
    messages = (*_system(asked.system), *_turns(asked.messages))
    beginning = beginning_of(messages)
    is_written = isinstance(asked, MessagesRequest)
    return Ask(
        target=target,
        work=Chat(
            messages=messages,
            tools=_tools(asked.tools or (), asked.tool_choice),
            shape=_shape(asked),
            effort=_effort(asked),
        ),
        sampling=_sampling(asked) if isinstance(asked, MessagesRequest) else Sampling(),
        stream=isinstance(asked, MessagesRequest) and bool(asked.stream),
        task=task,
        limits=extras.limits,
        helper=extras.helper,
        conversation=conversation_of(whom, extras, caller, beginning),
        talk=talk_of(whom, extras, beginning),
        expected=extras.expected if is_written else None,
        caller=caller.id,
        rehearsal=not is_written,
        counts=not is_written,
    )


def _sampling(asked: MessagesRequest) -> Sampling:
    return Sampling(
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=0 if asked.top_k == -1 else asked.top_k,
        max_tokens=asked.max_tokens,
        stop=tuple([text for text in asked.stop_sequences or () if text]),
    )


def _effort(asked: CountRequest) -> Effort | None:
    wanted = None if asked.output_config is None else asked.output_config.effort
    if wanted is not None and wanted not in _EFFORTS:
        raise InvalidField(
            f"effort is one of {', '.join(_EFFORTS)}, not {wanted!r:.40}.",
            param="output_config.effort",
        )
    thinking = asked.thinking
    if thinking is not None and thinking.type == "disabled":
        return "none"
    if wanted is not None:
        return _EFFORTS[wanted]
    return None if thinking is None else "some"


def _shape(asked: CountRequest) -> Shape | None:
    wanted = asked.output_format
    if asked.output_config is not None and asked.output_config.format is not None:
        wanted = asked.output_config.format
    return None if wanted is None else Shape(schema=_text(wanted.schema))


def _tools(offered: Sequence[Offered], choice: Choice | None) -> Tools | None:
    if not offered:
        if choice is None or choice.type in {"auto", "none"}:
            return None
        raise InvalidField("tool_choice needs tools.", param="tool_choice")
    tools: dict[str, Tool] = {}
    for index, one in enumerate(offered):
        where = f"tools[{index}]"
        if one.type not in {None, "custom"}:
            raise Unsupported(
                f"Tools of the type {one.type!r:.60} run where the model is; there are none here.",
                hint="Offer it as a tool of your own, with an input_schema.",
                param=f"{where}.type",
            )
        if not _NAME.fullmatch(one.name):
            raise InvalidField(f"{one.name!r:.80} is not a name.", param=f"{where}.name")
        if one.name in tools:
            raise InvalidField(f"Two tools are called {one.name}.", param=f"{where}.name")
        tools[one.name] = Tool(
            name=one.name,
            description=one.description,
            parameters=None if one.input_schema is None else _text(one.input_schema),
            strict=one.strict,
        )
    plain, named = _choice(choice, tools)
    parallel = False if choice is not None and choice.disable_parallel_tool_use else None
    return Tools(offered=tuple(tools.values()), choice=plain, named=named, parallel=parallel)


def _choice(
    choice: Choice | None, tools: Mapping[str, Tool]
) -> tuple[Literal["auto", "none", "required"], str | None]:
    match "auto" if choice is None else choice.type:
        case "any":
            return "required", None
        case "none":
            return "none", None
        case "tool" if choice is not None:
            if choice.name not in tools:
                raise InvalidField(
                    f"tool_choice names {choice.name!r:.80}, which is none of the tools.",
                    param="tool_choice.name",
                )
            return "required", choice.name
    return "auto", None


def _system(content: Content | None) -> tuple[Message, ...]:
    if not content:
        return ()
    text = content if isinstance(content, str) else _said(content, "system")
    return (Message(role="system", content=text),)


def _turns(turns: Sequence[Turn]) -> tuple[Message, ...]:
    found: list[Message] = []
    called: dict[str, str] = {}
    for index, turn in enumerate(turns):
        where = f"messages[{index}].content"
        if isinstance(turn.content, str):
            found.append(Message(role=turn.role, content=turn.content))
        elif turn.role == "assistant":
            message = _assistant(turn.content, where)
            called.update((call.id, call.name) for call in message.calls)
            found.append(message)
        else:
            found += _user(turn.role, turn.content, where, called)
    return tuple(found)


def _assistant(blocks: Sequence[Block], where: str) -> Message:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    for place, block in enumerate(blocks):
        here = f"{where}[{place}]"
        match block.type:
            case "text":
                texts.append(_needed(block.text, f"{here}.text"))
            case "thinking":
                thoughts.append(_needed(block.thinking, f"{here}.thinking"))
            case "redacted_thinking":
                continue  # another's secret: no model here could read it
            case "tool_use":
                name = _needed(block.name, f"{here}.name")
                if not _NAME.fullmatch(name):
                    raise InvalidField(f"{name!r:.80} is not a name.", param=f"{here}.name")
                calls.append(
                    ToolCall(
                        id=_needed(block.id, f"{here}.id"),
                        name=name,
                        arguments=_text(block.input or {}),
                    )
                )
            case _:
                raise _unknown(block, here)
    return Message(
        role="assistant",
        content="\n".join(texts),
        calls=tuple(calls),
        thought="\n".join(thoughts) or None,
    )


def _user(
    role: Literal["user", "system"],
    blocks: Sequence[Block],
    where: str,
    called: Mapping[str, str],
) -> list[Message]:
    """The results of tools in a turn, each for itself, then whatever else it says."""
    results: list[Message] = []
    others: list[tuple[str, Block]] = []
    for place, block in enumerate(blocks):
        here = f"{where}[{place}]"
        if block.type == "tool_result":
            results.append(_result(block, here, called))
        else:
            others.append((here, block))
    if not others:
        if not results:
            raise InvalidField("A turn needs content.", param=where)
        return results
    return [*results, _message(role, others)]


def _result(block: Block, here: str, called: Mapping[str, str]) -> Message:
    call = _needed(block.tool_use_id, f"{here}.tool_use_id")
    if call not in called:
        raise InvalidField(
            f"No assistant turn before this one has a tool_use {call!r:.80}.",
            param=f"{here}.tool_use_id",
        )
    inner = block.content or ""
    if isinstance(inner, str):
        message = Message(role="tool", content=inner)
    else:
        message = _message("tool", [(f"{here}.content[{n}]", b) for n, b in enumerate(inner)])
    return msgspec.structs.replace(message, answers=call, name=called[call])


def _message(
    role: Literal["user", "system", "tool"], blocks: Sequence[tuple[str, Block]]
) -> Message:
    parts = [_part(block, here) for here, block in blocks]
    texts = [part for part in parts if isinstance(part, str)]
    is_plain = len(texts) == len(parts)
    return Message(role=role, content="\n".join(texts), parts=() if is_plain else tuple(parts))


def _part(block: Block, here: str) -> str | Media:
    if block.type == "text":
        return _needed(block.text, f"{here}.text")
    source = block.source
    if block.type == "document" and source is not None and source.type == "text":
        return _needed(source.data, f"{here}.source.data")
    if block.type != "image":
        raise _unknown(block, here)
    if source is None or source.type != "base64":
        kind = "none" if source is None else source.type
        raise Unsupported(
            f"A picture's source is base64 here, not {kind!r:.40}: nothing is fetched here.",
            param=f"{here}.source",
        )
    form = (source.media_type or "").removeprefix("image/") or None
    return read_picture(_needed(source.data, f"{here}.source.data"), f"{here}.source", form=form)


def _said(blocks: Sequence[Block], where: str) -> str:
    """The text of blocks that can be nothing else."""
    for place, block in enumerate(blocks):
        if block.type != "text":
            raise _unknown(block, f"{where}[{place}]")
    return "\n".join([_needed(b.text, f"{where}[{n}].text") for n, b in enumerate(blocks)])


def _needed(value: str | None, where: str) -> str:
    if value is None:
        raise InvalidField("This is missing.", param=where)
    return value


def _unknown(block: Block, here: str) -> Unsupported:
    return Unsupported(
        f"A block of the type {block.type!r:.40} is not supported here.", param=f"{here}.type"
    )


def _text(schema: Mapping[str, object]) -> str:
    return msgspec.json.encode(schema).decode()
