"""Requests go out in each dialect and come in again as what they were."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.pure.dialects_drawn import PICTURE, SAID, SAMPLINGS, SOUND, _json, chats

from arbiter.engines.ollama_request import Pinned, encode_generation
from arbiter.engines.openai_dialects import dialect_of
from arbiter.engines.openai_facts import ARBITER
from arbiter.engines.openai_request import encode_request
from arbiter.gateway import anthropic_asked, chat, completions, ollama_asked, responses_asked
from arbiter.gateway.security import LOCAL
from arbiter.inference import (
    Ask,
    Chat,
    Completion,
    Generation,
    Sampling,
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
    (ask,) = completions.asks_of(completions.read_completion(sent), {}, LOCAL)
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
