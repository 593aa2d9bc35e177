"""What is sent to an Ollama: its own names for everything, and nothing unasked."""

from __future__ import annotations

import json

import pytest

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
from arbiter.errors import (
    EngineRefused,
    LoadFailed,
)
from arbiter.inference import (
    Chat,
    Completion,
    Effort,
    Embedding,
    Generation,
    Media,
    Message,
    Sampling,
    Shape,
    Tool,
    ToolCall,
    Tools,
)

MODEL = "gemma3:1b"

ASKED = (Message(role="user", content="hello"),)

UNPINNED = Pinned()
CLOCK = Tool(name="clock", description="the time", parameters='{"type":"object"}')


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
