"""The Ollama door, spoken to by Ollama's own client and byte by byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ollama
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.door_support import (
    ADMIN_KEY,
    DECIDED,
    DECISION,
    USE_KEY,
    VERSION,
    ScriptedHouse,
    ScriptedShelf,
    at_the_door,
    exchanged,
    get,
    post,
    request,
)

from arbiter.engines.base import PullStep
from arbiter.errors import (
    Busy,
    EngineError,
    NothingCapable,
    ShuttingDown,
    StreamCut,
    UnknownModel,
)
from arbiter.gateway.ollama_asked import is_let_go
from arbiter.gateway.security import Policy, Ring
from arbiter.inference import (
    Auto,
    Called,
    Chat,
    Completion,
    Delta,
    Embedding,
    Finish,
    FinishReason,
    Message,
    Named,
    Odds,
    Sampling,
    Shape,
    Thought,
    Timings,
    Tool,
    ToolCall,
    Tools,
    Usage,
    Vectors,
)

MESSAGES: Any = [{"role": "user", "content": "hi"}]
CHAT = "/api/chat"
GENERATE = "/api/generate"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
TIMED = Finish(
    reason=FinishReason.STOP,
    usage=Usage(prompt_tokens=7, completion_tokens=2),
    timings=Timings(prefill_ms=1.5, decode_ms=20.0, load_ms=0.25),
)
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
CALLS = (
    Delta(text="so"),
    Called(index=0, id="c1", name="clock", arguments='{"zone":'),
    Called(index=0, arguments='"UTC"}'),
    Called(index=1, name="clock"),
    Finish(reason=FinishReason.TOOL_CALLS),
)


@asynccontextmanager
async def client_of(house: ScriptedHouse, **more: Any) -> AsyncIterator[ollama.AsyncClient]:
    async with at_the_door(house, **more) as address:
        client = ollama.AsyncClient(host=address.url)
        try:
            yield client
        finally:
            await client.close()  # type: ignore[no-untyped-call]  # it has no types


def body(**fields: object) -> bytes:
    return json.dumps({"model": "tiny", "stream": False, **fields}).encode()


async def streamed(client: ollama.AsyncClient) -> str:
    parts = await client.chat("x", MESSAGES, stream=True)
    return "".join([part.message.content or "" async for part in parts])


async def asked(path: str = CHAT, **fields: object) -> Any:
    """What the house is asked by a request with these fields."""
    house = ScriptedHouse()
    async with at_the_door(house) as address:
        answer = await post(address, body(**fields), path=path)
        assert answer.status == 200, answer.text
    return house.asks[0]


async def refused(path: str = CHAT, **fields: object) -> str:
    async with at_the_door(ScriptedHouse()) as address:
        answer = await post(address, body(**fields), path=path)
    assert answer.status == 400, answer.text
    return str(json.loads(answer.body)["error"])


# The official client


async def test_the_official_client_talks() -> None:
    async with client_of(ScriptedHouse(script=(Delta(text="Hello"), TIMED))) as client:
        answer = await client.chat(model="tiny", messages=MESSAGES)
    assert answer.message.content == "Hello"
    assert answer.done
    assert answer.done_reason == "stop"
    assert answer.prompt_eval_count == 7
    assert answer.eval_count == 2
    assert answer.prompt_eval_duration == 1_500_000
    assert answer.eval_duration == 20_000_000
    assert answer.load_duration == 250_000


async def test_the_official_client_gets_a_stream() -> None:
    async with client_of(ScriptedHouse()) as client:
        stream = await client.chat(model="tiny", messages=MESSAGES, stream=True)
        parts = [part async for part in stream]
    assert "".join(part.message.content or "" for part in parts) == 'Hello "you"\n'
    assert [part.done for part in parts] == [False, False, True]
    assert parts[-1].eval_count == 2
    assert parts[-1].eval_duration is None


@pytest.mark.parametrize("stream", [False, True])
async def test_the_official_client_gets_thoughts_apart_from_the_answer(stream: bool) -> None:
    script = (Thought(text="hm"), Thought(text=", well"), Delta(text="yes"), TIMED)
    async with client_of(ScriptedHouse(script=script)) as client:
        if stream:
            parts = [
                part async for part in await client.chat("tiny", MESSAGES, stream=True, think=True)
            ]
        else:
            parts = [await client.chat("tiny", MESSAGES, think=True)]
    assert "".join(part.message.thinking or "" for part in parts) == "hm, well"
    assert "".join(part.message.content or "" for part in parts) == "yes"


@pytest.mark.parametrize("stream", [False, True])
async def test_the_official_client_gets_calls_of_tools_whole(stream: bool) -> None:
    async with client_of(ScriptedHouse(script=CALLS)) as client:
        if stream:
            parts = [
                p async for p in await client.chat("tiny", MESSAGES, tools=[CLOCK], stream=True)
            ]
        else:
            parts = [await client.chat("tiny", MESSAGES, tools=[CLOCK])]
    calls = [call for part in parts for call in part.message.tool_calls or ()]
    assert [(c.function.name, dict(c.function.arguments)) for c in calls] == [
        ("clock", {"zone": "UTC"}),
        ("clock", {}),
    ]
    assert "".join(part.message.content or "" for part in parts) == "so"


async def test_the_official_client_goes_on_from_a_prompt() -> None:
    house = ScriptedHouse(script=(Delta(text="Hello"), TIMED))
    async with client_of(house) as client:
        answer = await client.generate("tiny", "hi", system="be kind")
        raw = await client.generate("tiny", "Once", raw=True)
    assert answer.response == "Hello"
    assert raw.response == "Hello"
    assert house.asks[0].work == Chat(
        messages=(Message(role="system", content="be kind"), Message(role="user", content="hi"))
    )
    assert house.asks[1].work == Completion(prompt="Once")


async def test_the_official_client_gets_vectors() -> None:
    script = (
        Vectors(vectors=((0.5, -1.0), (0.25, 0.0))),
        Finish(reason=FinishReason.STOP, usage=Usage(prompt_tokens=4)),
    )
    house = ScriptedHouse(script=script)
    async with client_of(house) as client:
        answer = await client.embed("tiny", ["a", "b"], dimensions=2)
        old = await client.embeddings("tiny", "a")
    assert answer.embeddings == [[0.5, -1.0], [0.25, 0.0]]
    assert answer.prompt_eval_count == 4
    assert old.embedding == [0.5, -1.0]
    assert house.asks[0].work == Embedding(inputs=("a", "b"), dimensions=2)


async def test_the_official_client_sees_what_there_is() -> None:
    async with client_of(ScriptedHouse()) as client:
        listed = await client.list()
        shown = await client.show("org/tiny:1b")
        running = await client.ps()
        with pytest.raises(ollama.ResponseError, match="not found") as caught:
            await client.show("ghost")
    assert [one.model for one in listed.models] == ["auto", "org/tiny:1b"]
    # Ollama's own command line cuts off twelve letters and would break on fewer
    assert all(len(one.digest or "") >= 12 for one in listed.models)
    tiny = listed.models[1]
    assert tiny.digest == VERSION.removeprefix("sha256:")
    assert tiny.size == 5000
    assert tiny.details is not None
    assert tiny.details.parameter_size == "1.5B"
    assert shown.capabilities == ["completion", "tools"]
    assert shown.modelinfo == {
        "general.architecture": "llama",
        "llama.context_length": 4096,
        "general.parameter_count": 1_500_000_000,
    }
    assert [(one.model, one.size, one.context_length) for one in running.models] == [
        ("org/tiny:1b", 10_000, 2048)
    ]
    # Ollama's command line tells by these two what runs on a graphics card
    assert running.models[0].size_vram == 3000
    assert running.models[0].expires_at is not None
    assert running.models[0].expires_at.year > 2300
    assert caught.value.status_code == 404


async def test_the_official_client_pulls_and_deletes() -> None:
    shelf = ScriptedShelf(
        steps=(
            PullStep(status="pulling manifest"),
            PullStep(status="pulling abc", completed=5, total=9, digest="sha256:" + "a" * 64),
            PullStep(status="success"),
        )
    )
    async with client_of(ScriptedHouse(), shelf=shelf) as client:
        steps = [step async for step in await client.pull("tiny", stream=True)]
        whole = await client.pull("tiny")
        gone = await client.delete("tiny")
    assert [(s.status, s.completed, s.total, s.digest) for s in steps] == [
        ("pulling manifest", None, None, None),
        ("pulling abc", 5, 9, "sha256:" + "a" * 64),
        ("success", None, None, None),
    ]
    assert whole.status == "success"
    assert gone.status == "success"
    assert shelf.done == [("pull", "tiny"), ("pull", "tiny"), ("remove", "tiny")]


async def test_what_would_make_copy_or_publish_a_model_is_not_there() -> None:
    async with client_of(ScriptedHouse()) as client:
        for attempt in (
            client.create("mine", from_="tiny"),
            client.copy("tiny", "mine"),
            client.push("tiny"),
        ):
            with pytest.raises(ollama.ResponseError, match="does not make, copy") as caught:
                await attempt
            assert caught.value.status_code == 501


ERRORS = [
    (UnknownModel("No model is called x.", param="model"), 404),
    (NothingCapable(), 422),
    (Busy(retry_after_s=3), 429),
    (ShuttingDown(), 503),
    (EngineError("/secret/path"), 502),
    (RuntimeError("/secret/path"), 500),
]


@pytest.mark.parametrize(("failure", "status"), ERRORS)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_before_the_answer_is_the_clients_own_exception(
    failure: Exception, status: int, stream: bool
) -> None:
    async with client_of(ScriptedHouse(fails_at=-1, failure=failure)) as client:
        with pytest.raises(ollama.ResponseError) as caught:
            await (streamed(client) if stream else client.chat("x", MESSAGES))
    assert caught.value.status_code == status
    assert "secret" not in caught.value.error


async def test_an_error_within_a_stream_is_raised_by_the_client() -> None:
    async with client_of(ScriptedHouse(fails_at=1, failure=StreamCut())) as client:
        with pytest.raises(ollama.ResponseError, match="The engine died in the middle"):
            await streamed(client)


async def test_arguments_that_are_no_object_end_the_answer_with_an_error() -> None:
    script = (Called(index=0, id="c", name="clock", arguments="[1"), CALLS[-1])
    async with client_of(ScriptedHouse(script=script)) as client:
        with pytest.raises(ollama.ResponseError, match="no JSON object"):
            await client.chat("x", MESSAGES)
        with pytest.raises(ollama.ResponseError, match="no JSON object"):
            await streamed(client)


# Bytes


NOW = b'"created_at":"2026-01-01T00:00:00.000000Z"'


async def test_an_answer_is_these_bytes() -> None:
    async with at_the_door(ScriptedHouse(script=(Delta(text="hi"), TIMED))) as address:
        answer = await post(address, body(messages=MESSAGES), path=CHAT)
    assert answer.body == (
        b'{"model":"tiny",' + NOW + b',"message":{"role":"assistant","content":"hi"},'
        b'"done":true,"done_reason":"stop","total_duration":0,"load_duration":250000,'
        b'"prompt_eval_count":7,"prompt_eval_duration":1500000,'
        b'"eval_count":2,"eval_duration":20000000}'
    )
    assert answer.headers["content-type"] == "application/json"


async def test_a_stream_is_these_bytes_and_the_default() -> None:
    streamed = b'{"model":"tiny","prompt":"hi"}'
    async with at_the_door(ScriptedHouse(script=(Delta(text="hi"), TIMED))) as address:
        answer = await post(address, streamed, path=GENERATE)
    head = b'{"model":"tiny",' + NOW
    assert answer.body == (
        head + b',"response":"hi","done":false}\n' + head + b',"response":"","done":true,'
        b'"done_reason":"stop","total_duration":0,"load_duration":250000,"prompt_eval_count":7,'
        b'"prompt_eval_duration":1500000,"eval_count":2,"eval_duration":20000000}\n'
    )
    assert answer.headers["content-type"] == "application/x-ndjson"


async def test_calls_are_these_bytes() -> None:
    async with at_the_door(ScriptedHouse(script=CALLS)) as address:
        answer = await post(address, body(messages=MESSAGES, tools=[CLOCK]), path=CHAT)
    assert answer.body == (
        b'{"model":"tiny",' + NOW + b',"message":{"role":"assistant","content":"so",'
        b'"tool_calls":[{"id":"c1","function":{"index":0,"name":"clock",'
        b'"arguments":{"zone":"UTC"}}},{"id":"call_' + DECISION.encode() + b'_1",'
        b'"function":{"index":1,"name":"clock","arguments":{}}}]},'
        b'"done":true,"done_reason":"stop","total_duration":0}'
    )


async def test_a_stream_that_breaks_off_ends_with_a_line_that_says_so() -> None:
    async with at_the_door(ScriptedHouse(fails_at=1, failure=StreamCut())) as address:
        answer = await post(address, b'{"model":"tiny","prompt":"hi"}', path=GENERATE)
    assert answer.text.splitlines()[1] == (
        '{"error":"The engine died in the middle of its answer.",'
        '"arbiter":{"code":"stream_cut","ours":false,"decision":"' + DECISION + '"}}'
    )


async def test_the_odds_of_tokens_are_told_when_they_are_asked_for() -> None:
    odds = (Odds(token="hi", logprob=-0.5, raw=(104, 105), others=(Odds(token="ho", logprob=-2),)),)
    house = ScriptedHouse(script=(Delta(text="hi", odds=odds), TIMED))
    async with client_of(house) as client:
        whole = await client.chat("tiny", MESSAGES, logprobs=True, top_logprobs=1)
        parts = [
            part async for part in await client.chat("tiny", MESSAGES, logprobs=True, stream=True)
        ]
    assert [ask.sampling.odds for ask in house.asks] == [1, 0]
    for told in (whole.logprobs, parts[0].logprobs):
        assert told is not None
        assert told[0].token == "hi"
        assert told[0].logprob == -0.5
        assert told[0].top_logprobs is not None
        assert told[0].top_logprobs[0].token == "ho"


async def test_every_reply_says_what_was_decided() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        for path, sent in (
            (CHAT, body(messages=MESSAGES)),
            (GENERATE, b'{"model":"tiny","prompt":"hi"}'),
        ):
            answer = await post(address, sent, path=path)
            assert answer.headers["x-arbiter-decision"] == DECISION
            assert answer.headers["x-arbiter-version"] == DECIDED.version


# What reaches the house


@pytest.mark.parametrize("model", ["auto", "auto:latest"])
async def test_the_house_picks_when_it_is_asked_to(model: str) -> None:
    assert (await asked(model=model, messages=MESSAGES)).target == Auto()


async def test_headers_say_more() -> None:
    house = ScriptedHouse()
    async with at_the_door(house) as address:
        await post(address, body(messages=MESSAGES), ["X-Arbiter-Task: triage"], path=CHAT)
    assert house.asks[0].task == "triage"
    assert house.asks[0].target == Named(name=house.asks[0].target.name)  # type: ignore[union-attr]


@pytest.mark.security("S-31")
async def test_options_of_sampling_reach_the_house_and_those_of_loading_do_not() -> None:
    options = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40.0,
        "min_p": 0.1,
        "typical_p": 0.8,
        "seed": 7,
        "num_predict": 9,
        "stop": ["x"],
        "repeat_penalty": 1.1,
        "repeat_last_n": 64,
        "presence_penalty": 0.25,
        "frequency_penalty": -0.25,
        "num_ctx": 8192,
        "mirostat": 2,
    }
    ask = await asked(messages=MESSAGES, options=options)
    assert ask.sampling == Sampling(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        min_p=0.1,
        typical_p=0.8,
        seed=7,
        max_tokens=9,
        stop=("x",),
        repeat_penalty=1.1,
        repeat_last_n=64,
        presence_penalty=0.25,
        frequency_penalty=-0.25,
    )


@pytest.mark.parametrize(
    ("path", "work"), [("/api/embed", {"input": "hi"}), ("/api/embeddings", {"prompt": "hi"})]
)
@pytest.mark.parametrize(
    ("options", "counted"),
    [({"num_ctx": 8192, "seed": 1}, (("num_ctx", "8192"),)), ("nonsense", ()), (None, ())],
)
async def test_options_of_loading_that_come_with_a_text_for_a_vector_are_only_counted(
    path: str, work: dict[str, object], options: object, counted: tuple[tuple[str, str], ...]
) -> None:
    house = ScriptedHouse()
    async with at_the_door(house) as address:
        sent = json.dumps({"model": "tiny", "options": options, **work}).encode()
        await post(address, sent, path=path)
    assert house.asks[0].load_options == counted


async def test_ollamas_words_for_no_bound_are_no_bound() -> None:
    ask = await asked(messages=MESSAGES, options={"num_predict": -1, "seed": -1, "top_k": -5})
    assert ask.sampling == Sampling(top_k=0)


async def test_turns_with_calls_results_thoughts_and_pictures_reach_the_house() -> None:
    ask = await asked(
        messages=[
            {"role": "user", "content": "look", "images": [PNG]},
            {
                "role": "assistant",
                "content": "",
                "thinking": "hm",
                "tool_calls": [
                    {"function": {"name": "clock", "arguments": {"zone": "UTC"}}},
                    {"id": "mine", "function": {"name": "clock", "arguments": {}}},
                ],
            },
            {"role": "tool", "content": "noon", "tool_name": "clock"},
            {"role": "tool", "content": "one", "tool_call_id": "mine"},
            {"role": "tool", "content": "lost", "tool_name": "other"},
        ],
        tools=[CLOCK],
        format={"type": "object"},
        think="high",
    )
    work = ask.work
    assert work.effort == "high"
    assert work.shape == Shape(schema='{"type":"object"}')
    assert work.tools == Tools(offered=(Tool(name="clock", parameters='{"type":"object"}'),))
    assert [m.content for m in work.messages] == ["look", "", "noon", "one", "lost"]
    assert [one.format for one in work.messages[0].media] == ["png"]
    assert work.messages[1].thought == "hm"
    assert work.messages[1].calls == (
        ToolCall(id="call_1_0", name="clock", arguments='{"zone":"UTC"}'),
        ToolCall(id="mine", name="clock", arguments="{}"),
    )
    assert [m.answers for m in work.messages[2:]] == ["call_1_0", "mine", "call_4"]


async def test_a_prompt_with_a_gap_is_a_completion() -> None:
    ask = await asked(GENERATE, prompt="def f(", suffix="return 1")
    assert ask.work == Completion(prompt="def f(", suffix="return 1")


@pytest.mark.parametrize(
    ("path", "fields", "words"),
    [
        (CHAT, {"messages": MESSAGES, "model": ""}, "model is required"),
        (CHAT, {"messages": MESSAGES, "options": {"temperature": 9}}, "temperature"),
        (CHAT, {"messages": MESSAGES, "options": {"top_k": "many"}}, "top_k"),
        (CHAT, {"messages": MESSAGES, "format": "yaml"}, "format is json"),
        (CHAT, {"messages": MESSAGES, "think": "hard"}, "think is true"),
        (CHAT, {"messages": MESSAGES, "keep_alive": "soon"}, "no duration"),
        (CHAT, {"messages": [{"role": "narrator", "content": "x"}]}, "role"),
        (CHAT, {"messages": [{"role": "user", "content": "x", "images": ["??"]}]}, "not base64"),
        (
            CHAT,
            {"messages": [{"role": "user", "content": "x", "images": ["AAAA"]}]},
            "form 'unknown'",
        ),
        (
            CHAT,
            {"messages": [{"role": "user", "tool_calls": [{"function": {"name": "f"}}]}]},
            "Only the assistant",
        ),
        (CHAT, {"messages": MESSAGES, "tools": [{"type": "web"}]}, "only functions"),
        (GENERATE, {"prompt": "x", "template": "{{ .Prompt }}"}, "template"),
        (GENERATE, {"prompt": "x", "context": [1, 2]}, "context"),
        (GENERATE, {"prompt": "x", "raw": True, "format": "json"}, "neither raw"),
        (GENERATE, {"prompt": "x", "api_base": "http://x"}, "api_base"),
        ("/api/embed", {"input": ["a", ""]}, "empty text"),
        ("/api/show", {"model": ""}, "model is required"),
    ],
)  # fmt: skip
async def test_a_mistake_is_refused_in_ollamas_shape(
    path: str, fields: dict[str, object], words: str
) -> None:
    assert words in await refused(path, **fields)


# Loading and letting go


@pytest.mark.parametrize(
    ("path", "fields", "done", "reason"),
    [
        (GENERATE, {}, ("load", "tiny"), "load"),
        (GENERATE, {"prompt": "", "keep_alive": "5m"}, ("load", "tiny"), "load"),
        (GENERATE, {"keep_alive": 0}, ("unload", "tiny"), "unload"),
        (CHAT, {"messages": []}, ("load", "tiny"), "load"),
        (CHAT, {"messages": [], "keep_alive": "0s"}, ("unload", "tiny"), "unload"),
        ("/api/embed", {"input": []}, ("load", "tiny"), None),
        ("/api/embeddings", {"prompt": "", "keep_alive": 0}, ("unload", "tiny"), None),
    ],
)
async def test_nothing_to_say_loads_a_model_or_lets_it_go(
    path: str, fields: dict[str, object], done: tuple[str, str], reason: str | None
) -> None:
    house, shelf = ScriptedHouse(), ScriptedShelf()
    async with at_the_door(house, shelf=shelf) as address:
        answer = await post(address, body(**fields), path=path)
    assert answer.status == 200
    assert json.loads(answer.body).get("done_reason") == reason
    assert (shelf.done, house.asks) == ([done], [])


async def test_a_model_that_is_wanted_once_is_let_go_after_its_answer() -> None:
    shelf = ScriptedShelf()
    async with at_the_door(ScriptedHouse(), shelf=shelf) as address:
        await post(address, body(messages=MESSAGES, keep_alive="5m"), path=CHAT)
        assert shelf.done == []
        await post(address, body(messages=MESSAGES, keep_alive=0), path=CHAT)
        shelf.failure = UnknownModel()
        answer = await post(address, body(messages=MESSAGES, keep_alive=0), path=CHAT)
    assert answer.status == 200
    assert shelf.done == [("unload", "tiny")] * 2


@pytest.mark.parametrize(
    ("keep_alive", "goes"),
    [("0", True), ("0h0m0s", True), ("0.0s", True), ("1h", False), ("-1", False), (0.0, True)],
)
def test_nothing_is_nothing_in_any_unit(keep_alive: str | float, goes: bool) -> None:
    assert is_let_go(keep_alive) is goes


# Pulls


async def test_a_pull_that_fails_says_what_the_server_says() -> None:
    failure = EngineError("http://127.0.0.1:11434 could not pull it: file does not exist.")
    shelf = ScriptedShelf(failure=failure)
    async with client_of(ScriptedHouse(), shelf=shelf) as client:
        with pytest.raises(ollama.ResponseError, match="file does not exist"):
            await client.pull("tiny")
        with pytest.raises(ollama.ResponseError, match="file does not exist"):
            [step async for step in await client.pull("tiny", stream=True)]
        shelf.steps = (PullStep(status="pulling manifest"),)
        with pytest.raises(ollama.ResponseError, match="file does not exist"):
            [step async for step in await client.pull("tiny", stream=True)]


async def test_a_pull_that_nobody_waits_for_any_more_ends() -> None:
    shelf = ScriptedShelf(steps=(PullStep(status="pulling"),), hold=asyncio.Event())
    async with at_the_door(ScriptedHouse(), shelf=shelf) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(request("POST", "/api/pull", address, body=b'{"model":"tiny"}'))
        await reader.readuntil(b'"pulling"')
        await shelf.is_held.wait()
        writer.close()
        await asyncio.wait_for(shelf.is_cut.wait(), 5)
    assert shelf.done == []


@pytest.mark.parametrize("path", [GENERATE, CHAT, "/api/embed"])
async def test_a_load_that_nobody_waits_for_any_more_is_not_waited_for(path: str) -> None:
    shelf = ScriptedShelf(hold=asyncio.Event())
    async with at_the_door(ScriptedHouse(), shelf=shelf) as address:
        _, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(request("POST", path, address, body=b'{"model":"tiny"}'))
        await shelf.is_held.wait()
        writer.close()
        await asyncio.wait_for(shelf.is_cut.wait(), 5)
    assert shelf.done == []


# Who may


@pytest.mark.parametrize(
    ("method", "path", "key", "status"),
    [
        ("GET", "/api/tags", None, 401),
        ("GET", "/api/tags", "sk-use", 200),
        ("POST", "/api/chat", None, 401),
        ("POST", "/api/pull", "sk-use", 403),
        ("DELETE", "/api/delete", "sk-use", 403),
        ("DELETE", "/api/delete", "sk-admin", 200),
        ("POST", "/api/create", None, 401),
        ("GET", "/api/nothing", "sk-use", 404),
        ("DELETE", "/api/chat", "sk-use", 405),
    ],
)
async def test_whoever_may_not_is_told_so_in_ollamas_shape(
    method: str, path: str, key: str | None, status: int
) -> None:
    policy = Policy(ring=Ring((USE_KEY, ADMIN_KEY)))
    headers = [] if key is None else [f"Authorization: Bearer {key}"]
    sent = None if method == "GET" else b'{"model":"tiny"}'
    async with at_the_door(ScriptedHouse(), policy) as address:
        answer = await exchanged(
            address, request(method, path, address, body=sent, headers=headers)
        )
    assert answer.status == status
    if status >= 400:
        assert isinstance(json.loads(answer.body)["error"], str)


async def test_a_program_that_looks_for_an_ollama_finds_one() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        root = await get(address, "/")
        version = await get(address, "/api/version")
        head = await exchanged(address, request("HEAD", "/api/version", address))
    assert "Ollama is running" in root.text
    assert json.loads(version.body) == {"version": "0.33.0"}
    assert (head.status, head.body) == (200, b"")


async def test_a_client_that_hangs_up_ends_the_work_for_it() -> None:
    house = ScriptedHouse(hold_at=1)
    async with at_the_door(house) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        streamed = b'{"model":"tiny","prompt":"hi"}'
        writer.write(request("POST", GENERATE, address, body=streamed))
        await reader.readuntil(b"Hel")
        await house.is_held.wait()
        writer.close()
        await asyncio.wait_for(house.has_left.wait(), 5)
    assert house.closed_early == [True]


# Whatever is sent


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = [
    "model",
    "name",
    "messages",
    "prompt",
    "suffix",
    "system",
    "raw",
    "images",
    "format",
    "options",
    "keep_alive",
    "think",
    "logprobs",
    "top_logprobs",
    "tools",
    "input",
    "dimensions",
    "template",
    "context",
    "stream",
]
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"])},
    optional={
        "content": st.text(max_size=8) | JSON,
        "images": st.lists(st.text(max_size=8) | st.just(PNG), max_size=2) | JSON,
        "tool_calls": st.lists(st.just({"function": {"name": "f", "arguments": {}}}) | JSON),
        "tool_call_id": st.text(max_size=4),
        "tool_name": st.text(max_size=4),
        "thinking": st.text(max_size=4),
    },
)
BODY = st.fixed_dictionaries(
    {"model": st.sampled_from(["tiny", "auto", "task:x", "a@b", ""])},
    optional={
        "messages": st.lists(TURN, max_size=4),
        **dict.fromkeys(FIELDS[3:], JSON),
    },
)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.sampled_from(["chat", "generate", "embed", "embeddings", "show", "pull", "create"]),
    st.dictionaries(st.sampled_from(FIELDS), JSON) | BODY,
)
def test_no_request_breaks_the_door(where: str, fields: dict[str, object]) -> None:
    sent = json.dumps(fields).encode()

    async def ask() -> int:
        async with at_the_door(ScriptedHouse()) as address:
            return (await post(address, sent, path=f"/api/{where}")).status

    assert asyncio.run(ask()) in {200, 400, 404, 501}
