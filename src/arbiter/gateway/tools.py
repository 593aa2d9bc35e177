"""Tools and shapes as OpenAI's clients send them, checked field by field.

A JSON schema is kept as the text of it, in the order in which the client wrote its fields: engines
show it to the model, and some make the answer's fields come in that order. It is not looked into:
which schemas can be heeded is for each engine to say. How deep and how large it may be is bounded
with the rest of the body.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec

from arbiter.errors import InvalidField, Unsupported
from arbiter.inference import Shape, Tool, ToolCall, Tools

MAX_TOOLS = 512

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_PLAIN_CHOICES: Mapping[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
}


class WireFunction(msgspec.Struct, frozen=True):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters: dict[str, object] | None = None
    strict: bool | None = None


class WireTool(msgspec.Struct, frozen=True):
    """A tool; only functions are passed on."""

    type: str
    function: WireFunction | None = None


WireTools = Annotated[list[WireTool], msgspec.Meta(max_length=MAX_TOOLS)]


class NamedFunction(msgspec.Struct, frozen=True):
    """The function that must be called."""

    name: str


class WireChoice(msgspec.Struct, frozen=True):
    """Which tool must be called."""

    type: str
    function: NamedFunction | None = None


class WireSchema(msgspec.Struct, frozen=True):
    """A schema that the answer must fit."""

    name: str
    schema: dict[str, object] | None = None
    strict: bool | None = None


class WireFormat(msgspec.Struct, frozen=True):
    """The form of the answer. A schema beside ``json_object`` is llama.cpp's way to ask."""

    type: str
    json_schema: WireSchema | None = None
    schema: dict[str, object] | None = None


class CalledFunction(msgspec.Struct, frozen=True):
    """A function that the model called, with its arguments as it wrote them."""

    name: str
    arguments: str


class WireCall(msgspec.Struct, frozen=True):
    """A call that the model made in an earlier turn."""

    id: str
    type: str
    function: CalledFunction | None = None


def read_tools(
    tools: Sequence[WireTool] | None, choice: str | WireChoice | None, parallel: bool | None
) -> Tools | None:
    """The tools that are offered; None when there are none. Raises `InvalidField`."""
    if not tools:
        if choice in {None, "auto", "none"}:
            return None
        raise InvalidField("tool_choice needs tools.", param="tool_choice")
    offered: dict[str, Tool] = {}
    for index, tool in enumerate(tools):
        where = f"tools[{index}]"
        found = _tool(tool, where)
        if found.name in offered:
            raise InvalidField(
                f"Two tools are called {found.name}.", param=f"{where}.function.name"
            )
        offered[found.name] = found
    plain, named = _choice(choice, offered)
    return Tools(offered=tuple(offered.values()), choice=plain, named=named, parallel=parallel)


def _tool(tool: WireTool, where: str) -> Tool:
    function = tool.function
    if tool.type != "function":
        raise Unsupported(
            f"Tools of the type {tool.type!r:.40} are not supported here, only functions.",
            hint="Turn it off in your client, or offer a function of your own that does it.",
            param=f"{where}.type",
        )
    if function is None:
        raise InvalidField("A tool needs a function.", param=f"{where}.function")
    return Tool(
        name=read_name(function.name, f"{where}.function.name"),
        description=function.description,
        parameters=None if function.parameters is None else _text(function.parameters),
        strict=function.strict,
    )


def _choice(
    choice: str | WireChoice | None, offered: Mapping[str, Tool]
) -> tuple[Literal["auto", "none", "required"], str | None]:
    if choice is None:
        return "auto", None
    if isinstance(choice, str):
        plain = _PLAIN_CHOICES.get(choice)
        if plain is None:
            raise InvalidField(
                f"tool_choice is none, auto, required or a function, not {choice!r:.40}.",
                param="tool_choice",
            )
        return plain, None
    if choice.type != "function":
        raise Unsupported(
            f"A tool_choice of the type {choice.type!r:.40} is not supported here.",
            param="tool_choice.type",
        )
    if choice.function is None:
        raise InvalidField("This tool_choice needs a function.", param="tool_choice.function")
    name = choice.function.name
    if name not in offered:
        raise InvalidField(
            f"tool_choice names {name!r:.80}, which is none of the tools.",
            param="tool_choice.function.name",
        )
    return "required", name


def read_shape(wanted: WireFormat | None) -> Shape | None:
    """The form that the answer must have; None for plain text. Raises `InvalidField`."""
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return Shape(schema=None if wanted.schema is None else _text(wanted.schema))
    if wanted.type != "json_schema":
        raise Unsupported(
            f"A response_format of the type {wanted.type!r:.40} is not supported here; text, "
            "json_object and json_schema are.",
            param="response_format.type",
        )
    given = wanted.json_schema
    if given is None:
        raise InvalidField("json_schema is missing.", param="response_format.json_schema")
    if given.schema is None:
        raise InvalidField("The schema is missing.", param="response_format.json_schema.schema")
    return Shape(
        schema=_text(given.schema),
        name=read_name(given.name, "response_format.json_schema.name"),
        strict=given.strict,
    )


def read_calls(calls: Sequence[WireCall], where: str) -> tuple[ToolCall, ...]:
    """The calls of an earlier turn. Raises `InvalidField`."""
    found = []
    for index, call in enumerate(calls):
        here = f"{where}[{index}]"
        if call.type != "function":
            raise Unsupported(
                f"Calls of the type {call.type!r:.40} are not supported here.",
                param=f"{here}.type",
            )
        if call.function is None:
            raise InvalidField("A call needs a function.", param=f"{here}.function")
        if not call.id:
            raise InvalidField("A call needs an id.", param=f"{here}.id")
        name = read_name(call.function.name, f"{here}.function.name")
        # templates read them as JSON, which an empty text is not
        found.append(ToolCall(id=call.id, name=name, arguments=call.function.arguments or "{}"))
    return tuple(found)


def read_name(name: str, where: str) -> str:
    """The name of a function or a schema. Raises `InvalidField` for what is none."""
    if not _NAME.fullmatch(name):
        raise InvalidField(
            f"{name!r:.80} is not a name.",
            hint="Up to 64 letters of a-z, A-Z, 0-9, _ and -.",
            param=where,
        )
    return name


def _text(schema: Mapping[str, object]) -> str:
    return msgspec.json.encode(schema).decode()
