"""By which id a request is found again, in the header where its client looks."""

from __future__ import annotations

import json
import logging

import anthropic
import openai
import pytest
from tests.contract.door_support import (
    CHAT,
    CHAT_PATH,
    DECISION,
    REQUEST,
    STREAMED_CHAT,
    ScriptedHouse,
    at_the_door,
    get,
    post,
)

from arbiter.errors import Busy, UnknownModel
from arbiter.gateway.request_ids import client_id
from arbiter.gateway.security import Head
from arbiter.logs import JsonLines

MESSAGE = {"model": "tiny", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


async def test_openais_client_shows_the_decision_of_an_answer_and_of_a_stream() -> None:
    async with (
        at_the_door(ScriptedHouse()) as address,
        openai.AsyncOpenAI(base_url=f"{address.url}/v1", api_key="none") as client,
    ):
        answer = await client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "hi"}]
        )
        stream = await client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        assert stream.response.headers["x-request-id"] == DECISION
        await stream.close()
        listed = await client.models.list()
    assert answer._request_id == DECISION
    assert listed._request_id == REQUEST


async def test_anthropics_client_shows_it_too() -> None:
    async with (
        at_the_door(ScriptedHouse()) as address,
        anthropic.AsyncAnthropic(base_url=address.url, api_key="none") as client,
    ):
        answer = await client.messages.create(
            model="tiny", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
        )
        async with client.messages.stream(
            model="tiny", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
        ) as stream:
            assert stream.request_id == DECISION
    assert answer._request_id == DECISION


@pytest.mark.parametrize(
    ("path", "body", "header"),
    [
        (CHAT_PATH, CHAT, "x-request-id"),
        (CHAT_PATH, STREAMED_CHAT, "x-request-id"),
        ("/v1/messages", json.dumps(MESSAGE).encode(), "request-id"),
        ("/v1/messages/count_tokens", json.dumps(MESSAGE).encode(), "request-id"),
        ("/api/chat", CHAT, "x-request-id"),
    ],
)
async def test_an_error_has_one_whether_anything_was_decided_or_not(
    path: str, body: bytes, header: str
) -> None:
    failed, refused = Busy(), UnknownModel()
    failed.decision = DECISION
    async with at_the_door(ScriptedHouse(fails_at=-1, failure=failed)) as address:
        assert (await post(address, body, path=path)).headers[header] == DECISION
    async with at_the_door(ScriptedHouse(fails_at=-1, failure=refused)) as address:
        assert (await post(address, body, path=path)).headers[header] == REQUEST
        assert (await post(address, b"{", path=path)).headers[header] == REQUEST


async def test_the_body_of_anthropics_errors_says_the_same_as_the_header() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        refused = await post(address, b"{", path="/v1/messages")
    assert json.loads(refused.body)["request_id"] == refused.headers["request-id"] == REQUEST


async def test_who_is_kept_out_has_one_as_well() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        assert (await get(address, "/v1/nothing")).headers["x-request-id"] == REQUEST
        assert (await get(address, "/", ["X: " + "y" * 40_000])).headers["x-request-id"] == REQUEST


async def test_the_log_has_the_id_of_what_was_refused_and_what_its_sender_calls_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "arbiter.gateway")
    async with at_the_door(ScriptedHouse(fails_at=-1, failure=UnknownModel())) as address:
        await post(address, headers=["X-Request-Id: job-7"])
        await post(address, b"{", headers=["X-Request-Id: job-8"])
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    assert [(line["request_id"], line["client_request_id"]) for line in lines] == [
        (REQUEST, "job-7"),
        (REQUEST, "job-8"),
    ]


async def test_what_the_sender_calls_it_is_handed_on_and_never_taken_for_ours() -> None:
    house = ScriptedHouse()
    async with at_the_door(house) as address:
        answer = await post(address, headers=["X-Request-Id: dec_0"])
        await post(address, headers=["X-Request-Id: proxy-1", "X-Client-Request-Id: job/7"])
        await post(address)
    assert answer.headers["x-request-id"] == DECISION
    assert [ask.sent_as for ask in house.asks] == ["dec_0", "job/7", None]


@pytest.mark.parametrize("said", [b"", b"a b", b"x" * 129, b"caf\xc3\xa9", b"a\tb", b"{}", b"a;b"])
def test_what_is_not_plain_is_left_out(said: bytes) -> None:
    head = Head({b"x-request-id": said})
    head.doubled = set()
    assert client_id(head) is None
    head[b"x-request-id"] = b"job-7"
    head.doubled = {b"x-request-id"}
    assert client_id(head) is None
