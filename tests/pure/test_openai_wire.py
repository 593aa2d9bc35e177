"""The chat dialect of workers: what is sent, and what is believed of what comes back."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbiter.engines.openai_request import encode_request
from arbiter.engines.openai_wire import (
    MalformedAnswer,
    ReportedError,
    StreamedAnswer,
    parse_answer,
    parse_refusal,
)
from arbiter.inference import Chat, FinishReason, Generation, Message, Sampling, Timings, Usage

ASKED = (Message(role="user", content="hello"),)
PIECE = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
END = b'data: {"choices":[{"delta":{},"finish_reason":"length"}]}\n\ndata: [DONE]\n\n'


def sent(sampling: Sampling, *, stream: bool = True) -> dict[str, object]:
    request = Generation(work=Chat(messages=ASKED), sampling=sampling, stream=stream)
    found = json.loads(encode_request(request, cache_prompt=True))
    assert isinstance(found, dict)
    return found


def whole(**more: object) -> bytes:
    choice = {"message": {"content": "hi"}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], **more}).encode()


def test_only_what_was_asked_for_is_sent() -> None:
    assert sent(Sampling()) == {
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "cache_prompt": True,
    }
    assert "stream" not in sent(Sampling(), stream=False)


@pytest.mark.parametrize(
    ("seed", "taken"), [(0, 0), (7, 7), (-1, 2**32 - 2), (2**32, 0), (2**70 + 5, 5)]
)
def test_any_seed_is_one_that_is_not_random(seed: int, taken: int) -> None:
    assert sent(Sampling(seed=seed))["seed"] == taken


def test_a_stream_without_an_end_is_malformed() -> None:
    answer = StreamedAnswer()
    assert answer.feed(PIECE) == "hi"
    with pytest.raises(MalformedAnswer, match="without an end"):
        answer.finish()


@pytest.mark.parametrize("error", [b"error: ", b"data: "])
def test_text_before_an_error_is_not_lost(error: bytes) -> None:
    inner = b'{"message":"oom"}' if error == b"error: " else b'{"error":{"message":"oom"}}'
    answer = StreamedAnswer()
    assert answer.feed(PIECE + error + inner + b"\n\n") == "hi"
    assert answer.is_broken
    with pytest.raises(ReportedError, match="oom"):
        answer.finish()


def test_an_error_that_cannot_be_read_is_still_an_error() -> None:
    answer = StreamedAnswer()
    answer.feed(b'data: {"error":5}\n\n')
    with pytest.raises(ReportedError, match="did not say what"):
        answer.finish()


def test_comments_and_half_characters_do_no_harm() -> None:
    answer = StreamedAnswer()
    assert answer.feed(b": ping\n\n" + PIECE) == "hi"
    assert answer.feed(PIECE.replace(b"hi", b"\xf0\x9f")) == "\ufffd"
    assert answer.feed(END) == ""
    assert answer.finish().reason is FinishReason.LENGTH


def test_an_event_without_an_end_is_bounded() -> None:
    with pytest.raises(MalformedAnswer, match="event without an end"):
        StreamedAnswer().feed(b"data: " + b"x" * 5_000_000)


@settings(deadline=None)  # a busy machine is no bug
@given(cuts=st.lists(st.integers(0, 300), max_size=12))
def test_where_the_network_cuts_makes_no_difference(cuts: list[int]) -> None:
    data = PIECE * 3 + PIECE.replace(b"hi", "é🙂".encode()) + END
    places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    answer = StreamedAnswer()
    text = "".join(answer.feed(data[a:b]) for a, b in itertools.pairwise(places))
    assert text == "hihihié🙂"
    assert answer.finish().reason is FinishReason.LENGTH


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"{", b'{"choices":[{}]}', b"\xff"])
def test_what_is_no_answer_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        parse_answer(body)


@pytest.mark.parametrize(
    "told",
    [
        {"usage": "many", "timings": [1]},
        {"usage": None, "timings": None},
        {"usage": {"prompt_tokens": -1, "completion_tokens": 2**63}, "timings": {"prompt_ms": -1}},
        {"usage": {"prompt_tokens": 1.5}, "timings": {"prompt_ms": None, "predicted_ms": 1e300}},
    ],
)
def test_a_report_that_cannot_be_is_unknown(told: dict[str, object]) -> None:
    text, _, finish = parse_answer(whole(**told))
    assert text == "hi"
    assert (finish.usage, finish.timings) == (Usage(), Timings())


def test_a_plausible_report_is_taken() -> None:
    _, _, finish = parse_answer(
        whole(
            usage={
                "prompt_tokens": 3,
                "completion_tokens": 2,
                "prompt_tokens_details": {"cached_tokens": 1},
            },
            timings={"prompt_ms": 0.5, "predicted_ms": 2},
        )
    )
    assert finish.usage == Usage(prompt_tokens=3, completion_tokens=2, cached_tokens=1)
    assert finish.timings == Timings(prefill_ms=0.5, decode_ms=2.0)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error":"x"}', b"\xff"])
def test_a_refusal_that_cannot_be_read_tells_its_status(body: bytes) -> None:
    assert "status 500" in parse_refusal(500, body).message
