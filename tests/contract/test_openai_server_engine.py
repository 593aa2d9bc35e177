"""The engine for OpenAI-compatible servers: what it sees in them, what it makes of their faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.contract.engines_support import (
    HAS_LLAMA,
    PROMPTS,
    answer,
    asking,
    begun,
    demo_model,
    exhaust,
    load_spec,
    loaded,
    saved,
)
from tests.standins.embedder import embedder
from tests.standins.openai_servers import DIGEST, Flavour, flavours, llama_server, serving
from tests.story.houses import MODELS, running

from arbiter.clock import ManualClock, SystemClock
from arbiter.engines.base import EngineContext, LoadSpec, Offer, Place, Runner, Site
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
    NotThisKind,
    ServerCut,
    ServerGone,
    StreamCut,
)
from arbiter.inference import (
    Called,
    Chat,
    Completion,
    Embedding,
    FinishReason,
    Generation,
    Message,
    Sampling,
    Shape,
    Timings,
    Tool,
    Tools,
)

needs_llama = pytest.mark.skipif(not HAS_LLAMA, reason="llama.cpp is not installed")
KINDS = tuple(flavour.kind for flavour in flavours())
NOBODY = "http://127.0.0.1:1"
LISTED = {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "me"}]}
TOOL = Tools(offered=(Tool(name="clock"), Tool(name="bell")), named="bell")


def made(
    clock: ManualClock | None = None, keys: Mapping[str, str] | None = None
) -> OpenAIServerEngine:
    return OpenAIServerEngine(
        EngineContext(clock=clock or SystemClock(), run_dir=Path("unused"), keys=keys or {})
    )


def at(*places: tuple[str, str]) -> LoadSpec:
    found = tuple(Place(engine="openai_server", url=url, model=model) for url, model in places)
    spec = load_spec(Path())
    return LoadSpec(version=spec.version, path=spec.path, context=512, places=found)


def offer_of(site: Site, model: str) -> Offer:
    return next(offer for offer in site.offers if offer.model == model)


class Raw:
    """A server that gives to each path the bytes that it was handed, and notes what was asked.

    A reply of several pieces stays open after the last one when that is ``None``.
    """

    def __init__(self, **replies: bytes | tuple[bytes | None, ...]) -> None:
        self.replies = {f"/v1/{path}": reply for path, reply in replies.items()}
        self.asked: list[tuple[str, bytes]] = []
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Raw]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ")[1].decode()
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
            self.asked.append((path, await reader.readexactly(length)))
            reply = self.replies.get(path, plain(404, b"nothing here", kind="text/plain"))
            for piece in reply if isinstance(reply, tuple) else (reply,):
                if piece is None:
                    await reader.read()
                else:
                    writer.write(piece)
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def plain(status: int, body: bytes, *, kind: str = "application/json", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: {kind}\r\n{more}Connection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def said(value: object, *, status: int = 200, more: str = "") -> bytes:
    return plain(status, json.dumps(value).encode(), more=more)


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def event(**delta: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n"


END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@asynccontextmanager
async def raw(reply: bytes | tuple[bytes | None, ...]) -> AsyncIterator[tuple[Raw, Runner]]:
    """A server that lists the model ``m`` and answers every chat so, and its runner."""
    replies = {"models": said(LISTED), "chat/completions": reply}
    async with Raw(**replies).open() as server, loaded(made(), at((server.url, "m"))) as runner:
        yield server, runner


@pytest.fixture
async def real() -> AsyncIterator[str]:
    async with llama_server(demo_model(), "--alias", "org/spar:row") as server:
        yield server.url


@needs_llama
async def test_a_llama_server_is_known_with_what_it_tells(real: str) -> None:
    site = await made().look(f"{real}/v1/")
    (offer,) = site.offers
    assert (site.kind, site.url, site.trouble) == ("llama-server", real, ())
    assert site.version
    assert offer.model == "org/spar:row"
    assert offer.capabilities == frozenset({"chat", "completion", "json"})
    assert (offer.parameters, offer.quantization, offer.context_length) == (599_936, "F16", 512)
    assert offer.template is not None
    assert "user" in offer.template
    assert offer.size_bytes is not None
    assert offer.loaded is True
    assert offer.details["slots"] == 4
    assert offer.digest is None


@needs_llama
async def test_claims_hold_over_a_new_start_and_tell_models_apart() -> None:
    claims = []
    for model, context in (("sparrow", "512"), ("sparrow", "256"), ("parrot", "512")):
        options = ("--alias", "m", "--context", context)
        async with llama_server(MODELS / f"{model}.gguf", *options) as server:
            site = await made().look(server.url)
            claims.append(dict(offer_of(site, "m").claims))
    assert claims[0] == claims[1]
    assert claims[0] != claims[2]


@pytest.mark.security("S-24")
@needs_llama
async def test_a_server_that_wants_a_key_gets_the_one_for_its_address() -> None:
    async with llama_server(demo_model(), "--key", "s3cret") as server:
        with pytest.raises(KeyRefused, match="wants a key") as refused:
            await made().look(server.url)
        assert "[discovery.keys]" in refused.value.sentence
        with pytest.raises(KeyRefused, match="refuses the key") as refused:
            await made(keys={server.url: "wrong"}).look(server.url)
        assert "wrong" not in refused.value.sentence
        engine = made(keys={f"{server.url}/v1": "s3cret"})
        site = await engine.look(server.url)
        async with loaded(engine, at((site.url, site.offers[0].model))) as runner:
            assert (await answer(runner, asking(PROMPTS[0])))[0]


@needs_llama
async def test_a_shape_that_is_asked_for_is_given(real: str) -> None:
    schema = '{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}'
    work = Chat(messages=(Message(role="user", content="Add 2 and 2"),), shape=Shape(schema=schema))
    async with loaded(made(), at((real, "org/spar:row"))) as runner:
        text, _ = await answer(runner, Generation(work=work, sampling=Sampling(max_tokens=40)))
    assert list(json.loads(text)) == ["n"]


@needs_llama
async def test_the_servers_own_stopwatch_is_used_where_it_has_one(real: str) -> None:
    async with loaded(made(), at((real, "org/spar:row"))) as runner:
        _, finish = await answer(runner, asking(PROMPTS[0]))
    assert finish.timings.prefill_ms is not None
    assert finish.timings.decode_ms is not None


@needs_llama
async def test_a_connection_that_the_server_closes_after_a_stream_is_not_used_again(
    real: str,
) -> None:
    short = Sampling(temperature=0.0, max_tokens=3)
    async with loaded(made(), at((real, "org/spar:row"))) as runner:

        async def ask(times: int) -> int:
            for number in range(times):
                stream = bool(number % 3)
                await answer(runner, asking(PROMPTS[0], stream=stream, sampling=short))
            return times

        assert sum(await asyncio.gather(*(ask(30) for _ in range(6)))) == 180


@needs_llama
async def test_a_server_that_was_started_to_make_vectors_is_known_by_its_refusal(
    tmp_path: Path, real: str
) -> None:
    model = saved(tmp_path / "embedder.gguf", embedder(demo_model().read_bytes()))
    async with llama_server(model, "--embeddings", "--alias", "e") as server:
        assert (await made().look(server.url)).offers[0].capabilities == frozenset({"embedding"})
    talks = (await made().look(real)).offers[0].capabilities
    assert talks is not None
    assert "embedding" not in talks


@needs_llama
async def test_vectors_of_another_length_than_asked_for_are_refused(tmp_path: Path) -> None:
    model = saved(tmp_path / "embedder.gguf", embedder(demo_model().read_bytes()))
    async with (
        llama_server(model, "--embeddings", "--alias", "e") as server,
        loaded(made(), at((server.url, "e"))) as runner,
    ):
        assert (await runner.embed(Embedding(inputs=("a", "b"))))[0].vectors
        with pytest.raises(EngineRefused, match="dimensions"):
            await runner.embed(Embedding(inputs=("a",), dimensions=3))


@needs_llama
async def test_what_a_server_cannot_do_is_refused_in_its_words(real: str) -> None:
    async with loaded(made(), at((real, "org/spar:row"))) as runner:
        with pytest.raises(EngineRefused, match="does not support embeddings"):
            await runner.embed(Embedding(inputs=("a",)))


@needs_llama
async def test_every_kind_is_known_and_answers_as_the_model_behind_it(real: str) -> None:
    expected, _ = await _once(real, "org/spar:row", asking(PROMPTS[0]))
    for flavour in flavours():
        async with serving(flavour, real):
            site = await made().look(flavour.url)
            assert (site.kind, site.url) == (flavour.kind, flavour.url)
            for stream in (True, False):
                text, finish = await _once(
                    flavour.url, flavour.model, asking(PROMPTS[0], stream=stream)
                )
                assert text == expected, flavour.kind
                assert finish.reason is FinishReason.STOP
                assert (finish.timings == Timings()) is not flavour.has_timings
            text, _ = await _once(
                flavour.url, flavour.model, Generation(work=Completion(prompt="Add 2"))
            )
            assert text


async def _once(url: str, model: str, request: Generation) -> Any:
    async with loaded(made(), at((url, model))) as runner:
        return await answer(runner, request)


def named_flavour(kind: str) -> Flavour:
    return next(flavour for flavour in flavours() if flavour.kind == kind)


async def seen(kind: str) -> Site:
    async with serving(named_flavour(kind), NOBODY) as flavour:
        return await made().look(flavour.url)


async def test_vllm_tells_its_version_and_room_and_no_capability() -> None:
    site = await seen("vLLM")
    offer = offer_of(site, "org/model")
    assert (site.version, offer.context_length, offer.capabilities) == ("0.11.0", 512, None)
    assert offer.claims == {"kind": "vLLM", "root": "org/model"}


async def test_sglang_tells_whether_its_model_writes() -> None:
    offer = offer_of(await seen("SGLang"), "org/model")
    assert offer.capabilities == frozenset({"chat", "completion"})


async def test_lm_studio_tells_what_each_model_is_for() -> None:
    site = await seen("LM Studio")
    writer, maker = offer_of(site, "sparrow-7b"), offer_of(site, "text-embedding-wren")
    assert writer.capabilities == frozenset({"chat", "completion", "tools", "vision"})
    assert (writer.architecture, writer.quantization) == ("llama", "Q4_K_M")
    assert (writer.context_length, writer.loaded) == (512, True)
    assert "loaded_context_length" not in writer.claims
    assert (maker.capabilities, maker.loaded) == (frozenset({"embedding"}), False)


async def test_docker_tells_digests_beside_its_openai_part() -> None:
    offer = offer_of(await seen("Docker Model Runner"), "ai/sparrow:latest")
    assert offer.digest == DIGEST
    assert (offer.quantization, offer.context_length) == ("F16", 512)
    # it rounds: what looks like a number of parameters is none
    assert offer.parameters is None


async def test_lemonade_offers_only_what_talks_and_stays_here() -> None:
    site = await seen("Lemonade")
    (offer,) = site.offers
    assert offer.capabilities == frozenset({"chat", "completion", "tools"})
    assert site.trouble == ("'SD' is for image.", "'far.kite' runs in a cloud, not here.")


async def test_localai_tells_what_is_loaded() -> None:
    site = await seen("LocalAI")
    assert (site.version, offer_of(site, "sparrow").loaded) == ("v3.7.0 (abc)", True)


EVERY = Sampling(top_k=3, min_p=0.1, repeat_penalty=1.1, seed=-1)


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        ("vLLM", {"top_k": 3, "min_p": 0.1, "repetition_penalty": 1.1, "seed": -1}),
        ("SGLang", {"top_k": 3, "min_p": 0.1, "repetition_penalty": 1.1, "seed": -1}),
        ("LocalAI", {"top_k": 3, "min_p": 0.1, "repeat_penalty": 1.1, "seed": -1}),
    ],
)
@needs_llama
async def test_options_are_sent_in_the_servers_own_words(
    kind: str, sent: dict[str, object], real: str
) -> None:
    async with serving(named_flavour(kind), real) as flavour:
        await _once(flavour.url, flavour.model, asking(PROMPTS[0], sampling=EVERY))
    assert {name: flavour.asked[0].get(name) for name in sent} == sent
    assert flavour.asked[0].keys() - sent.keys() == {
        "model", "messages", "stream", "stream_options",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "refused"),
    [
        ("LM Studio", "min_p"),
        ("Lemonade", "min_p"),
        ("Docker Model Runner", "repeat_penalty"),
        ("OpenAI-compatible server", "min_p"),
    ],
)
async def test_an_option_that_would_be_ignored_is_refused_and_nothing_sent(
    kind: str, refused: str
) -> None:
    async with serving(named_flavour(kind), NOBODY) as flavour:
        with pytest.raises(EngineRefused, match=f"not known to heed {refused}") as error:
            await _once(flavour.url, flavour.model, asking("x", sampling=EVERY))
    assert error.value.param == refused
    assert not flavour.asked


@needs_llama
async def test_a_server_that_cannot_count_a_stream_is_asked_without(real: str) -> None:
    async with (
        serving(named_flavour("OpenAI-compatible server"), real) as flavour,
        loaded(made(), at((flavour.url, flavour.model))) as runner,
    ):
        for _ in range(2):
            text, finish = await answer(runner, asking(PROMPTS[0]))
            assert text
            assert finish.usage.prompt_tokens is None
    assert ["stream_options" in body for body in flavour.asked] == [True, False, False]


async def test_another_arbiter_offers_its_own_models_and_serves_the_version_that_was_meant(
    tmp_path: Path,
) -> None:
    config = saved(tmp_path / "arbiter.toml", b"[discovery]\nenabled = false\n")
    async with running(tmp_path / "data", config) as house:
        added = {"path": str(MODELS / "sparrow.gguf"), "name": "spar"}
        async with house.session.post(f"{house.url}/control/v1/models", json=added) as got:
            assert got.status == 200, await got.text()
            await got.read()
        site = await made().look(house.url)
        (offer,) = site.offers
        assert (site.kind, offer.model) == ("Arbiter", "spar")
        assert offer.digest is not None
        assert offer.capabilities is not None
        assert "chat" in offer.capabilities
        async with loaded(made(), at((house.url, "spar"))) as runner:
            text, finish = await answer(
                runner, asking(PROMPTS[0], sampling=Sampling(temperature=0))
            )
        assert text
        assert finish.usage.completion_tokens


async def test_what_another_arbiter_only_passes_on_is_not_offered() -> None:
    def card(name: str, owner: str, digit: str) -> dict[str, object]:
        return {"id": name, "owned_by": owner, "version": f"sha256:{digit * 64}"}

    cards: list[dict[str, object]] = [{"id": "auto", "owned_by": "arbiter", "version": ""}]
    cards += [card("own", "gguf", "1"), card("far", "openai", "2")]
    server = Raw(models=said({"object": "list", "data": cards}))
    server.replies["/"] = said({"name": "arbiter", "openai": "/v1"})
    async with server.open():
        site = await made().look(server.url)
    assert [offer.model for offer in site.offers] == ["own"]
    assert "1 of its models" in site.trouble[0]


async def test_a_router_is_asked_only_about_what_it_has_loaded() -> None:
    def entry(name: str, status: str) -> dict[str, object]:
        return {
            "id": name, "owned_by": "llamacpp", "path": f"/models/{name}",
            "status": {"value": status, "args": ["llama-server"]},
        }  # fmt: skip

    listed = [entry("a/b:Q4", "loaded"), entry("idle", "unloaded"), entry("naps", "sleeping")]
    server = Raw(models=said({"data": listed}))
    props = "/props?model=a%2Fb%3AQ4&autoload=false"
    caps = {"supports_tools": True}
    server.replies[props] = said({"chat_template_caps": caps, "total_slots": 2})
    async with server.open():
        site = await made().look(server.url)
    assert [path for path, _ in server.asked] == ["/v1/models", props]
    assert [offer.loaded for offer in site.offers] == [True, False, False]
    assert site.offers[0].capabilities == frozenset({"chat", "completion", "json", "tools"})
    assert site.offers[1].capabilities is None


async def test_a_server_that_loads_its_model_is_there_and_offers_nothing_yet() -> None:
    loading = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
    async with Raw(models=said(loading, status=503)).open() as server:
        site = await made().look(server.url)
        assert site.offers == ()
        assert site.trouble == ("It is still loading its model.",)
        with pytest.raises(LoadFailed, match="still loading"):
            await made().load(at((server.url, "m")))


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (plain(200, b"<html>hello\x1b[2J</html>", kind="text/html"), "status 200, text/html, '<ht"),
        (plain(200, b""), "an empty body"),
        (plain(200, b"[" * 100_000), "status 200"),
        (said({"models": []}), "no list of models"),
        (plain(200, b'{"data":"\xff"}'), "no list of models"),
        (plain(404, b"gone"), "status 404"),
        (plain(302, b"", more="Location: http://10.0.0.1/\r\n"), "redirects to http://10.0.0.1/"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "speaks no HTTP"),
    ],
)
async def test_what_is_no_such_server_is_told_by_what_it_answered(reply: bytes, words: str) -> None:
    async with Raw(models=reply).open() as server:
        with pytest.raises(NotThisKind) as error:
            await made().look(server.url)
    assert words in error.value.message
    assert error.value.message.isprintable()


async def test_nobody_at_an_address_is_told_as_that() -> None:
    with pytest.raises(ServerGone, match=f"Nobody answers at {NOBODY}"):
        await made().look(NOBODY)


async def test_ollama_is_left_to_its_own_engine() -> None:
    server = Raw(models=said({"data": [{"id": "gemma3:1b", "owned_by": "library"}]}))
    server.replies["/"] = plain(200, b"Ollama is running", kind="text/plain")
    async with server.open():
        with pytest.raises(NotThisKind, match="engine ollama"):
            await made().look(server.url)


async def test_names_that_cannot_be_asked_for_are_left_out_and_told() -> None:
    listed = [{"id": "a"}, {"id": "a"}, {"id": "b\n"}, {"id": 5}, {"id": "c" * 500}, {}, 7]
    async with Raw(models=said({"data": listed})).open() as server:
        site = await made().look(server.url)
    assert [offer.model for offer in site.offers] == ["a"]
    assert len(site.trouble) == 3


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


async def test_what_a_model_thinks_is_no_part_of_its_answer() -> None:
    pieces = event(reasoning_content="hm") + event(reasoning="well") + event(content="yes")
    async with raw(STREAM + pieces + END) as (_, runner):
        assert (await answer(runner, asking("x")))[0] == "yes"


async def test_a_tool_call_comes_in_the_pieces_that_the_server_sends() -> None:
    def call(**function: str) -> bytes:
        return event(tool_calls=[{"index": 0, "id": "c1", "function": function}])

    stream = STREAM + call(name="bell", arguments='{"a"') + call(arguments=":1}")
    end = END.replace(b'"stop"', b'"tool_calls"')
    async with raw(stream + end) as (server, runner):
        work = Chat(messages=(Message(role="user", content="x"),), tools=TOOL)
        chunks = [chunk async for chunk in runner.generate(Generation(work=work))]
    assert chunks[:2] == [
        Called(index=0, id="c1", name="bell", arguments='{"a"'),
        Called(index=0, id="c1", arguments=":1}"),
    ]
    sent = json.loads(server.asked[-1][1])
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "bell"}}


async def test_an_answer_in_one_piece_is_taken_where_a_stream_was_asked_for() -> None:
    whole = {"choices": [{"message": {"content": "hi"}, "finish_reason": "length"}]}
    async with raw(said(whole)) as (_, runner):
        text, finish = await answer(runner, asking("x"))
    assert (text, finish.reason) == ("hi", FinishReason.LENGTH)


async def test_a_stream_of_no_declared_type_is_still_read() -> None:
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    async with raw(head + event(content="hi") + END) as (_, runner):
        assert (await answer(runner, asking("x")))[0] == "hi"


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
