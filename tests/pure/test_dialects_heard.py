"""The two dialects that no engine of the house writes: whatever is said in them is understood.

They are written here as their clients write them, so that a conversation goes there and back too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pure.dialects_drawn import PICTURE, SAID, conversations, tool_sets

from arbiter.gateway import anthropic_asked, responses_asked
from arbiter.gateway.security import LOCAL
from arbiter.inference import Chat, Message, Sampling, Tool, Tools

Plain = dict[str, object]
CHATS = st.builds(
    Chat, messages=conversations((PICTURE,)), tools=tool_sets(chooses=True), shape=st.none()
)
STOPS = st.lists(SAID, max_size=3).map(tuple)


def compact(told: object) -> bytes:
    """As the house keeps it: a schema is told in the words in which it was written."""
    return json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()


# Anthropic's


def blocks(message: Message) -> Iterator[Plain]:
    """What a turn of a user says."""
    for part in message.parts or (message.content,):
        if isinstance(part, str):
            yield {"type": "text", "text": part}
        else:
            media = f"{part.kind}/{part.format}"
            source = {"type": "base64", "media_type": media, "data": part.data}
            yield {"type": "image", "source": source}


def anthropic_turn(message: Message) -> Plain:
    content: list[Plain] = []
    match message.role:
        case "assistant":
            if message.thought is not None:
                content.append({"type": "thinking", "thinking": message.thought, "signature": ""})
            if message.content:
                content.append({"type": "text", "text": message.content})
            content += [
                {"type": "tool_use", "id": x.id, "name": x.name, "input": json.loads(x.arguments)}
                for x in message.calls
            ]
            return {"role": "assistant", "content": content}
        case "tool":
            told = {"tool_use_id": message.answers, "content": message.content}
            return {"role": "user", "content": [{"type": "tool_result", **told}]}
    return {"role": "user", "content": list(blocks(message))}


def anthropic_tools(tools: Tools | None) -> Plain:
    if tools is None:
        return {}
    choice: Plain = {"type": "any" if tools.choice == "required" else tools.choice}
    if tools.named is not None:
        choice = {"type": "tool", "name": tools.named}
    if tools.parallel is False:
        choice["disable_parallel_tool_use"] = True
    return {"tools": [offered(one, "input_schema") for one in tools.offered], "tool_choice": choice}


def offered(tool: Tool, schema: str) -> Plain:
    parameters = None if tool.parameters is None else json.loads(tool.parameters)
    told = {"name": tool.name, "description": tool.description, schema: parameters}
    return {name: value for name, value in told.items() if value is not None}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(CHATS, STOPS, st.integers(1, 4096), st.none() | st.floats(0, 1))
def test_a_chat_in_anthropics_words_is_understood(
    work: Chat, stop: tuple[str, ...], most: int, temperature: float | None
) -> None:
    system = [one.content for one in work.messages if one.role == "system"]
    sent = {
        "model": "tiny",
        "max_tokens": most,
        "temperature": temperature,
        "stop_sequences": list(stop),
        "messages": [anthropic_turn(one) for one in work.messages if one.role != "system"],
        **({"system": system[0]} if system else {}),
        **anthropic_tools(work.tools),
    }
    ask = anthropic_asked.ask_of(anthropic_asked.read_messages(compact(sent)), {}, LOCAL)
    assert isinstance(ask.work, Chat)
    assert ask.work.messages == work.messages
    assert ask.sampling == Sampling(temperature=temperature, max_tokens=most, stop=stop)
    # that several calls may be made is what is taken for granted there, so it is not said
    assert told(ask.work.tools) == told(work.tools)


def told(tools: Tools | None) -> object:
    """What tools say in every dialect."""
    if tools is None:
        return None
    return tools.offered, tools.choice, tools.named, tools.parallel is False


# OpenAI's responses


def items(message: Message) -> Iterator[Plain]:
    match message.role:
        case "assistant":
            if message.thought is not None:
                summary = [{"type": "summary_text", "text": message.thought}]
                yield {"type": "reasoning", "summary": summary}
            if message.content:
                part = {"type": "output_text", "text": message.content}
                yield {"type": "message", "role": "assistant", "content": [part]}
            for one in message.calls:
                called = {"call_id": one.id, "name": one.name, "arguments": one.arguments}
                yield {"type": "function_call", **called}
        case "tool":
            output = {"call_id": message.answers, "output": message.content}
            yield {"type": "function_call_output", **output}
        case role:
            yield {"role": role, "content": list(parts(message))}


def parts(message: Message) -> Iterator[Plain]:
    for part in message.parts or (message.content,):
        if isinstance(part, str):
            yield {"type": "input_text", "text": part}
        else:
            url = f"data:{part.kind}/{part.format};base64,{part.data}"
            yield {"type": "input_image", "image_url": url}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(CHATS, st.none() | st.integers(1, 4096), st.none() | st.floats(0, 2))
def test_a_chat_in_the_words_of_responses_is_understood(
    work: Chat, most: int | None, temperature: float | None
) -> None:
    sent: Plain = {
        "model": "tiny",
        "max_output_tokens": most,
        "temperature": temperature,
        "input": [item for message in work.messages for item in items(message)],
    }
    if work.tools is not None:
        tools = work.tools
        sent["tools"] = [{"type": "function", **offered(x, "parameters")} for x in tools.offered]
        sent["tool_choice"] = tools.choice
        if tools.named is not None:
            sent["tool_choice"] = {"type": "function", "name": tools.named}
        sent["parallel_tool_calls"] = tools.parallel
    ask = responses_asked.ask_of(responses_asked.read_responses(compact(sent)), {}, LOCAL)
    assert ask.work == work
    assert ask.sampling == Sampling(temperature=temperature, max_tokens=most)
