"""Ollama's dialect: what is sent, what is believed of what comes back, how its lines are joined."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.engines.ollama_listing import (
    Process,
    loaded,
    offer,
    parse_processes,
    parse_shown,
    parse_tags,
    parse_version,
)
from arbiter.engines.ollama_request import (
    CHAT,
    EMBED,
    GENERATE,
    Pinned,
    encode_embedding,
    encode_generation,
    encode_load,
    encode_unload,
    read_options,
)
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
    LoadFailed,
    PromptTooLong,
)
from arbiter.inference import (
    Called,
    Chat,
    Completion,
    Delta,
    Effort,
    Embedding,
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
)

MODEL = "gemma3:1b"
ASKED = (Message(role="user", content="hello"),)
DIGEST = "a" * 64
UNPINNED = Pinned()
CLOCK = Tool(name="clock", description="the time", parameters='{"type":"object"}')
END = {
    "message": {"role": "assistant", "content": ""},
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 7,
    "eval_count": 2,
}


def sent(
    work: Chat | Completion,
    sampling: Sampling = Sampling(),
    *,
    pinned: Pinned = UNPINNED,
    stream: bool = True,
) -> tuple[str, dict[str, object]]:
    request = Generation(work=work, sampling=sampling, stream=stream)
    path, body = encode_generation(MODEL, request, pinned)
    return path, json.loads(body)


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


def test_only_what_was_asked_for_is_sent() -> None:
    assert sent(Chat(messages=ASKED)) == (
        CHAT,
        {
            "model": MODEL,
            "stream": True,
            "messages": [{"role": "user", "content": "hello"}],
            "truncate": False,
            "shift": False,
        },
    )


def test_sampling_goes_by_ollamas_names() -> None:
    how = Sampling(
        temperature=0.5,
        top_p=0.9,
        seed=7,
        max_tokens=3,
        stop=("END",),
        presence_penalty=0.1,
        frequency_penalty=0.2,
        top_k=40,
        min_p=0.05,
        repeat_penalty=1.1,
    )
    assert sent(Chat(messages=ASKED), how)[1]["options"] == {
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "num_predict": 3,
        "stop": ["END"],
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "top_k": 40,
        "min_p": 0.05,
        "repeat_penalty": 1.1,
    }


@pytest.mark.parametrize(("seed", "taken"), [(0, 0), (-1, 2**32 - 2), (2**32 + 5, 5)])
def test_any_seed_is_one_that_is_not_random(seed: int, taken: int) -> None:
    assert sent(Chat(messages=ASKED), Sampling(seed=seed))[1]["options"] == {"seed": taken}


def test_what_a_version_pins_goes_with_every_request_in_the_same_words() -> None:
    pinned = read_options({"num_ctx": "8192", "use_mmap": "false", "keep_alive": "10m"})
    held = {"num_ctx": 8192, "use_mmap": False}
    bodies = [
        sent(Chat(messages=ASKED), pinned=pinned)[1],
        sent(Completion(prompt="a"), pinned=pinned)[1],
        json.loads(encode_embedding(MODEL, Embedding(inputs=("a",)), pinned)),
        json.loads(encode_load(MODEL, pinned, only_embeds=False)[1]),
        json.loads(encode_load(MODEL, pinned, only_embeds=True)[1]),
    ]
    assert [(body["options"], body["keep_alive"]) for body in bodies] == [(held, "10m")] * 5
    _, sampled = sent(Chat(messages=ASKED), Sampling(top_k=1), pinned=pinned)
    assert sampled["options"] == {**held, "top_k": 1}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"gpu_layers": "1"}, "no option 'gpu_layers'"),
        ({"num_ctx": "many"}, "whole number"),
        ({"use_mmap": "yes"}, "true or false"),
        ({"keep_alive": "a while"}, "no duration"),
    ],
)
def test_an_option_that_there_is_not_is_told(given: dict[str, str], words: str) -> None:
    with pytest.raises(LoadFailed, match=words):
        read_options(given)


@pytest.mark.parametrize(("text", "read"), [("-1", -1), ("300", 300), ("1h30m", "1h30m")])
def test_a_time_to_be_kept_is_seconds_or_a_duration(text: str, read: int | str) -> None:
    assert read_options({"keep_alive": text}).keep_alive == read


def test_a_text_goes_on_without_a_template_and_a_gap_with_the_models_own() -> None:
    path, body = sent(Completion(prompt="a"))
    assert (path, body["raw"]) == (GENERATE, True)
    _, gap = sent(Completion(prompt="a", suffix="b"))
    assert (gap["suffix"], "raw" in gap) == ("b", False)


@pytest.mark.parametrize("work", [Chat(messages=()), Completion(prompt="")])
def test_nothing_to_say_is_refused_because_it_would_only_load(work: Chat | Completion) -> None:
    with pytest.raises(EngineRefused):
        sent(work)


def test_a_shape_is_a_format() -> None:
    schema = '{"type":"object"}'
    assert sent(Chat(messages=ASKED, shape=Shape()))[1]["format"] == "json"
    assert sent(Chat(messages=ASKED, shape=Shape(schema=schema)))[1]["format"] == {"type": "object"}


def test_tools_and_their_results_go_by_ollamas_names() -> None:
    talk = (
        *ASKED,
        Message(
            role="assistant",
            content="",
            calls=(ToolCall(id="c1", name="clock", arguments='{"zone": "utc"}'),),
        ),
        Message(role="tool", content="noon", answers="c1"),
    )
    _, body = sent(Chat(messages=talk, tools=Tools(offered=(CLOCK,))))
    assert body["tools"] == [
        {
            "function": {
                "name": "clock",
                "description": "the time",
                "parameters": {"type": "object"},
            },
            "type": "function",
        }
    ]
    assert body["messages"] == [
        {"role": "user", "content": "hello"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "c1", "function": {"name": "clock", "arguments": {"zone": "utc"}}}
            ],
        },
        {"role": "tool", "content": "noon", "tool_call_id": "c1", "tool_name": "clock"},
    ]


def test_tools_that_may_not_be_called_are_not_offered() -> None:
    _, body = sent(Chat(messages=ASKED, tools=Tools(offered=(CLOCK,), choice="none")))
    assert "tools" not in body


@pytest.mark.parametrize(
    "tools", [Tools(offered=(CLOCK,), choice="required"), Tools(offered=(CLOCK,), named="clock")]
)
def test_a_tool_that_must_be_called_is_refused(tools: Tools) -> None:
    with pytest.raises(EngineRefused, match="cannot be made") as error:
        sent(Chat(messages=ASKED, tools=tools))
    assert error.value.param == "tool_choice"


@pytest.mark.parametrize("arguments", ["[1]", "{", '"text"'])
def test_arguments_of_an_earlier_call_that_are_no_object_are_refused(arguments: str) -> None:
    turn = Message(
        role="assistant",
        content="",
        calls=(ToolCall(id="c1", name="clock", arguments=arguments),),
    )
    with pytest.raises(EngineRefused, match="'clock'"):
        sent(Chat(messages=(turn,)))


def test_an_unload_works_for_any_kind_of_model() -> None:
    path, body = encode_unload(MODEL)
    assert path == GENERATE
    assert json.loads(body) == {"model": MODEL, "stream": False, "keep_alive": 0}
    assert encode_load(MODEL, Pinned(), only_embeds=True)[0] == EMBED


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


SHOWN = {
    "license": "\n  Gemma Terms of Use  \nLast modified: ...",
    "template": "{{ .Prompt }}",
    "details": {
        "format": "gguf",
        "family": "gemma3",
        "parameter_size": "999.89M",
        "quantization_level": "Q4_K_M",
        "parent_model": "",
    },
    "model_info": {
        "general.architecture": "gemma3",
        "general.parameter_count": 999885952,
        "gemma3.context_length": 32768,
        "gemma3.embedding_length": 1152,
        "tokenizer.ggml.tokens": None,
    },
    "capabilities": ["completion", "tools", "vision", "flying"],
}
TAG = {"name": MODEL, "model": MODEL, "digest": DIGEST, "size": 815_319_791}


def shown(**changes: object) -> bytes:
    return json.dumps({**SHOWN, **changes}).encode()


def tags(*told: object) -> bytes:
    return json.dumps({"models": list(told)}).encode()


def test_a_model_is_offered_as_its_server_describes_it() -> None:
    (tag,) = parse_tags(tags(TAG))
    found = offer(tag, parse_shown(shown()), ())
    assert found.digest == f"sha256:{DIGEST}"
    assert found.capabilities == frozenset({"chat", "completion", "tools", "vision"})
    assert (found.architecture, found.parameters) == ("gemma3", 999_885_952)
    assert (found.context_length, found.quantization) == (32_768, "Q4_K_M")
    assert (found.template, found.licence) == ("{{ .Prompt }}", "Gemma Terms of Use")
    assert (found.size_bytes, found.loaded) == (815_319_791, False)
    assert found.details == {
        "family": "gemma3",
        "file_format": "gguf",
        "parameter_size": "999.89M",
        "embedding_length": 1152,
    }


@pytest.mark.parametrize("told", [None, []])
def test_a_server_that_tells_no_capabilities_leaves_them_unknown(told: object) -> None:
    assert parse_shown(shown(capabilities=told)).capabilities is None


@pytest.mark.parametrize("info", [None, {}, {"general.architecture": 5}])
def test_what_is_not_described_stays_unknown(info: object) -> None:
    found = parse_shown(shown(model_info=info, license=None, details={}))
    assert (found.architecture, found.parameters, found.context_length) == (None, None, None)
    assert (found.licence, found.quantization, found.details) == (None, None, {})


def test_what_a_server_calls_things_is_shown_on_one_line() -> None:
    (tag,) = parse_tags(tags({**TAG, "model": "a\x1b[31m\nb"}))
    assert tag.shown == "a [31m b"
    found = parse_shown(shown(license="\x07\n Mine \x1b[2J", details={"family": "a\nb"}))
    assert (found.licence, found.details["family"]) == ("Mine [2J", "a b")


@pytest.mark.parametrize("absurd", [-1, 0, 1.5, "many", 2**60])
def test_a_number_that_cannot_be_true_is_not_taken(absurd: object) -> None:
    info = {"general.architecture": "x", "x.context_length": absurd}
    assert parse_shown(shown(model_info=info)).context_length is None


@pytest.mark.parametrize("parse", [parse_version, parse_tags, parse_processes, parse_shown])
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"hi"', b"\xff\xfe"])
def test_a_list_that_is_none_is_no_list(parse: object, body: bytes) -> None:
    assert callable(parse)
    with pytest.raises(ValueError, match=r".+"):
        parse(body)


def processes(*told: tuple[str, str]) -> tuple[Process, ...]:
    found: Iterable[dict[str, object]] = ({"model": name, "digest": d} for name, d in told)
    return parse_processes(json.dumps({"models": list(found)}).encode())


def test_a_model_is_loaded_under_another_name_of_the_same_content() -> None:
    listed = processes(("other", DIGEST), (MODEL, "b" * 64))
    by_content = loaded(MODEL, DIGEST, listed)
    assert by_content is not None
    assert by_content.title == "other"
    by_name = loaded(MODEL, None, listed)
    assert by_name is not None
    assert by_name.title == MODEL
    assert loaded("third", "c" * 64, listed) is None


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


@pytest.mark.parametrize(
    ("effort", "think"),
    [("none", False), ("some", True), ("minimal", "low"), ("high", "high"), (None, None)],
)
def test_how_much_to_think_goes_by_ollamas_word(effort: Effort | None, think: object) -> None:
    request = Generation(work=Chat(messages=ASKED, effort=effort))
    _, body = encode_generation("m", request, UNPINNED)
    assert json.loads(body).get("think") == think
    _, body = encode_generation("m", request, UNPINNED, thinks=False)
    assert "think" not in json.loads(body)


def test_pictures_go_beside_the_text_and_sounds_are_refused() -> None:
    picture = Media(kind="image", format="png", data="iVBORw==")
    seen = Message(role="user", content="see", parts=("see", picture))
    _, body = encode_generation("m", Generation(work=Chat(messages=(seen,))), UNPINNED)
    assert json.loads(body)["messages"] == [
        {"role": "user", "content": "see", "images": ["iVBORw=="]}
    ]
    sound = Media(kind="audio", format="wav", data="UklGRg==")
    heard = Message(role="user", content="hear", parts=("hear", sound))
    with pytest.raises(EngineRefused, match="no sounds"):
        encode_generation("m", Generation(work=Chat(messages=(heard,))), UNPINNED)


def test_the_odds_of_tokens_come_with_their_text() -> None:
    told = {**said("hi"), "logprobs": [{"token": "hi", "logprob": -0.5}]}
    assert fed(Answer(), lines(told)) == [Delta(text="hi", odds=(Odds(token="hi", logprob=-0.5),))]
