"""The Ollama door for models: what there is, pulls, loads, and who may."""

from __future__ import annotations

import asyncio
import json

import ollama
import pytest
from tests.contract.door_support import (
    ADMIN_KEY,
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
from tests.contract.ollama_door_support import CHAT, GENERATE, MESSAGES, body, client_of

from arbiter.engines.base import PullStep
from arbiter.errors import (
    EngineError,
    UnknownModel,
)
from arbiter.gateway.ollama_asked import is_let_go
from arbiter.gateway.security import Policy, Ring


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
