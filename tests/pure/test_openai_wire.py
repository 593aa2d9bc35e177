"""The chat dialect of workers: what is sent, and what is believed of what comes back."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from arbiter.engines.openai_dialects import dialect_of
from arbiter.engines.openai_facts import LLAMA_SERVER, VLLM
from arbiter.engines.openai_refusal import parse_refusal
from arbiter.engines.openai_request import encode_request
from arbiter.engines.openai_stream import ServerStream
from arbiter.engines.openai_wire import (
    MOST_BYTES,
    MalformedAnswer,
    ReportedError,
    StreamedAnswer,
    parse_answer,
)
from arbiter.inference import (
    Called,
    Chat,
    Completion,
    Delta,
    Effort,
    FinishReason,
    Generation,
    Media,
    Message,
    Odds,
    Sampling,
    Thought,
    Timings,
    Tool,
    Tools,
    Usage,
)

ASKED = (Message(role="user", content="hello"),)
PIECE = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
END = b'data: {"choices":[{"delta":{},"finish_reason":"length"}]}\n\ndata: [DONE]\n\n'


def sent(sampling: Sampling, *, stream: bool = True) -> dict[str, object]:
    request = Generation(work=Chat(messages=ASKED), sampling=sampling, stream=stream)
    found = json.loads(encode_request(request, cache_prompt=True))
    assert isinstance(found, dict)
    return found


def asked_of(kind: str, sampling: Sampling, tools: Tools | None = None) -> dict[str, object]:
    request = Generation(work=Chat(messages=ASKED, tools=tools), sampling=sampling)
    found = json.loads(encode_request(request, model="m", dialect=dialect_of(kind)))
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


@pytest.mark.security("S-34")
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


@pytest.mark.security("S-34")
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
    pieces, finish = parse_answer(whole(**told))
    assert pieces == [Delta(text="hi")]
    assert (finish.usage, finish.timings) == (Usage(), Timings())


def test_a_plausible_report_is_taken() -> None:
    _, finish = parse_answer(
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


@pytest.mark.parametrize(("kind", "taken"), [(LLAMA_SERVER, 2**32 - 2), (VLLM, -1)])
def test_a_seed_is_folded_only_where_seeds_are_small(kind: str, taken: int) -> None:
    assert asked_of(kind, Sampling(seed=-1))["seed"] == taken


@pytest.mark.parametrize(
    ("kind", "choice", "offered"),
    [
        (VLLM, {"type": "function", "function": {"name": "bell"}}, ["clock", "bell"]),
        (LLAMA_SERVER, "required", ["bell"]),
    ],
)
def test_a_tool_that_must_be_called_is_named_or_offered_alone(
    kind: str, choice: object, offered: list[str]
) -> None:
    both = Tools(offered=(Tool(name="clock"), Tool(name="bell")), named="bell")
    found = asked_of(kind, Sampling(), both)
    tools = found["tools"]
    assert isinstance(tools, list)
    assert (found["tool_choice"], [t["function"]["name"] for t in tools]) == (choice, offered)


FRAMES = st.sampled_from([b"\n", b"\r\n", b"\r"])
EVENTS = (
    b'{"choices":[{"delta":{"role":"assistant"}}]}',
    '{"choices":[{"delta":{"content":"é🙂 \\"error\\" "}}]}'.encode(),
    b'{"choices":[{"delta":{"content":"hi","reasoning_content":"hm"}}]}',
    b'{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"bell"}}]}}]}',
    b'{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}',
    b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}',
    b"[DONE]",
)


@settings(deadline=None)  # a busy machine is no bug
@given(
    line=FRAMES,
    space=st.booleans(),
    named=st.booleans(),
    comments=st.booleans(),
    ends=st.booleans(),
    cuts=st.lists(st.integers(0, 2000), max_size=20),
)
def test_any_framing_cut_anywhere_gives_the_same_answer(
    line: bytes, space: bool, named: bool, comments: bool, ends: bool, cuts: list[int]
) -> None:
    begin = (b"event: message" + line if named else b"") + (b"data: " if space else b"data:")
    between = line + (b": ping" + line + line if comments else b"")
    data = b"".join(begin + event + line + between for event in EVENTS)
    if not ends:
        data = data[: data.index(b"[DONE]") + len(b"[DONE]")]
    places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    answer = ServerStream()
    text, calls = "", []
    for piece in [*(data[a:b] for a, b in itertools.pairwise(places)), b"\n\n"]:
        text += answer.feed(piece)
        calls += answer.calls()
    finish = answer.finish()
    assert text == 'é🙂 "error" hi'
    assert calls == [Called(index=0, id="c", name="bell")]
    assert finish.reason is FinishReason.TOOL_CALLS
    assert finish.usage == Usage(prompt_tokens=3, completion_tokens=2)
    assert answer.is_done


def test_an_event_over_several_lines_is_one() -> None:
    answer = ServerStream()
    assert answer.feed(b'data: {"choices":[\ndata: {"delta":{"content":"hi"}}]}\n\n') == "hi"


def test_nothing_is_heard_after_the_end() -> None:
    answer = ServerStream()
    assert answer.feed(PIECE + END + PIECE) == "hi"


@pytest.mark.parametrize(
    "told",
    [
        b'data: {"error":{"message":"oom"}}\n\n',
        b'data: {"error":"oom"}\n\n',
        b'event: error\ndata: {"message":"oom"}\n\n',
        b'data: {"object":"error","message":"oom"}\n\n',
    ],
)
def test_an_error_in_any_form_ends_the_answer(told: bytes) -> None:
    answer = ServerStream()
    assert answer.feed(PIECE + told + PIECE + END) == "hi"
    assert answer.is_broken
    with pytest.raises(ReportedError, match="oom"):
        answer.finish()


def test_a_stream_that_says_it_is_done_need_not_say_why() -> None:
    answer = ServerStream()
    answer.feed(PIECE + b"data: [DONE]\n\n")
    assert answer.finish().reason is FinishReason.STOP


@pytest.mark.parametrize("data", [b"data: [DONE]\n\n", PIECE, b""])
def test_a_stream_that_says_nothing_or_does_not_end_is_malformed(data: bytes) -> None:
    answer = ServerStream()
    answer.feed(data)
    with pytest.raises(MalformedAnswer, match="without an end"):
        answer.finish()


@pytest.mark.parametrize("data", [b"data: " + b"x" * 5_000_000, b"data: x\n" * 3_000_000])
def test_an_event_of_a_server_is_bounded_too(data: bytes) -> None:
    with pytest.raises(MalformedAnswer, match="event without an end"):
        ServerStream().feed(data)


@pytest.mark.parametrize("reason", [None, ""])
def test_an_end_without_a_reason_is_none_while_the_stream_goes_on(reason: str | None) -> None:
    # LocalAI says "" in every event: a stream that was cut looked whole
    answer = ServerStream()
    event = {"choices": [{"delta": {"content": "hi"}, "finish_reason": reason}]}
    assert answer.feed(b"data: %b\n\n" % json.dumps(event).encode()) == "hi"
    with pytest.raises(MalformedAnswer, match="without an end"):
        answer.finish()


@pytest.mark.parametrize("reason", ["abort", "error", "cancelled"])
def test_an_answer_that_its_server_gave_up_is_none(reason: str) -> None:
    answer = ServerStream()
    last = {"choices": [{"delta": {"content": ""}, "finish_reason": reason}]}
    assert answer.feed(PIECE + b"data: %b\n\n" % json.dumps(last).encode()) == "hi"
    with pytest.raises(ReportedError, match=reason):
        answer.finish()
    choice = {"message": {"content": "hi"}, "finish_reason": reason}
    with pytest.raises(ReportedError, match=reason):
        parse_answer(json.dumps({"choices": [choice]}).encode())


def test_what_follows_the_end_of_a_stream_is_left_unread() -> None:
    answer = ServerStream()
    end = END.partition(b"data: [DONE]")[0]
    assert answer.feed(PIECE + end + PIECE + END + PIECE) == "hi"
    assert answer.finish().reason is FinishReason.LENGTH


def test_numbers_that_json_does_not_have_cost_no_answer() -> None:
    told = b'{"choices":[{"message":{"content":"NaN"}}],"timings":{"prompt_ms":NaN},"x":-Infinity}'
    pieces, finish = parse_answer(told)
    assert (pieces, finish.timings) == ([Delta(text="NaN")], Timings())


@pytest.mark.security("S-34")
def test_only_events_are_news() -> None:
    answer = ServerStream()
    answer.feed(b": still here\n\n" + PIECE + b"event: ping\n\n")
    assert answer.events == 1


def test_a_model_that_thinks_for_ever_is_let_go() -> None:
    answer = ServerStream()
    event = b'data: {"choices":[{"delta":{"reasoning":"%b"}}]}\n\n' % (b"hm " * 300_000)
    with pytest.raises(MalformedAnswer, match="without an end"):
        _ = [answer.pieces(event) for _ in range(MOST_BYTES // len(event) + 1)]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("reader", [StreamedAnswer, ServerStream])
def test_what_a_model_thinks_comes_before_its_text(name: str, reader: type[StreamedAnswer]) -> None:
    delta = json.dumps({"choices": [{"delta": {name: "hm"}}]}).encode()
    answer = reader()
    assert answer.pieces(b"data: " + delta + b"\n\n" + PIECE) == [
        Thought(text="hm"),
        Delta(text="hi"),
    ]
    message = {"content": "hi", name: "hm"}
    body = {"choices": [{"message": message, "finish_reason": "stop"}]}
    assert parse_answer(json.dumps(body).encode())[0] == [Thought(text="hm"), Delta(text="hi")]


def test_a_thought_in_a_form_that_nobody_knows_costs_no_answer() -> None:
    message = {"content": "hi", "reasoning": {"effort": "low"}}
    body = {"choices": [{"message": message, "finish_reason": "stop"}]}
    assert parse_answer(json.dumps(body).encode())[0] == [Delta(text="hi")]


LIKELY = {"token": "hi", "logprob": -0.5, "bytes": [104, 105], "top_logprobs": [
    {"token": "ho", "logprob": -1.5, "bytes": None}]}  # fmt: skip


@pytest.mark.parametrize(
    ("told", "read"),
    [
        (
            {"content": [LIKELY]},
            (
                Odds(
                    token="hi",
                    logprob=-0.5,
                    raw=(104, 105),
                    others=(Odds(token="ho", logprob=-1.5),),
                ),
            ),
        ),
        (None, ()),
        ({"content": "nonsense"}, ()),
        ({"tokens": ["hi"], "token_logprobs": [-0.5]}, (Odds(token="hi", logprob=-0.5),)),
        (
            {
                "tokens": ["first", "hi"],
                "token_logprobs": [None, -0.5],
                "top_logprobs": [None, {"hi": -0.5, "ho": -1.5}],
                "text_offset": [0, 5],
            },
            (
                Odds(
                    token="hi",
                    logprob=-0.5,
                    others=(Odds(token="hi", logprob=-0.5), Odds(token="ho", logprob=-1.5)),
                ),
            ),
        ),
        ({"tokens": ["hi"], "token_logprobs": []}, ()),
    ],
)
def test_the_odds_of_tokens_come_with_their_text(told: object, read: tuple[Odds, ...]) -> None:
    event = {"choices": [{"delta": {"content": "hi"}, "logprobs": told}]}
    data = b"data: " + json.dumps(event).encode() + b"\n\n"
    assert StreamedAnswer().pieces(data) == [Delta(text="hi", odds=read)]
    body = {"choices": [{"message": {"content": "hi"}, "logprobs": told, "finish_reason": "stop"}]}
    assert parse_answer(json.dumps(body).encode())[0] == [Delta(text="hi", odds=read)]
    alone = tuple([replace(one, others=()) for one in read])
    assert StreamedAnswer(odds=0).pieces(data) == [Delta(text="hi", odds=alone)]
    asked = parse_answer(json.dumps(body).encode(), odds=1)[0]
    assert asked == [
        Delta(text="hi", odds=tuple([replace(one, others=one.others[:1]) for one in read]))
    ]
    text = {"choices": [{"text": "hi", "logprobs": told}]}
    data = b"data: " + json.dumps(text).encode() + b"\n\n"
    assert StreamedAnswer().pieces(data) == [Delta(text="hi", odds=read)]


def test_pictures_and_sounds_stand_where_they_stood() -> None:
    picture = Media(kind="image", format="png", data="iVBORw==")
    sound = Media(kind="audio", format="wav", data="UklGRg==")
    message = Message(role="user", content="see\nhear", parts=("see", picture, "hear", sound))
    told = json.loads(encode_request(Generation(work=Chat(messages=(message,)))))
    assert told["messages"][0]["content"] == [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
        {"type": "text", "text": "hear"},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ]


@pytest.mark.parametrize(
    ("kind", "effort", "told"),
    [
        ("llama-server", "none", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("vLLM", "some", {"chat_template_kwargs": {"enable_thinking": True}}),
        (
            "llama-server",
            "max",
            {"chat_template_kwargs": {"enable_thinking": True, "reasoning_effort": "high"}},
        ),
        ("LM Studio", "low", {"reasoning_effort": "low"}),
        ("Arbiter", "some", {"reasoning_effort": "medium"}),
    ],
)
def test_how_much_to_think_is_said_in_the_field_that_the_server_heeds(
    kind: str, effort: Effort, told: dict[str, object]
) -> None:
    request = Generation(work=Chat(messages=ASKED, effort=effort))
    body = json.loads(encode_request(request, dialect=dialect_of(kind)))
    names = ("chat_template_kwargs", "reasoning_effort")
    assert {name: body[name] for name in names if name in body} == told


def test_odds_are_asked_for_as_openai_asks() -> None:
    assert sent(Sampling(odds=0))["logprobs"] is True
    assert sent(Sampling(odds=3))["top_logprobs"] == 3
    assert "logprobs" not in sent(Sampling())


@pytest.mark.parametrize(("odds", "told"), [(None, None), (0, 1), (3, 3)])
def test_a_text_is_asked_for_a_number_of_odds(odds: int | None, told: int | None) -> None:
    """None at all would be taken for no odds."""
    request = Generation(work=Completion(prompt="Once"), sampling=Sampling(odds=odds))
    body = json.loads(encode_request(request))
    assert (body.get("logprobs"), body.get("top_logprobs")) == (told, None)
