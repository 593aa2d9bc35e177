"""Looking at Ollamas and having them pull: a stand-in over llama.cpp, and faulty servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
from tests.contract.engines_support import demo_model
from tests.contract.ollama_support import (
    EMBEDS,
    HASTY,
    MODEL,
    SHOWN,
    TAG,
    WELL,
    WRITES,
    engine,
    needs_llama,
    nobody,
    two_models,
)
from tests.standins.faulty import SILENT, Broken, Reply, begun, faulty, reply
from tests.standins.ollamas import Ollama

from arbiter.engines.base import PullingEngine, Site
from arbiter.engines.ollama_runner import Patience
from arbiter.errors import (
    EngineError,
    NotThisKind,
    ServerGone,
)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Ollama]:
    async with two_models(tmp_path) as one:
        yield one


async def looked(changes: Mapping[str, Reply | Sequence[Reply]]) -> Site:
    async with faulty({**WELL, **changes}) as server:
        return await engine(HASTY).look(server.url)


@needs_llama
async def test_what_an_ollama_offers_is_found_as_it_describes_it(server: Ollama) -> None:
    site = await engine().look(server.url)
    assert (site.kind, site.version, site.trouble) == ("Ollama", "0.33.0", ())
    embeds, writes = site.offers
    assert (embeds.model, embeds.capabilities) == ("embeds:latest", EMBEDS)
    assert (writes.model, writes.capabilities) == (MODEL, WRITES)
    assert (writes.architecture, writes.quantization) == ("llama", "F16")
    assert (writes.context_length, writes.size_bytes) == (512, demo_model().stat().st_size)
    assert (writes.licence, writes.loaded) == ("Apache-2.0", False)
    assert writes.template
    assert writes.parameters


@needs_llama
async def test_what_was_described_once_is_not_asked_again(server: Ollama) -> None:
    looking = engine()
    first = await looking.look(server.url)
    assert await looking.look(server.url) == first
    assert len(await server.asked("/api/show")) == len(first.offers)


@needs_llama
async def test_a_tag_whose_content_changed_has_another_digest(server: Ollama) -> None:
    looking = engine()
    before = {offer.model: offer.digest for offer in (await looking.look(server.url)).offers}
    async with aclosing(looking.pull(server.url, MODEL)) as steps:
        async for _ in steps:
            pass
    after = {offer.model: offer.digest for offer in (await looking.look(server.url)).offers}
    assert after[MODEL] != before[MODEL]
    assert after["embeds:latest"] == before["embeds:latest"]


async def test_where_nothing_listens_nothing_answers() -> None:
    with pytest.raises(ServerGone, match=r"^Nothing answers there: connection refused\.$"):
        await engine().look(nobody())


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        ({"/api/version": SILENT}, "silent"),
        ({"/api/version": Broken(b"HTTP/1.1 200")}, "closed by the peer"),
        ({"/api/tags": SILENT}, "its list of models is silent"),
        ({"/api/tags": reply("<html>")}, "its list of models is not to be understood"),
        ({"/api/tags": reply({"error": "disk"}, status=500)}, "not to be understood"),
        ({"/api/tags": begun(TAG)}, "not to be understood"),
    ],
)
async def test_a_server_that_is_half_up_is_not_there_yet(
    replies: Mapping[str, Reply], words: str
) -> None:
    with pytest.raises(ServerGone, match=words):
        await looked(replies)


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        ({"/api/version": reply("<h1>hi</h1>")}, "status 200, 'text/html'"),
        (
            {"/api/version": reply("no", status=404, more="Server: nginx\r\n")},
            "status 404, 'text/html', from 'nginx'",
        ),
        ({"/api/version": reply({"version": 3})}, "no Ollama"),
        ({"/": reply("Something else is running")}, "no Ollama"),
        ({"/api/version": Broken(b"SSH-2.0-OpenSSH\r\n")}, "does not speak HTTP"),
        ({"/api/version": reply({}, status=401)}, "without a key"),
    ],
)
async def test_a_port_that_belongs_to_something_else_is_told(
    replies: Mapping[str, Reply], words: str
) -> None:
    with pytest.raises(NotThisKind, match=words):
        await looked(replies)


async def test_a_look_is_over_in_time_whatever_the_server_does() -> None:
    patience = Patience(step_s=60.0, look_s=1.0)
    async with faulty({**WELL, "/api/version": SILENT}) as one:
        with pytest.raises(ServerGone, match="too slowly"):
            await engine(patience).look(one.url)
    async with faulty({**WELL, "/api/show": SILENT}) as one:
        assert "not described in time" in (await engine(patience).look(one.url)).trouble[0]


@pytest.mark.security("S-23", "S-24")
async def test_a_redirect_to_another_address_is_not_followed() -> None:
    async with faulty(WELL) as elsewhere:
        away = reply("", status=302, more=f"Location: {elsewhere.url}/api/version\r\n")
        with pytest.raises(NotThisKind, match="status 302"):
            await looked({"/api/version": away})
        assert elsewhere.asked == []


@pytest.mark.security("S-24")
async def test_a_key_is_sent_to_its_own_address_alone() -> None:
    async with faulty(WELL) as one, faulty(WELL) as other:
        looking = engine(keys={one.url: "secret"})
        await looking.look(one.url)
        await looking.look(other.url)
    assert all("Authorization: Bearer secret" in head for head in one.heads)
    assert not any("secret" in head for head in other.heads)


SECOND = {**TAG, "model": "other:1b", "name": "other:1b", "digest": "b" * 64}


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (reply({"error": "model 'other:1b' not found"}, status=404), "was gone before"),
        (reply({"error": "disk"}, status=500), "not described: disk"),
        (reply("<html>"), "cannot be understood"),
        (reply([1]), "cannot be understood"),
        (SILENT, "not described in time"),
        (Broken(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), "cannot be understood"),
    ],
)
async def test_trouble_with_one_model_leaves_the_others(shown: Reply, words: str) -> None:
    tags = reply({"models": [TAG, SECOND]})
    site = await looked({"/api/tags": tags, "/api/show": [reply(SHOWN), shown]})
    assert len(site.offers) == 1
    (trouble,) = site.trouble
    assert words in trouble


async def test_a_model_that_could_not_be_described_is_asked_about_again() -> None:
    async with faulty({**WELL, "/api/show": [reply("<html>"), reply(SHOWN)]}) as one:
        looking = engine(HASTY)
        assert (await looking.look(one.url)).offers == ()
        assert len((await looking.look(one.url)).offers) == 1


async def test_models_that_run_elsewhere_are_not_offered() -> None:
    cloud = {**SECOND, "remote_host": "https://ollama.com:443", "remote_model": "big"}
    site = await looked({"/api/tags": reply({"models": [TAG, cloud]})})
    assert [offer.model for offer in site.offers] == [MODEL]
    (trouble,) = site.trouble
    assert "other:1b (https://ollama.com:443)" in trouble
    shown = await looked({"/api/show": reply({**SHOWN, "remote_host": "https://ollama.com"})})
    assert shown.offers == ()


async def test_a_model_without_a_digest_is_not_offered() -> None:
    site = await looked({"/api/tags": reply({"models": [{**TAG, "digest": "?"}]})})
    assert site.offers == ()
    assert "no digest" in site.trouble[0]


@pytest.mark.parametrize("ps", [reply("<html>"), reply({}, status=500), SILENT])
async def test_what_is_loaded_may_stay_unknown(ps: Reply) -> None:
    site = await looked({"/api/ps": ps})
    assert [offer.loaded for offer in site.offers] == [None]
    assert site.trouble == ("It did not say which models are loaded.",)


async def test_an_old_server_that_tells_no_capabilities_leaves_them_unknown() -> None:
    (offer,) = (await looked({"/api/show": reply({"model_info": {}})})).offers
    assert offer.capabilities is None


@needs_llama
async def test_a_pull_keeps_what_was_copied_before(server: Ollama) -> None:
    pulling = engine()
    assert isinstance(pulling, PullingEngine)
    old = (await pulling.look(server.url)).offers[1].digest
    await pulling.copy(server.url, MODEL, f"{MODEL}-old")
    steps = [step async for step in pulling.pull(server.url, MODEL)]
    assert steps[-1].status == "success"
    assert any(step.completed == step.total is not None for step in steps)
    found = {offer.model: offer.digest for offer in (await pulling.look(server.url)).offers}
    assert found[f"{MODEL}-old"] == old != found[MODEL]
    await pulling.drop(server.url, f"{MODEL}-old")
    assert len((await pulling.look(server.url)).offers) == 2


@needs_llama
async def test_what_cannot_be_pulled_copied_or_dropped_is_told_in_the_servers_words(
    server: Ollama,
) -> None:
    pulling = engine()
    with pytest.raises(EngineError, match=r"could not pull nothing: .*file does not exist\."):
        async for _ in pulling.pull(server.url, "nothing"):
            pass
    with pytest.raises(EngineError, match='could not copy nothing to some: model "nothing"'):
        await pulling.copy(server.url, "nothing", "some")
    with pytest.raises(EngineError, match="could not drop nothing: model 'nothing' not found"):
        await pulling.drop(server.url, "nothing")


@pytest.mark.parametrize(
    ("pull", "words"),
    [
        (reply({"error": "no room"}, status=500), "no room"),
        (begun({"status": "pulling manifest"}), "closed by the peer"),
        (reply(b'{"status":"pulling manifest"}\n'), "before it was done"),
        (reply(b"nonsense\n"), "malformed"),
    ],
)
async def test_a_pull_that_does_not_end_well_is_no_success(pull: Reply, words: str) -> None:
    async with faulty({**WELL, "/api/pull": pull}) as one:
        with pytest.raises(EngineError, match=words):
            async for _ in engine().pull(one.url, MODEL):
                pass
        with pytest.raises(EngineError, match="could not drop"):
            await engine().drop(nobody(), MODEL)
