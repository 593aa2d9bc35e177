"""Clients that wait for a load: told what they wait for, in a stream that stays valid."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import ollama
import openai
import pytest
from tests.story.stage import Stage, name, stage

from arbiter.engines.scripted import Hold, Say, Scripted

SOON_S = 0.02
"""Real time: a timer of the event loop is all that passes here."""


@asynccontextmanager
async def _waiting(folder: Path, *, after_s: float = SOON_S) -> AsyncIterator[tuple[Stage, str]]:
    """A house whose loads wait for a gate, and its address."""
    engine = Scripted(reply=lambda _: [Say("yes indeed")], load_gate=asyncio.Event())
    async with stage(folder / "data", engine=engine, door__tell_after_s=after_s) as play:
        await play.house.admission.register(play.script("one", {"one": 1.0}), name("one"))
        async with play.house.door() as address:
            yield play, address.url


def _body(*, stream: bool = True) -> dict[str, object]:
    return {"model": "one", "messages": [{"role": "user", "content": "hi"}], "stream": stream}


def _open(play: Stage) -> None:
    assert play.engine.load_gate is not None
    play.engine.load_gate.set()


async def test_a_stream_that_waits_for_a_load_begins_with_comments_and_is_whole(
    tmp_path: Path,
) -> None:
    async with _waiting(tmp_path) as (play, url), aiohttp.ClientSession() as session:
        async with session.post(f"{url}/v1/chat/completions", json=_body()) as got:
            first = await got.content.readline()
            assert first == b": loading for 0 s\n"
            assert got.status == 200
            assert got.headers["x-arbiter-decision"].startswith("dec_")
            assert "x-arbiter-version" not in got.headers
            play.clock.jump(SOON_S)
            assert await got.content.readline() == b"\n"
            assert (await got.content.readline()).startswith(b": loading for")
            _open(play)
            rest = (await got.content.read()).decode()
        events = [line for line in rest.splitlines() if line and not line.startswith(":")]
        assert events[-1] == "data: [DONE]"
        pieces = [json.loads(line.removeprefix("data: ")) for line in events[:-1]]
        said = "".join(piece["choices"][0]["delta"].get("content") or "" for piece in pieces)
        assert said == "yes indeed"


async def test_who_waits_for_a_later_one_of_several_answers_is_told_as_well(tmp_path: Path) -> None:
    gate, more = asyncio.Event(), asyncio.Event()
    gate.set()
    engine = Scripted(reply=lambda _: [Say("yes"), Hold(more), Say(" indeed")], load_gate=gate)
    async with stage(tmp_path / "data", engine=engine, door__tell_after_s=SOON_S) as play:
        made = await play.house.admission.register(play.script("one", {"one": 1.0}), name("one"))
        async with (
            play.house.door() as address,
            aiohttp.ClientSession() as session,
            session.post(f"{address.url}/v1/chat/completions", json=_body() | {"n": 2}) as got,
        ):
            lines = [await got.content.readline() for _ in range(3)]
            assert b"yes" in lines[2]
            gate.clear()
            unloading = asyncio.create_task(play.house.pool.unload(made.version, reason="test"))
            more.set()
            while not (line := await got.content.readline()).startswith(b":"):
                assert b"[DONE]" not in line
            assert line.startswith(b": loading for")
            gate.set()
            rest = (await got.content.read()).decode()
            assert await unloading
        assert rest.splitlines()[-2] == "data: [DONE]"


async def test_the_official_client_never_sees_the_comments(tmp_path: Path) -> None:
    async with (
        _waiting(tmp_path) as (play, url),
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client,
    ):
        stream = await client.chat.completions.create(
            model="one", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        _open(play)
        said = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert "".join(said) == "yes indeed"


async def test_what_goes_wrong_after_a_comment_is_an_event_and_nothing_says_done(
    tmp_path: Path,
) -> None:
    async with _waiting(tmp_path) as (play, url), aiohttp.ClientSession() as session:
        play.engine.fail_load = "out of cheese"
        async with session.post(f"{url}/v1/chat/completions", json=_body()) as got:
            assert (await got.content.readline()).startswith(b": loading")
            _open(play)
            lines = (await got.content.read()).decode().splitlines()
        events = [line for line in lines if line.startswith("data: ")]
        assert len(events) == 1
        assert json.loads(events[0].removeprefix("data: "))["error"]["code"] == "load_failed"


@pytest.mark.parametrize(
    ("route", "more", "event"),
    [
        ("messages", {"max_tokens": 9}, "error"),
        ("responses", {"messages": None, "input": "hi"}, "error"),
        ("completions", {"messages": None, "prompt": "hi"}, None),
    ],
)
async def test_each_dialect_has_its_own_words_for_what_goes_wrong_after_a_comment(
    tmp_path: Path, route: str, more: dict[str, object], event: str | None
) -> None:
    body = {name: value for name, value in (_body() | more).items() if value is not None}
    async with _waiting(tmp_path) as (play, url), aiohttp.ClientSession() as session:
        play.engine.fail_load = "out of cheese"
        async with session.post(f"{url}/v1/{route}", json=body) as got:
            assert (await got.content.readline()).startswith(b": loading")
            decision = got.headers["x-arbiter-decision"]
            _open(play)
            lines = (await got.content.read()).decode().splitlines()
    said = [line for line in lines if line and not line.startswith(":")]
    assert [line for line in said if line.startswith("event: ")] == (
        [] if event is None else [f"event: {event}"]
    )
    told = json.loads(said[-1].removeprefix("data: "))
    assert told["arbiter"]["decision"] == decision
    assert "The model could not be loaded." in json.dumps(told)


async def test_a_client_of_ollama_is_not_told_because_its_streams_have_no_comments(
    tmp_path: Path,
) -> None:
    async with (
        _waiting(tmp_path, after_s=1e-6) as (play, url),
        aiohttp.ClientSession() as session,
    ):
        play.engine.fail_load = "out of cheese"
        asking = asyncio.create_task(session.post(f"{url}/api/chat", json=_body()))
        while not play.engine.loads:
            await play.house.database.settle()
        _open(play)
        async with await asking as got:
            assert got.status == 503


async def test_an_empty_line_would_break_the_official_client_of_ollama() -> None:
    # why its streams are silent while a model loads; docs/reference/headers-and-metadata.md
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"
        line = json.dumps({"message": {"role": "assistant", "content": "hi"}, "done": True})
        writer.write(head + b"\n" + line.encode() + b"\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        client = ollama.AsyncClient(host=f"http://127.0.0.1:{port}")
        with pytest.raises(json.JSONDecodeError):
            async for _ in await client.chat(model="one", messages=[], stream=True):
                pass


@pytest.mark.parametrize(("stream", "after_s"), [(False, SOON_S), (True, 0.0)])
async def test_who_cannot_or_shall_not_be_told_gets_a_status_when_a_load_fails(
    tmp_path: Path, stream: bool, after_s: float
) -> None:
    async with (
        _waiting(tmp_path, after_s=after_s) as (play, url),
        aiohttp.ClientSession() as session,
    ):
        play.engine.fail_load = "out of cheese"
        body = _body(stream=stream)
        asking = asyncio.create_task(session.post(f"{url}/v1/chat/completions", json=body))
        while not play.engine.loads:
            await play.house.database.settle()
        _open(play)
        async with await asking as got:
            assert got.status == 503


async def test_options_for_loading_are_taken_whatever_stands_in_them_and_counted(
    tmp_path: Path,
) -> None:
    async with _waiting(tmp_path) as (play, url), aiohttp.ClientSession() as session:
        _open(play)
        for more in (
            {},
            {"options": {"num_ctx": 8192, "temperature": 0.1}},
            {"num_ctx": 8192},
            {"num_gpu": [1, {"a": None}]},
            {"options": "nonsense"},
        ):
            body = {**_body(stream=False), **more}
            async with session.post(f"{url}/v1/chat/completions", json=body) as got:
                assert got.status == 200
        body = {**_body(stream=False), "options": {"num_ctx": 4096}}
        async with session.post(f"{url}/api/chat", json=body) as got:
            assert got.status == 200
        (view,) = play.house.pool.views()
        assert (view.reloads_avoided, view.loads) == (4, 1)
