"""What an address tells of itself: which program it is, and what it offers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.contract.engines_support import (
    PROMPTS,
    answer,
    asking,
    loaded,
    saved,
)
from tests.contract.openai_server_support import (
    NOBODY,
    Raw,
    at,
    made,
    named_flavour,
    offer_of,
    plain,
    said,
)
from tests.standins.openai_servers import DIGEST, serving
from tests.story.houses import MODELS, running

from arbiter.engines.base import Site
from arbiter.errors import (
    LoadFailed,
    NotThisKind,
    ServerGone,
)
from arbiter.inference import (
    Sampling,
)


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
