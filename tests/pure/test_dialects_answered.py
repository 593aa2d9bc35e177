"""Answers go out in each dialect and come in again as what they were."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pure.dialects_drawn import _json, answers

from arbiter.clock import ManualClock
from arbiter.engines.ollama_wire import Answer
from arbiter.engines.openai_stream import ServerStream
from arbiter.engines.openai_wire import StreamedAnswer, parse_answer
from arbiter.gateway import responses_asked
from arbiter.gateway.anthropic_answer import AnthropicFrames, whole_message
from arbiter.gateway.chat_answer import ChatFrames, whole_chat
from arbiter.gateway.exchange import Frames
from arbiter.gateway.ollama_answer import OllamaFrames, Told, whole_answer
from arbiter.gateway.responses_answer import ResponsesFrames, whole_response
from arbiter.inference import (
    Arm,
    Called,
    Chunk,
    Decided,
    Delta,
    Finish,
    FinishReason,
    Piece,
    Thought,
    Usage,
    calls_of,
    text_of,
    thought_of,
)
from arbiter.refs import DecisionId, ModelName, TaskName, VersionId

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
