"""What a chat request of OpenAI's clients asks of the house, and what is refused by name."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from tests.contract.door_support import (
    CHAT,
    VERSION,
)
from tests.contract.openai_door_support import MESSAGES, PNG, asked, chat, content, refused

from arbiter.inference import (
    Auto,
    Chat,
    Limits,
    Media,
    Message,
    Named,
    Pinned,
    Sampling,
    needed,
)

TARGETS = [
    ("gemma3n:e2b", Named(name="gemma3n:e2b"), None),  # type: ignore[arg-type]  # a literal name
    ("auto", Auto(), None),
    ("task:triage", Auto(), "triage"),
    ("a/b@0123ab", Pinned(name="a/b", digest_prefix="0123ab"), None),  # type: ignore[arg-type]  # as above
    ("a@" + VERSION, Pinned(name="a", digest_prefix="ab" * 32), None),  # type: ignore[arg-type]  # as above
]


@pytest.mark.parametrize(("model", "target", "task"), TARGETS)
async def test_the_model_says_who_is_to_answer(model: str, target: object, task: object) -> None:
    ask = await asked(chat(model=model))
    assert (ask.target, ask.task) == (target, task)


@pytest.mark.parametrize(
    "model", ["", "a b", "../x", "task:", "task:auto", "x@", "x@zz", "@0123ab"]
)
async def test_a_model_that_is_no_name_is_refused(model: str) -> None:
    assert (await refused(chat(model=model)))["param"] in {"model", "task"}


async def test_sampling_reaches_the_house() -> None:
    ask = await asked(
        chat(
            temperature=1,
            top_p=0.5,
            seed=-7,
            max_tokens=5,
            max_completion_tokens=6,
            stop=["a", ""],
            presence_penalty=-2,
            frequency_penalty=2,
            top_k=-1,
            min_p=0.05,
            repeat_penalty=1.1,
        )
    )
    assert ask.sampling == Sampling(
        temperature=1.0,
        top_p=0.5,
        seed=-7,
        max_tokens=6,
        stop=("a",),
        presence_penalty=-2.0,
        frequency_penalty=2.0,
        top_k=0,
        min_p=0.05,
        repeat_penalty=1.1,
    )


async def test_roles_and_parts_of_text_become_plain_messages() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    ask = await asked(
        chat(
            messages=[
                {"role": "developer", "content": "be short"},
                {"role": "user", "content": parts, "name": "ann"},
                {"role": "assistant", "content": None, "refusal": None, "tool_calls": None},
            ]
        )
    )
    said = [(message.role, message.content) for message in ask.work.messages]
    assert said == [("system", "be short"), ("user", "a\nb"), ("assistant", "")]


async def test_headers_say_more_and_come_before_metadata() -> None:
    ask = await asked(
        chat(metadata={"task": "other", "needs": "chat, tools", "threshold": "0.75"}),
        "X-Arbiter-Task: triage",
        "X-Arbiter-Expected: " + quote("größer"),
        "X-Arbiter-Conversation: c-1",
        "X-Arbiter-Max-Latency-Ms: 1500",
        "X-Arbiter-Max-Memory-Mb: 900.5",
    )
    assert (ask.task, ask.expected, ask.conversation) == ("triage", "größer", "c-1")
    assert ask.limits == Limits(
        needs=frozenset({"chat", "tools"}),
        threshold=0.75,
        max_latency_ms=1500.0,
        max_memory_mb=900.5,
    )


EXTRAS = [
    ("X-Arbiter-Expected: %ff", "expected"),
    ("X-Arbiter-Task: a b", "task"),
    ("X-Arbiter-Threshold: 1.5", "threshold"),
    ("X-Arbiter-Helper: perhaps", "helper"),
    ("X-Arbiter-Max-Latency-Ms: nan", "max_latency_ms"),
    ("X-Arbiter-Needs: a!", "needs"),
    ("X-Arbiter-Conversation: " + "x" * 257, "conversation"),
    ("X-Arbiter-Task: a\r\nX-Arbiter-Task: b", "task"),
]


@pytest.mark.parametrize(("header", "param"), EXTRAS)
async def test_a_header_that_makes_no_sense_is_refused(header: str, param: str) -> None:
    assert (await refused(CHAT, header))["param"] == param


async def test_a_model_and_a_header_may_not_name_two_tasks() -> None:
    assert (await refused(chat(model="task:a"), "X-Arbiter-Task: b"))["param"] == "task"


async def test_a_conversation_is_known_by_metadata_else_user_else_how_it_began() -> None:
    longer = [*MESSAGES, {"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]
    assert (await asked(chat(metadata={"conversation": "m"}, user="u"))).conversation == "m"
    assert (await asked(chat(user="u"))).conversation == "u"
    first = (await asked(CHAT)).conversation
    assert (await asked(chat(messages=longer))).conversation == first
    assert (await asked(chat(messages=longer[1:]))).conversation != first


async def test_who_names_only_a_user_has_many_talks_and_each_keeps_its_model() -> None:
    longer = [*MESSAGES, {"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]
    first = (await asked(chat(user="u"))).talk
    assert first is not None
    assert (await asked(chat(user="u", messages=longer))).talk == first
    assert (await asked(chat(user="u", messages=longer[1:]))).talk != first
    assert (await asked(chat(metadata={"conversation": "m"}, user="u"))).talk is None
    assert (await asked(CHAT)).talk is None


PICTURE_AT = "messages[0].content[0].image_url.url"


REFUSALS = [
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "bard", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
    (
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        "messages[0].content[0].text",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "messages[0].content[0].image_url.url",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]},
        "messages[0].content[0].type",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        "messages[0].content[0].image_url",
    ),
    (content({"type": "image_url", "image_url": {"url": "http://x/a.png"}}), PICTURE_AT),
    (content({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}), PICTURE_AT),
    (
        content({"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AAAA"}}),
        PICTURE_AT,
    ),
    (content({"type": "image_url", "image_url": {"url": "data:image/png;base64,A"}}), PICTURE_AT),
    (
        content({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "midi"}}),
        "messages[0].content[0].input_audio",
    ),
    ({"reasoning_effort": "much"}, "reasoning_effort"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"logit_bias": {"5": 101}}, "logit_bias[...]"),
    ({"logit_bias": {"five": 1}}, "logit_bias"),
    ({"logit_bias": {"5": 1}, "model": "auto"}, "logit_bias"),
    ({"repeat_last_n": -2}, "repeat_last_n"),
    ({"typical_p": 2}, "typical_p"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"top_p": 1.1}, "top_p"),
    ({"n": 0}, "n"),
    ({"n": 129}, "n"),
    ({"seed": 2**64}, "seed"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": -2}, "max_tokens"),
    ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ({"max_completion_tokens": -2}, "max_completion_tokens"),
    ({"stop": ["a"] * 17}, "stop"),
    ({"presence_penalty": 2.1}, "presence_penalty"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"metadata": {"a": 1}}, "metadata[...]"),
    ({"functions": [{"name": "clock"}]}, "functions"),
    ({"function_call": {"name": "clock"}}, "function_call"),
    ({"top_k": -2}, "top_k"),
    ({"min_p": 1.5}, "min_p"),
    ({"repeat_penalty": 0}, "repeat_penalty"),
    ({"api_base": "http://127.0.0.1:1"}, "api_base"),
    ({"n_discard": -1}, "n_discard"),
    ({"chat_template_kwargs": {"documents": []}}, "chat_template_kwargs"),
    ({"chat_template_kwargs": {"enable_thinking": "{{x}}"}}, "chat_template_kwargs"),
]


@pytest.mark.security("S-31")
@pytest.mark.parametrize(("fields", "param"), REFUSALS)
async def test_what_cannot_be_served_is_refused_by_name(
    fields: dict[str, object], param: str
) -> None:
    assert (await refused(chat(**fields)))["param"] == param


async def test_what_asks_for_nothing_is_taken_and_what_is_unknown_is_ignored() -> None:
    ask = await asked(
        chat(
            n=1,
            tools=[],
            tool_choice="auto",
            logprobs=False,
            response_format={"type": "text"},
            modalities=["text"],
            store=True,
            service_tier="auto",
            parallel_tool_calls=True,
            mirostat=2,
        )
    )
    assert ask.sampling == Sampling()


async def test_pictures_sounds_and_thoughts_reach_the_house() -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    sound = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "see"}, picture, sound]},
        {"role": "assistant", "content": "so", "reasoning_content": "hm"},
        {"role": "user", "content": "and?"},
    ]
    ask = await asked(chat(messages=messages, reasoning_effort="xhigh"))
    assert isinstance(ask.work, Chat)
    seen = Media(kind="image", format="png", data=PNG)
    heard = Media(kind="audio", format="wav", data="UklGRg==")
    assert ask.work.messages[0] == Message(role="user", content="see", parts=("see", seen, heard))
    assert ask.work.messages[1].thought == "hm"
    assert ask.work.effort == "max"
    assert needed(ask.work) == {"chat", "vision", "audio"}


async def test_odds_and_biases_reach_the_house() -> None:
    ask = await asked(chat(logprobs=True, top_logprobs=2, logit_bias={"5": -100}))
    assert ask.sampling == Sampling(odds=2, bias=((5, -100.0),))


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_a_bound_of_minus_one_is_none_as_for_lm_studio_and_llama_cpp(name: str) -> None:
    ask = await asked(chat(**{name: -1}))
    assert ask.sampling.max_tokens is None
    assert (await asked(chat(**{name: 7}))).sampling.max_tokens == 7


async def test_the_newer_bound_comes_first() -> None:
    assert (await asked(chat(max_tokens=7, max_completion_tokens=9))).sampling.max_tokens == 9


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({"chat_template_kwargs": {"enable_thinking": False}}, "none"),
        ({"chat_template_kwargs": {"thinking": True}}, "some"),
        ({"chat_template_kwargs": {}}, None),
        ({"chat_template_kwargs": None}, None),
        ({"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "low"}, "low"),
    ],
)
async def test_whether_to_think_may_be_said_as_an_argument_of_the_template(
    fields: dict[str, object], effort: str | None
) -> None:
    work = (await asked(chat(**fields))).work
    assert isinstance(work, Chat)
    assert work.effort == effort


async def test_how_wordy_an_answer_is_to_be_is_a_wish_that_nothing_heeds() -> None:
    ask = await asked(chat(verbosity="low"))
    assert ask == await asked(chat())
