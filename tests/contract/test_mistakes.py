"""Mistakes that newcomers make: what is said names the field and what to do."""

from __future__ import annotations

import json

import pytest
from tests.contract.door_support import ScriptedHouse, at_the_door, get, post

from arbiter.engines.ollama_wire import parse_refusal as parse_ollama
from arbiter.engines.openai_refusal import parse_refusal
from arbiter.errors import EngineRefused, PromptTooLong

TURNS = [{"role": "user", "content": "hi"}]


def turn(**fields: object) -> dict[str, object]:
    return {"model": "tiny", "max_tokens": 5, "messages": [{**TURNS[0], **fields}]}


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/v1/chat/completions", {"messages": TURNS}, "model is missing."),
        ("/v1/chat/completions", {"model": "tiny"}, "messages is missing."),
        (
            "/v1/chat/completions",
            turn(role="human"),
            "It is one of: assistant, developer, function, system, tool, user.",
        ),
        (
            "/v1/messages",
            turn(role="human"),
            "messages[0].role: Invalid enum value 'human'. It is one of: assistant, system, user.",
        ),
        ("/v1/messages", {"model": "tiny", "messages": TURNS}, "max_tokens is missing."),
        (
            "/v1/chat/completions",
            {**turn(), "reasoning_effort": "huge"},
            "It is one of: high, low, medium, minimal, none, xhigh.",
        ),
        (
            "/v1/completions",
            {"model": "tiny", "prompt": "a", "best_of": 2},
            "Ask for n answers, and choose among them.",
        ),
        ("/v1/chat/completions", {**turn(), "functions": [{}]}, "Send them as tools."),
        (
            "/v1/responses",
            {"model": "tiny", "input": "a", "previous_response_id": "resp_1"},
            "Nothing is stored here: send the earlier turns again.",
        ),
        (
            "/api/generate",
            {"model": "tiny", "prompt": "a", "context": [1]},
            "Nothing is stored here: send the earlier turns again.",
        ),
        ("/api/chat", {"messages": TURNS}, "model is required."),
    ],
)
async def test_a_mistake_is_answered_with_what_to_do(
    path: str, body: dict[str, object], told: str
) -> None:
    async with at_the_door(ScriptedHouse()) as address:
        answered = await post(address, json.dumps(body).encode(), path=path)
    assert answered.status == 400
    assert told in said(answered.text)


def said(text: str) -> str:
    """The words of an error, in whichever dialect it is."""
    error = json.loads(text)["error"]
    return str(error if isinstance(error, str) else error["message"])


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/docs", "Did you mean /control/v1/docs?"),
        ("/openapi.json", "Did you mean /control/v1/docs?"),
        ("/v1/audio/transcriptions", "What there is: /v1/chat/completions, "),
        ("/api/me", "What there is: /api/"),
        ("/v1", "What there is: /v1/chat/completions, "),
        ("/api/", "What there is: /api/"),
    ],
)
async def test_an_address_that_others_have_leads_to_what_there_is(path: str, told: str) -> None:
    async with at_the_door(ScriptedHouse()) as address:
        answered = await get(address, path)
    assert answered.status == 404
    assert told in said(answered.text)


async def test_a_house_that_is_asked_by_another_name_says_how_to_name_it() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        answered = await get(address, "/v1/models", ["X: y"])
        assert answered.status == 200
        reached = await get(address, "/v1/models", ["Origin: http://localhost:3000"])
        assert reached.status == 200
        asked = await post(address, headers=["Origin: http://localhost:3000"])
    assert asked.status == 403
    assert "the server that it comes from may" in said(asked.text)


# A prompt that is too long: clients shorten their conversation by these words


async def test_a_prompt_that_is_too_long_has_the_code_by_which_openais_clients_know_it() -> None:
    house = ScriptedHouse(fails_at=-1, failure=PromptTooLong("It has 9 tokens."))
    async with at_the_door(house) as address:
        answered = await post(address)
    assert answered.status == 400
    assert json.loads(answered.body)["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        (
            "It has 9,000 tokens.",
            "This model's maximum context length is 4096 tokens. It has 9,000 tokens.",
        ),
        (
            "This model's maximum context length is 4096 tokens. However ...",
            "This model's maximum context length is 4096 tokens. However ...",
        ),
    ],
)
async def test_a_prompt_that_is_too_long_begins_with_the_words_of_openai(
    sentence: str, told: str
) -> None:
    failure = PromptTooLong(sentence, tokens=9_000, room=4_096)
    async with at_the_door(ScriptedHouse(fails_at=-1, failure=failure)) as address:
        answered = await post(address)
    assert said(answered.text) == told


async def test_a_prompt_that_is_too_long_begins_with_the_words_of_anthropic() -> None:
    house = ScriptedHouse(fails_at=-1, failure=PromptTooLong("It has 9 tokens."))
    async with at_the_door(house) as address:
        answered = await post(address, json.dumps(turn()).encode(), path="/v1/messages")
    assert said(answered.text) == "prompt is too long: It has 9 tokens."


async def test_how_much_too_long_it_is_stands_where_anthropics_clients_look_for_it() -> None:
    failure = PromptTooLong("It has 9,000 tokens.", tokens=9_000, room=4_096)
    async with at_the_door(ScriptedHouse(fails_at=-1, failure=failure)) as address:
        answered = await post(address, json.dumps(turn()).encode(), path="/v1/messages")
    assert answered.status == 400
    assert json.loads(answered.body)["error"] == {
        "type": "invalid_request_error",
        "message": "prompt is too long: 9000 tokens > 4096 maximum: It has 9,000 tokens.",
    }


async def test_a_prompt_that_is_too_long_begins_with_the_words_of_ollama() -> None:
    house = ScriptedHouse(fails_at=-1, failure=PromptTooLong("It has 9 tokens."))
    async with at_the_door(house) as address:
        answered = await post(address, json.dumps(turn()).encode(), path="/api/chat")
    assert answered.status == 400
    assert said(answered.text) == "the input length exceeds the context length: It has 9 tokens."


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
        "the request exceeds the available context size, try increasing it",
        "Trying to keep the first 5000 tokens when context the overflows.",
    ],
)
def test_every_servers_words_for_a_prompt_that_is_too_long_are_known(words: str) -> None:
    body = json.dumps({"error": {"message": words, "type": "invalid_request_error"}}).encode()
    assert isinstance(parse_refusal(400, body), PromptTooLong)
    other = json.dumps({"error": {"message": "top_p must be in (0, 1]"}}).encode()
    assert type(parse_refusal(400, other)) is EngineRefused


def test_ollamas_words_for_a_text_that_is_too_long_are_known() -> None:
    body = b'{"error":"the input length exceeds the context length"}'
    assert isinstance(parse_ollama(400, body, model="m", url="http://here"), PromptTooLong)
