"""Answers of an Ollama: lines however they are cut, figures, calls, refusals."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.engines.ollama_wire import (
    Answer,
    Lines,
    parse_answer,
    parse_refusal,
    parse_step,
    parse_vectors,
)
from arbiter.engines.openai_wire import MOST_BYTES, MalformedAnswer, ReportedError
from arbiter.errors import (
    Busy,
    CannotServe,
    EngineError,
    EngineRefused,
    InstanceLost,
    PromptTooLong,
)
from arbiter.inference import (
    Called,
    Delta,
    FinishReason,
    Odds,
    Piece,
    Thought,
    Timings,
    Usage,
)

MODEL = "gemma3:1b"

END = {
    "message": {"role": "assistant", "content": ""},
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 7,
    "eval_count": 2,
}


def lines(*values: object) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def said(text: str) -> dict[str, object]:
    return {"message": {"role": "assistant", "content": text}, "done": False}


def calling(*calls: object) -> dict[str, object]:
    return {"message": {"role": "assistant", "content": "", "tool_calls": list(calls)}}


def fed(answer: Answer, *pieces: bytes) -> list[Piece]:
    return list(itertools.chain.from_iterable(answer.feed(piece) for piece in pieces))


def refused(status: int, words: object) -> Exception:
    body = json.dumps({"error": words}).encode()
    return parse_refusal(status, body, model=MODEL, url="http://here")


TALK = lines(said("Grüße"), said(" und"), said("\nmehr 🙂"), {**said(""), **END})


@given(cuts=st.lists(st.integers(0, len(TALK)), max_size=12))
def test_an_answer_is_the_same_however_the_network_cuts_it(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(TALK)]
    answer = Answer()
    pieces = fed(answer, *(TALK[a:b] for a, b in itertools.pairwise(edges)))
    assert pieces == [Delta(text="Grüße"), Delta(text=" und"), Delta(text="\nmehr 🙂")]
    finish = answer.finish()
    assert finish.usage == Usage(prompt_tokens=7, completion_tokens=2)


@given(st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b""))), st.data())
def test_lines_are_the_same_however_the_network_cuts_them(
    told: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(one + b"\n" for one in told)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    found = Lines()
    joined = [
        line
        for a, b in itertools.pairwise([0, *cuts, len(whole)])
        for line in found.feed(whole[a:b])
    ]
    assert joined == [one for one in told if one and not one.isspace()]


def test_a_line_without_an_end_is_not_waited_for_for_ever() -> None:
    with pytest.raises(MalformedAnswer, match="without an end"):
        Lines().feed(b"x" * (5 * 1024 * 1024))


@given(st.binary(max_size=200))
def test_nonsense_is_malformed_and_nothing_worse(nonsense: bytes) -> None:
    answer = Answer()
    try:
        fed(answer, nonsense, b"\n")
        answer.finish()
    except (MalformedAnswer, ReportedError):
        pass


def test_a_whole_answer_needs_no_end_of_line() -> None:
    answer = Answer()
    whole = json.dumps({**END, "message": {"content": "hi"}}).encode()
    assert fed(answer, whole) == []
    assert list(answer.end()) == [Delta(text="hi")]
    assert answer.finish().reason is FinishReason.STOP


def test_what_a_model_thinks_is_no_part_of_its_answer() -> None:
    thinking = {"message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False}
    assert fed(Answer(), lines(thinking, said("yes"))) == [Thought(text="hm"), Delta(text="yes")]


def test_durations_are_milliseconds() -> None:
    answer = Answer()
    told = {"load_duration": 1, "prompt_eval_duration": 2_500_000, "eval_duration": 10**9}
    fed(answer, lines({**END, **told}))
    assert answer.finish().timings == Timings(load_ms=1e-6, prefill_ms=2.5, decode_ms=1000.0)


@pytest.mark.parametrize("absurd", [-1, 1e300, 2.5, "seven", None])
def test_a_figure_that_cannot_be_true_is_unknown_and_costs_no_answer(absurd: object) -> None:
    answer = Answer()
    told = {"response": "", "done": True, "prompt_eval_count": absurd, "eval_duration": -5}
    assert fed(answer, lines(said("hi"), told)) == [Delta(text="hi")]
    assert answer.finish().usage == Usage()
    assert answer.finish().timings == Timings()


@pytest.mark.parametrize(
    ("told", "reason"),
    [("stop", FinishReason.STOP), ("length", FinishReason.LENGTH), (None, FinishReason.STOP)],
)
def test_why_it_ended_is_told(told: str | None, reason: FinishReason) -> None:
    answer = Answer()
    fed(answer, lines({"response": "", "done": True, "done_reason": told}))
    assert answer.finish().reason is reason


def test_tool_calls_are_whole_and_have_their_ids() -> None:
    answer = Answer()
    one = {"id": "call_1", "function": {"name": "clock", "arguments": {"zone": "utc"}}}
    pieces = fed(answer, lines(calling(one), {**said(""), **END}))
    assert pieces == [Called(index=0, id="call_1", name="clock", arguments='{"zone": "utc"}')]
    assert answer.finish().reason is FinishReason.TOOL_CALLS


def made_up(*told: object) -> list[Called]:
    return [piece for piece in fed(Answer(), lines(*told)) if isinstance(piece, Called)]


def test_a_call_without_an_id_gets_one_that_is_its_own_and_stays_the_same() -> None:
    call = {"function": {"name": "clock", "arguments": {}}}
    first = {**calling(call, call), "created_at": "2026-01-01T00:00:00Z"}
    later = {**calling(call), "created_at": "2026-01-01T00:00:01Z"}
    ids = [piece.id for piece in made_up(first, later)]
    assert [piece.id for piece in made_up(first, later)] == ids
    assert len({*ids}) == 3
    assert [piece.index for piece in made_up(first, later)] == [0, 1, 2]


@pytest.mark.parametrize(("told", "arguments"), [({}, "{}"), ({"arguments": '{"a":1}'}, '{"a":1}')])
def test_arguments_in_another_form_are_taken(told: dict[str, object], arguments: str) -> None:
    (piece,) = made_up(calling({"function": {"name": "clock", **told}}))
    assert piece.arguments == arguments


def test_one_call_is_enough_when_no_more_are_wanted() -> None:
    call = {"function": {"name": "clock", "arguments": {}}}
    assert len(fed(Answer(most_calls=1), lines(calling(call, call), calling(call)))) == 1


def test_text_before_an_error_is_not_lost() -> None:
    answer = Answer()
    assert fed(answer, lines(said("hi"), {"error": "it died."}, said("no"))) == [Delta(text="hi")]
    assert answer.is_over
    with pytest.raises(ReportedError, match=r"^it died$"):
        answer.finish()


def test_a_stream_without_an_end_is_malformed() -> None:
    answer = Answer()
    fed(answer, lines(said("hi")))
    with pytest.raises(MalformedAnswer, match="without an end"):
        answer.finish()


def test_nothing_after_the_end_counts() -> None:
    assert fed(Answer(), lines(END, said("late"))) == []


def test_half_a_character_does_no_harm() -> None:
    broken = lines(said("hi?")).replace(b"?", b"\xf0\x9f")
    assert fed(Answer(), broken)


def test_vectors_keep_their_order() -> None:
    body = json.dumps({"embeddings": [[1, 0.5], [2, 3]], "prompt_eval_count": 4}).encode()
    vectors, finish = parse_vectors(body, wanted=2)
    assert [list(one) for one in vectors.vectors] == [[1.0, 0.5], [2.0, 3.0]]
    assert finish.usage == Usage(prompt_tokens=4)


@pytest.mark.parametrize(
    "embeddings", [[[1.0]], [[1.0], [1.0, 2.0]], [[], []], [["x"], ["y"]], None]
)
def test_vectors_that_are_none_are_malformed(embeddings: object) -> None:
    with pytest.raises(MalformedAnswer):
        parse_vectors(json.dumps({"embeddings": embeddings}).encode(), wanted=2)


OVERFLOW = json.dumps(
    {
        "error": {
            "details": "x" * 1000,
            "code": 400,
            "message": "request (2622 tokens) exceeds the available context size (512 tokens)",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": 2622,
            "n_ctx": 512,
        }
    }
)


@pytest.mark.parametrize(
    ("status", "told", "kind", "words"),
    [
        (400, "bad things.", EngineRefused, "Ollama refused the request: bad things."),
        (400, OVERFLOW, PromptTooLong, "has 2622 tokens, and this model is loaded with room for"),
        (
            400,
            '"x" does not support chat',
            CannotServe,
            "cannot do this with gemma3:1b: status 400",
        ),
        (405, None, CannotServe, "cannot do this with gemma3:1b: status 405"),
        (404, None, CannotServe, "status 404"),
        (404, "model 'x' not found", InstanceLost, "http://here does not have gemma3:1b any more"),
        (500, "out of memory", EngineError, "http://here failed with status 500: out of memory."),
        (500, '{"error":{"message":"it died"}}', EngineError, "status 500: it died."),
        (400, "\x1b[2Jno", EngineRefused, "refused the request: [2Jno."),
        (499, "request canceled", EngineError, "status 499"),
        (302, None, EngineError, "sends requests elsewhere"),
        (503, "server busy", Busy, "http://here is busy: server busy."),
        (429, {"deep": 1}, Busy, "did not say why"),
    ],
)
def test_a_refusal_says_what_it_means(
    status: int, told: object, kind: type[Exception], words: str
) -> None:
    error = refused(status, told)
    assert type(error) is kind
    assert words in str(error)


def test_a_refusal_in_no_form_at_all_is_still_one() -> None:
    error = parse_refusal(400, b"<html>", model=MODEL, url="http://here")
    assert "did not say why" in str(error)


def test_a_busy_server_is_asked_again_soon() -> None:
    error = refused(503, "server busy")
    assert isinstance(error, Busy)
    assert error.retry_after_s == 1


def test_a_step_of_a_pull_is_read() -> None:
    digest = "sha256:" + "a" * 64
    line = b'{"status":"pulling abc","digest":"%s","total":9,"completed":3}'
    step = parse_step(line % digest.encode())
    assert (step.status, step.completed, step.total) == ("pulling abc", 3, 9)
    assert step.digest == digest
    assert parse_step(line % b"../../etc").digest is None
    with pytest.raises(ReportedError, match="no such file"):
        parse_step(b'{"error":"no such file"}')
    with pytest.raises(MalformedAnswer):
        parse_step(b"[]")


def test_an_end_without_any_message_is_no_answer() -> None:
    answer = Answer()
    fed(answer, lines({"done": True, "done_reason": "stop"}))
    with pytest.raises(MalformedAnswer, match="without a message"):
        answer.finish()


def test_what_follows_the_end_of_a_stream_is_left_unread() -> None:
    answer = Answer()
    assert fed(answer, lines(said("a"), END, said("b"), END)) == [Delta(text="a")]


def test_two_answers_in_one_are_none() -> None:
    whole = lines({**said("a"), "done": True})
    with pytest.raises(MalformedAnswer, match="more than one"):
        parse_answer(whole + whole, most_calls=None)


def test_a_model_that_thinks_for_ever_is_let_go() -> None:
    answer = Answer()
    line = lines({"message": {"role": "assistant", "content": "", "thinking": "hm " * 300_000}})
    with pytest.raises(MalformedAnswer, match="without an end"):
        _ = [fed(answer, line) for _ in range(MOST_BYTES // len(line) + 1)]


def test_the_odds_of_tokens_come_with_their_text() -> None:
    told = {**said("hi"), "logprobs": [{"token": "hi", "logprob": -0.5}]}
    assert fed(Answer(), lines(told)) == [Delta(text="hi", odds=(Odds(token="hi", logprob=-0.5),))]
