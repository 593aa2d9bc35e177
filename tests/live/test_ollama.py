"""A real Ollama, where one runs at its usual address; nothing is pulled and nothing is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import aiohttp
import pytest

from arbiter.clock import SystemClock
from arbiter.engines.base import EngineContext, LoadSpec, Offer, Place, Runner, Site
from arbiter.engines.ollama import OllamaEngine
from arbiter.errors import EngineRefused, NotThisKind, ServerGone
from arbiter.inference import (
    Chat,
    Delta,
    Embedding,
    Finish,
    FinishReason,
    Generation,
    Message,
    Sampling,
    Shape,
)
from arbiter.refs import VersionId

pytestmark = [pytest.mark.live, pytest.mark.outside]

((_, URL),) = OllamaEngine.usual
NEEDS = f"needs a real Ollama at {URL}"
SCHEMA = '{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}'


@pytest.fixture
def engine(tmp_path: Path) -> OllamaEngine:
    return OllamaEngine(EngineContext(clock=SystemClock(), run_dir=tmp_path))


@pytest.fixture
async def site(engine: OllamaEngine) -> Site:
    try:
        return await engine.look(URL)
    except (ServerGone, NotThisKind) as error:
        pytest.skip(f"{NEEDS}: {error.message.rstrip('.')}")


def smallest(site: Site, capability: str) -> Offer:
    """The smallest model that can do this, so that a test need not wait long."""
    able = [offer for offer in site.offers if capability in (offer.capabilities or ())]
    if not able:
        pytest.skip(f"{NEEDS} with a model for {capability}")
    return min(able, key=lambda offer: offer.size_bytes or 0)


def spec(offer: Offer, **options: str) -> LoadSpec:
    return LoadSpec(
        version=VersionId("sha256:" + "0" * 64),
        path=Path("no/file"),
        context=512,
        places=(Place(engine="ollama", url=URL, model=offer.model),),
        digest=offer.digest,
        capabilities=offer.capabilities or frozenset(),
        options=options,
    )


@pytest.fixture
async def writer(engine: OllamaEngine, site: Site) -> AsyncIterator[Runner]:
    runner = await engine.load(spec(smallest(site, "chat"), num_ctx="512"))
    yield runner
    await runner.unload()


def asking(prompt: str, *, most: int = 16, shape: Shape | None = None) -> Generation:
    return Generation(
        work=Chat(messages=(Message(role="user", content=prompt),), shape=shape),
        sampling=Sampling(temperature=0.0, seed=1, max_tokens=most),
    )


async def test_a_real_ollama_is_described_by_itself(site: Site) -> None:
    assert site.kind == "Ollama"
    assert site.version
    for offer in site.offers:
        assert offer.digest
        assert offer.size_bytes
        assert offer.architecture


async def test_a_real_ollama_answers_with_its_figures(writer: Runner) -> None:
    assert writer.reported is not None
    chunks = [chunk async for chunk in writer.generate(asking("Say hello."))]
    finish = chunks[-1]
    assert isinstance(finish, Finish)
    assert finish.reason in {FinishReason.STOP, FinishReason.LENGTH}
    assert finish.usage.completion_tokens
    assert finish.usage.prompt_tokens
    assert finish.timings.decode_ms
    assert await writer.is_healthy()


async def test_a_real_ollama_refuses_a_prompt_that_does_not_fit(writer: Runner) -> None:
    with pytest.raises(EngineRefused):
        async for _ in writer.generate(asking("too long " * 4000)):
            pass


async def test_a_real_ollama_keeps_to_a_shape(writer: Runner) -> None:
    request = asking("How many legs has a cat?", most=200, shape=Shape(schema=SCHEMA))
    chunks = [chunk async for chunk in writer.generate(request)]
    text = "".join(chunk.text for chunk in chunks if isinstance(chunk, Delta))
    assert '"n"' in text


async def test_a_real_ollama_can_be_left_in_the_middle(writer: Runner) -> None:
    async with aclosing(writer.generate(asking("Count to a thousand.", most=400))) as chunks:
        await anext(chunks)
    assert await writer.is_healthy()


async def test_a_real_ollama_makes_vectors(engine: OllamaEngine, site: Site) -> None:
    runner = await engine.load(spec(smallest(site, "embedding")))
    made, _ = await runner.embed(Embedding(inputs=("a cat", "a house", "a cat")))
    await runner.unload()
    assert made.vectors[0] == pytest.approx(made.vectors[2], abs=1e-3)


async def test_a_real_ollama_is_left_as_it_was_found(engine: OllamaEngine, site: Site) -> None:
    offer = smallest(site, "chat")
    before = await loaded()
    runner = await engine.load(spec(offer))
    await runner.unload()
    assert await loaded() == before


async def loaded() -> set[str]:
    """What that Ollama has in memory."""
    async with aiohttp.ClientSession() as session, session.get(f"{URL}/api/ps") as got:
        return {one["model"] for one in (await got.json())["models"]}
