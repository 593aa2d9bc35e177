"""What a dialect says and what the house understands are the same thing, there and back.

One house's engine speaks to another house's door, so a request that goes out by an engine's wire
and comes in at a door has to be the same request, and an answer on its way back the same answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from arbiter.clock import ManualClock
from arbiter.engines.ollama_request import Pinned, encode_generation
from arbiter.engines.ollama_wire import Answer
from arbiter.engines.openai_dialects import dialect_of
from arbiter.engines.openai_facts import ARBITER
from arbiter.engines.openai_request import encode_request
from arbiter.engines.openai_stream import ServerStream
from arbiter.engines.openai_wire import StreamedAnswer, parse_answer
from arbiter.gateway import anthropic_asked, chat, completions, ollama_asked, responses_asked
from arbiter.gateway.anthropic_answer import AnthropicFrames, whole_message
from arbiter.gateway.chat_answer import ChatFrames, whole_chat
from arbiter.gateway.exchange import Frames
from arbiter.gateway.ollama_answer import OllamaFrames, Told, whole_answer
from arbiter.gateway.responses_answer import ResponsesFrames, whole_response
from arbiter.gateway.security import LOCAL
from arbiter.inference import (
    Arm,
    Ask,
    Called,
    Chat,
    Chunk,
    Completion,
    Decided,
    Delta,
    Effort,
    Finish,
    FinishReason,
    Generation,
    Media,
    Message,
    Odds,
    Piece,
    Sampling,
    Shape,
    Thought,
    Timings,
    Tool,
    ToolCall,
    Tools,
    Usage,
    calls_of,
    text_of,
    thought_of,
)
from arbiter.refs import DecisionId, ModelName, TaskName, VersionId

TEXT = (
    st.text(max_size=12)
    .map(lambda text: text.encode("utf-8", "replace").decode())
    .map(lambda text: text.replace("\0", "0"))
)
SAID = TEXT.filter(bool)
NAMES = st.sampled_from(["clock", "search", "add_1"])
SCHEMAS = st.sampled_from(['{"type":"object"}', '{"b":1,"a":{"enum":["x"]}}'])
PICTURE = Media(kind="image", format="png", data="iVBORw0KGgoAAAAN")
SOUND = Media(kind="audio", format="wav", data="UklGRg==")


def users(media: Sequence[Media]) -> st.SearchStrategy[Message]:
    plain = SAID.map(lambda text: Message(role="user", content=text))
    if not media:
        return plain
    seen = st.tuples(SAID, st.sampled_from(media)).map(
        lambda pair: Message(role="user", content=pair[0], parts=pair)
    )
    return plain | seen


@st.composite
def conversations(draw: st.DrawFn, media: Sequence[Media] = ()) -> tuple[Message, ...]:
    """Turns as clients send them: calls have ids of their own, and results for some of them."""
    turns: list[Message] = []
    if draw(st.booleans()):
        turns.append(Message(role="system", content=draw(SAID)))
    for number in range(draw(st.integers(1, 3))):
        turns.append(draw(users(media)))
        calls = tuple(
            ToolCall(id=f"c{number}{place}", name=draw(NAMES), arguments='{"a":1}')
            for place in range(draw(st.integers(0, 2)))
        )
        thought = draw(st.none() | SAID)
        answers = bool(calls) or draw(st.booleans())
        if answers:
            said = draw(TEXT if calls else SAID)
            turns.append(Message(role="assistant", content=said, calls=calls, thought=thought))
        turns += [
            Message(role="tool", content=draw(SAID), answers=call.id, name=call.name)
            for call in calls
        ]
    turns.append(draw(users(media)))
    return tuple(turns)


@st.composite
def tool_sets(draw: st.DrawFn, *, chooses: bool) -> Tools | None:
    """Tools; chooses: one of them may have to be called."""
    names = draw(st.lists(NAMES, unique=True, max_size=3))
    if not names:
        return None
    offered = tuple(
        Tool(name=name, description=draw(st.none() | SAID), parameters=draw(st.none() | SCHEMAS))
        for name in names
    )
    if not chooses:
        return Tools(offered=offered)
    named = draw(st.none() | st.sampled_from(names))
    choices: st.SearchStrategy[Literal["auto", "none", "required"]]
    choices = st.sampled_from(["auto", "none", "required"])
    return Tools(
        offered=offered,
        choice="required" if named is not None else draw(choices),
        named=named,
        parallel=draw(st.none() | st.booleans()),
    )


SHARES = st.none() | st.floats(0, 1)
SAMPLINGS = st.builds(
    Sampling,
    temperature=st.none() | st.floats(0, 2),
    top_p=SHARES,
    seed=st.none() | st.integers(0, 2**31),
    max_tokens=st.none() | st.integers(1, 2**31 - 1),
    stop=st.lists(SAID, max_size=3).map(tuple),
    presence_penalty=st.none() | st.floats(-2, 2),
    frequency_penalty=st.none() | st.floats(-2, 2),
    top_k=st.none() | st.integers(0, 2**31 - 1),
    min_p=SHARES,
    repeat_penalty=st.none() | st.floats(0.01, 2),
    repeat_last_n=st.none() | st.integers(-1, 1000),
    typical_p=SHARES,
    odds=st.none() | st.integers(0, 20),
)


@st.composite
def chats(
    draw: st.DrawFn,
    *,
    efforts: Sequence[Effort | None],
    media: Sequence[Media],
    chooses: bool,
    named: bool,
) -> Chat:
    """named: a shape may have a name."""
    shape = draw(st.none() | st.builds(Shape, schema=st.none() | SCHEMAS))
    if shape is not None and shape.schema is not None and named:
        shape = Shape(schema=shape.schema, name="answer", strict=draw(st.none() | st.booleans()))
    return Chat(
        messages=draw(conversations(media)),
        tools=draw(tool_sets(chooses=chooses)),
        shape=shape,
        effort=draw(st.sampled_from(efforts)),
    )


OPENAI_CHATS = chats(
    efforts=[None, "none", "minimal", "low", "medium", "high"],
    media=(PICTURE, SOUND),
    chooses=True,
    named=True,
)
OLLAMA_CHATS = chats(
    efforts=[None, "none", "some", "low", "medium", "high", "max"],
    media=(PICTURE,),
    chooses=False,
    named=False,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(OPENAI_CHATS, SAMPLINGS, st.booleans())
def test_a_chat_goes_out_and_comes_in_again_in_openais_words(
    work: Chat, how: Sampling, stream: bool
) -> None:
    request = Generation(work=work, sampling=how, stream=stream)
    sent = encode_request(request, model="tiny", dialect=dialect_of(ARBITER))
    ask = chat.ask_of(chat.read_chat(sent), {}, LOCAL)
    assert ask.work == work
    assert ask.sampling == how
    assert ask.stream is stream


@settings(max_examples=300, deadline=None, derandomize=True)
@given(OLLAMA_CHATS, SAMPLINGS, st.booleans())
def test_a_chat_goes_out_and_comes_in_again_in_ollamas_words(
    work: Chat, how: Sampling, stream: bool
) -> None:
    request = Generation(work=work, sampling=how, stream=stream)
    _, sent = encode_generation("tiny", request, Pinned())
    ask = ollama_asked.ask_to_talk(ollama_asked.read_chat(sent), {}, LOCAL)
    assert isinstance(ask.work, Chat)
    assert ask.work == work
    assert ask.sampling == how
    assert ask.stream is stream


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.builds(Completion, prompt=SAID, suffix=st.none() | SAID), SAMPLINGS)
def test_a_text_goes_out_and_comes_in_again_in_both(work: Completion, how: Sampling) -> None:
    request = Generation(work=work, sampling=replace(how, odds=None))
    sent = encode_request(request, model="tiny", dialect=dialect_of(ARBITER))
    ask = completions.ask_of(completions.read_completion(sent), {}, LOCAL)
    assert (ask.work, ask.sampling) == (work, request.sampling)
    _, sent = encode_generation("tiny", request, Pinned())
    ask = ollama_asked.ask_to_go_on(ollama_asked.read_generate(sent), {}, LOCAL)
    assert (ask.work, ask.sampling) == (work, request.sampling)


# One conversation in four dialects


def test_the_same_conversation_is_the_same_in_every_dialect() -> None:
    url = f"data:image/png;base64,{PICTURE.data}"
    function = {"name": "clock", "parameters": {"type": "object"}}
    called = {"name": "clock", "arguments": '{"a":1}'}
    openai_ask = chat.ask_of(
        chat.read_chat(
            _json(
                messages=[
                    {"role": "system", "content": "be kind"},
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "look"},
                            {"type": "image_url", "image_url": {"url": url}},
                        ],
                    },
                    {
                        "role": "assistant",
                        "content": "so",
                        "reasoning_content": "hm",
                        "tool_calls": [{"id": "c1", "type": "function", "function": called}],
                    },
                    {"role": "tool", "tool_call_id": "c1", "content": "noon"},
                ],
                tools=[{"type": "function", "function": function}],
            )
        ),
        {},
        LOCAL,
    )
    ollama_ask = ollama_asked.ask_to_talk(
        ollama_asked.read_chat(
            _json(
                messages=[
                    {"role": "system", "content": "be kind"},
                    {"role": "user", "content": "look", "images": [PICTURE.data]},
                    {
                        "role": "assistant",
                        "content": "so",
                        "thinking": "hm",
                        "tool_calls": [
                            {"id": "c1", "function": {"name": "clock", "arguments": {"a": 1}}}
                        ],
                    },
                    {"role": "tool", "tool_call_id": "c1", "content": "noon"},
                ],
                tools=[{"type": "function", "function": function}],
                stream=False,
            )
        ),
        {},
        LOCAL,
    )
    source = {"type": "base64", "media_type": "image/png", "data": PICTURE.data}
    result = {"type": "tool_result", "tool_use_id": "c1", "content": "noon"}
    anthropic_ask = anthropic_asked.ask_of(
        anthropic_asked.read_messages(
            _json(
                max_tokens=5,
                system="be kind",
                messages=[
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "look"},
                            {"type": "image", "source": source},
                        ],
                    },
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "thinking", "thinking": "hm", "signature": ""},
                            {"type": "text", "text": "so"},
                            {"type": "tool_use", "id": "c1", "name": "clock", "input": {"a": 1}},
                        ],
                    },
                    {"role": "user", "content": [result]},
                ],
                tools=[{"name": "clock", "input_schema": {"type": "object"}}],
            )
        ),
        {},
        LOCAL,
    )
    responses_ask = responses_asked.ask_of(
        responses_asked.read_responses(
            _json(
                instructions="be kind",
                input=[
                    {
                        "role": "user",
                        "content": [
                            {"type": "input_text", "text": "look"},
                            {"type": "input_image", "image_url": url},
                        ],
                    },
                    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
                    {"role": "assistant", "content": "so"},
                    {"type": "function_call", "call_id": "c1", **called},
                    {"type": "function_call_output", "call_id": "c1", "output": "noon"},
                ],
                tools=[{"type": "function", **function}],
            )
        ),
        {},
        LOCAL,
    )
    asks: list[Ask] = [openai_ask, ollama_ask, anthropic_ask, responses_ask]
    assert [ask.work for ask in asks] == [openai_ask.work] * 4
    assert len({ask.conversation for ask in asks}) == 1


def _json(**fields: object) -> bytes:
    return json.dumps({"model": "tiny", **fields}).encode()


# Answers


DECIDED = Decided(
    decision=DecisionId("dec_01kdwzkm000000000000000000"),
    task=TaskName("general"),
    alias=ModelName("tiny"),
    version=VersionId("sha256:" + "ab" * 32),
    arm=Arm.NONE,
    reason="the only one",
    probability=1.0,
)
COUNTS = st.none() | st.integers(0, 10_000)
ONE_ODDS = st.builds(Odds, token=SAID, logprob=st.floats(-90, 0))
ODDS = st.lists(
    st.builds(
        Odds,
        token=SAID,
        logprob=st.floats(-90, 0),
        raw=st.none() | st.lists(st.integers(0, 255), max_size=3).map(tuple),
        others=st.lists(ONE_ODDS, max_size=2).map(tuple),
    ),
    max_size=2,
).map(tuple)


@st.composite
def answers(draw: st.DrawFn, *, odds: bool) -> tuple[list[Piece], Finish]:
    """What engines send: thoughts, then text, then calls one after the other."""
    pieces: list[Piece] = [Thought(text=text) for text in draw(st.lists(SAID, max_size=2))]
    pieces += [
        Delta(text=text, odds=draw(ODDS) if odds else ())
        for text in draw(st.lists(SAID, max_size=3))
    ]
    calls = draw(st.integers(0, 2))
    for index in range(calls):
        pieces.append(Called(index=index, id=f"c{index}", name=draw(NAMES), arguments='{"a":'))
        pieces.append(Called(index=index, arguments="1}"))
    reason = FinishReason.TOOL_CALLS if calls else draw(st.sampled_from(list(FinishReason)[:2]))
    return pieces, Finish(
        reason=reason,
        usage=Usage(prompt_tokens=draw(COUNTS), completion_tokens=draw(COUNTS)),
        timings=Timings(prefill_ms=draw(st.none() | st.integers(0, 900))),
    )


def streamed(frames: Frames, pieces: Sequence[Chunk], finish: Finish) -> bytes:
    """The whole of a stream."""
    data = b"".join([frames.piece(piece) for piece in pieces])
    return frames.opening + data + frames.ending(finish)


def same(found: Sequence[Chunk], meant: Sequence[Chunk]) -> bool:
    """Whether two answers say the same, however they are cut."""
    told: Callable[[Sequence[Chunk]], object] = lambda chunks: (  # noqa: E731  # said once
        thought_of(chunks),
        text_of(chunks),
        calls_of(chunks),
        [one for chunk in chunks if isinstance(chunk, Delta) for one in chunk.odds],
    )
    return told(found) == told(meant)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(answers(odds=True))
def test_an_answer_goes_out_and_comes_in_again_in_openais_words(
    answer: tuple[list[Piece], Finish],
) -> None:
    pieces, finish = answer
    known = None not in {finish.usage.prompt_tokens, finish.usage.completion_tokens}
    usage = finish.usage if known else Usage()
    for reader in (StreamedAnswer(), ServerStream()):
        frames = ChatFrames(DECIDED, model="tiny", created=0, with_usage=True)
        found = reader.pieces(streamed(frames, pieces, finish))
        assert same(found, pieces)
        end = reader.finish()
        assert (end.reason, end.usage) == (finish.reason, usage)
    whole, end = parse_answer(whole_chat(DECIDED, pieces, finish, model="tiny", created=0))
    assert same(whole, pieces)
    assert (end.reason, end.usage) == (finish.reason, usage)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(answers(odds=True), st.booleans())
def test_an_answer_goes_out_and_comes_in_again_in_ollamas_words(
    answer: tuple[list[Piece], Finish], is_chat: bool
) -> None:
    pieces, finish = answer
    if not is_chat:  # a text has no calls
        pieces = [piece for piece in pieces if not isinstance(piece, Called)]
    told = Told(model="tiny", is_chat=is_chat, clock=ManualClock(), began=0.0)
    reader = Answer()
    found = list(reader.feed(streamed(OllamaFrames(DECIDED, told=told), pieces, finish)))
    _check_ollama(reader, found, pieces, finish)
    reader = Answer()
    found = list(reader.feed(whole_answer(DECIDED, pieces, finish, told=told)))
    found += list(reader.end())
    _check_ollama(reader, found, pieces, finish)


def _check_ollama(
    reader: Answer, found: Sequence[Piece], pieces: Sequence[Piece], finish: Finish
) -> None:
    assert same(found, pieces)
    end = reader.finish()
    assert (end.usage, end.timings) == (finish.usage, finish.timings)
    if calls_of(pieces) or finish.reason is not FinishReason.TOOL_CALLS:
        assert end.reason is finish.reason


@settings(max_examples=200, deadline=None, derandomize=True)
@given(answers(odds=False))
def test_a_stream_says_what_the_whole_answer_says_in_the_other_dialects(
    answer: tuple[list[Piece], Finish],
) -> None:
    pieces, finish = answer
    asked = responses_asked.read_responses(_json(input="hi"))
    events = _events(streamed(ResponsesFrames(DECIDED, asked=asked, created=0), pieces, finish))
    whole = json.loads(whole_response(DECIDED, pieces, finish, asked=asked, created=0))
    assert events[-1]["response"] == whole
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == whole["output"]

    events = _events(streamed(AnthropicFrames(DECIDED, model="tiny"), pieces, finish))
    told = json.loads(whole_message(DECIDED, pieces, finish, model="tiny"))
    assert _blocks(events) == told["content"]
    assert events[-2]["delta"]["stop_reason"] == told["stop_reason"]


def _events(data: bytes) -> list[Any]:
    return [json.loads(x[6:]) for x in data.decode().split("\n") if x.startswith("data: ")]


def _blocks(events: Sequence[Any]) -> list[Any]:
    """The blocks of a stream, put together as Anthropic's client does; one is open at a time."""
    blocks: list[Any] = []
    is_open = False
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert not is_open
                assert event["index"] == len(blocks)
                is_open = True
                blocks.append({**event["content_block"], "pieces": []})
            case "content_block_delta":
                assert event["index"] == len(blocks) - 1
                assert is_open
                blocks[-1]["pieces"].append(event["delta"])
            case "content_block_stop":
                is_open = False
    assert not is_open
    return [_block(block) for block in blocks]


def _block(block: Any) -> Any:
    pieces = block.pop("pieces")
    joined = "".join(
        [one.get("text") or one.get("thinking") or one.get("partial_json") or "" for one in pieces]
    )
    match block["type"]:
        case "text":
            return {**block, "text": joined}
        case "thinking":
            return {**block, "thinking": joined}
    return {**block, "input": json.loads(joined or "{}")}


@pytest.mark.parametrize("frames", [AnthropicFrames(DECIDED, model="tiny")])
def test_an_empty_piece_is_not_sent(frames: Frames) -> None:
    assert frames.piece(Delta(text="")) == b""
    assert frames.piece(Thought(text="")) == b""
