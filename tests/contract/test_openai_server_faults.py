"""Servers that are gone, refuse, break off or say nothing: each is told as what it is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.contract.engines_support import (
    answer,
    asking,
    begun,
    exhaust,
    loaded,
)
from tests.contract.openai_server_support import (
    END,
    LISTED,
    NOBODY,
    STREAM,
    Raw,
    at,
    event,
    made,
    plain,
    raw,
    said,
)

from arbiter.clock import ManualClock, SystemClock
from arbiter.engines.base import EngineContext, LoadSpec
from arbiter.engines.openai_runner import Patience
from arbiter.engines.openai_server import OpenAIServerEngine
from arbiter.errors import (
    ArbiterError,
    Busy,
    CannotServe,
    EngineError,
    EngineRefused,
    EngineTimeout,
    InstanceLost,
    KeyRefused,
    LoadFailed,
    NotOffered,
    ServerCut,
    ServerGone,
    StreamCut,
)


async def test_the_first_place_that_is_there_is_taken() -> None:
    async with (
        Raw(models=said(LISTED)).open() as server,
        loaded(made(), at((NOBODY, "m"), (server.url, "m"))) as runner,
    ):
        assert await runner.is_healthy()


async def test_when_no_place_is_there_each_is_told() -> None:
    with pytest.raises(ServerGone) as error:
        await made().load(at((NOBODY, "m"), ("http://127.0.0.1:2", "m")))
    assert NOBODY in error.value.message
    assert "http://127.0.0.1:2" in error.value.message


async def test_a_server_that_no_longer_offers_the_model_says_what_it_offers() -> None:
    async with Raw(models=said(LISTED)).open() as server:
        with pytest.raises(NotOffered, match="no longer offers 'x'; it offers: 'm'"):
            await made().load(at((server.url, "x")))


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (said({"error": {"message": "bad n"}}, status=400), EngineRefused, "bad n"),
        (plain(400, b"too many", kind="text/plain"), EngineRefused, "too many"),
        (said({"detail": "no"}, status=422), EngineRefused, "status 422: no"),
        (said({"object": "error", "message": "so"}, status=400), EngineRefused, "so"),
        (plain(401, b""), KeyRefused, "wants a key"),
        (plain(404, b"no such route"), CannotServe, "no such route"),
        (plain(405, b""), CannotServe, "does not do this with this model"),
        (plain(501, b"never"), CannotServe, "never"),
        (plain(429, b"slow down", more="Retry-After: 7\r\n"), Busy, "slow down"),
        (plain(503, b"", more="Retry-After: soon\r\n"), Busy, "busy"),
        (plain(500, b"<html>"), EngineError, "failed with status 500"),
        (said({"error": {"message": "oom"}}), EngineError, "oom"),
        (plain(200, b"{"), EngineError, "cannot be understood"),
        (STREAM + b'data: {"error":{"message":"oom"}}\n\n', EngineError, "oom"),
        (STREAM + b"event: error\ndata: oom\n\n", EngineError, "oom"),
        (STREAM + b"data: [DONE]\n\n", EngineError, "cannot be understood"),
        (STREAM + b"data: nonsense\n\n", EngineError, "cannot be understood"),
        (b"", InstanceLost, "gone"),
        (STREAM + event(content="a"), StreamCut, "broke off"),
        (STREAM + event(content="a") + b'data: {"choi', StreamCut, "broke off"),
        (STREAM + event(content="a") + b'data: {"error":"hot"}\n\n', StreamCut, "hot"),
    ],
)
async def test_every_fault_is_told_as_what_it_is(
    reply: bytes, kind: type[ArbiterError], words: str
) -> None:
    async with raw(reply) as (_, runner):
        with pytest.raises(kind, match=words) as error:
            await answer(runner, asking("x"))
    assert type(error.value) is kind
    assert error.value.retry_after_s == (7 if words == "slow down" else None)


@pytest.mark.security("S-23", "S-24")
async def test_a_redirect_is_never_followed() -> None:
    async with Raw().open() as other:
        reply = plain(307, b"", more=f"Location: {other.url}/v1/chat/completions\r\n")
        async with raw(reply) as (_, runner):
            with pytest.raises(EngineRefused, match=f"redirects .* to {other.url}"):
                await answer(runner, asking("x"))
    assert not other.asked


async def test_a_model_that_vanished_is_lost_and_not_asked_for_again() -> None:
    async with raw(plain(404, b"no model m")) as (server, runner):
        server.replies["/v1/models"] = said({"data": [{"id": "other"}]})
        with pytest.raises(InstanceLost, match="offers another 'm' now, or none"):
            await answer(runner, asking("x"))
        assert "or none" in await runner.wait_lost()
        with pytest.raises(InstanceLost):
            await answer(runner, asking("x"))


async def test_an_answer_that_breaks_off_with_its_server_says_that_the_server_is_gone() -> None:
    async with raw(STREAM + event(content="a")) as (server, runner):
        server.replies["/v1/models"] = b""
        with pytest.raises(ServerCut, match=r"broke off.* is gone"):
            await answer(runner, asking("x"))
        assert "is gone" in await runner.wait_lost()


async def test_silence_is_bounded_before_the_first_piece_and_after_it() -> None:
    patience = Patience(first_s=0.2, next_s=0.2)
    for reply, kind in (
        ((None,), EngineTimeout),
        ((STREAM, None), EngineTimeout),
        ((STREAM + event(content="a"), None), StreamCut),
    ):
        async with Raw(**{"models": said(LISTED), "chat/completions": reply}).open() as server:
            context = EngineContext(clock=SystemClock(), run_dir=Path("unused"))
            engine = OpenAIServerEngine(context, patience=patience)
            async with loaded(engine, at((server.url, "m"))) as runner:
                with pytest.raises(kind):
                    await answer(runner, asking("x"))


async def test_the_end_that_a_server_tells_is_the_end_whatever_its_connection_does() -> None:
    async with raw((STREAM + event(content="hi") + END, None)) as (_, runner):
        assert (await answer(runner, asking("x")))[0] == "hi"


async def test_an_unload_cuts_what_still_runs(clock: ManualClock) -> None:
    replies: dict[str, bytes | tuple[bytes | None, ...]] = {
        "models": said(LISTED),
        "chat/completions": (STREAM + event(content="a"), None),
    }
    async with Raw(**replies).open() as server:
        runner = await made(clock).load(at((server.url, "m")))
        async with begun(runner, asking("x")) as chunks:
            await runner.unload()
            with pytest.raises(StreamCut):
                await exhaust(chunks)
        assert not await runner.is_healthy()


async def test_the_loss_of_an_idle_server_is_noticed_at_the_next_look(clock: ManualClock) -> None:
    async with Raw(models=said(LISTED)).open() as server:
        runner = await made(clock).load(at((server.url, "m")))
        watching = asyncio.create_task(runner.wait_lost())
        while not clock.sleepers:
            await clock.sleep(0)
    clock.jump(5.0)
    assert "is gone" in await watching
    with pytest.raises(InstanceLost):
        await exhaust(runner.generate(asking("x")))
    await runner.unload()


async def test_another_model_under_the_same_name_is_a_loss(clock: ManualClock) -> None:
    async with Raw(models=said(LISTED)).open() as server:
        runner = await made(clock).load(at((server.url, "m")))
        server.replies["/v1/models"] = said({"data": [{"id": "m", "owned_by": "you"}]})
        watching = asyncio.create_task(runner.wait_lost())
        while not clock.sleepers:
            await clock.sleep(0)
        clock.jump(5.0)
        assert "offers another 'm' now" in await watching
        await runner.unload()


async def test_an_option_that_only_llama_server_has_fails_the_load_elsewhere() -> None:
    async with Raw(models=said(LISTED)).open() as server:
        spec = at((server.url, "m"))
        for options, words in (
            ({"cache_prompt": "true"}, "llama-server has"),
            ({"cache_prompt": "maybe"}, "true or false"),
            ({"gpu": "1"}, "no option 'gpu'"),
        ):
            given = LoadSpec(
                version=spec.version, path=spec.path, context=1, places=spec.places, options=options
            )
            with pytest.raises(LoadFailed, match=words):
                await made().load(given)
