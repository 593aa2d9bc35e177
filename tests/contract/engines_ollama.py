"""The engine for Ollama as a kind for the engine contract: a stand-in Ollama for every load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.contract.engines_served import ServedRunner
from tests.standins.ollamas import started

from arbiter.engines.base import Availability, LoadSpec, Place
from arbiter.engines.ollama import OllamaEngine

MODEL = "contract:latest"


class ServedOllama:
    """Starts an Ollama for a file, and loads the place where it is served then."""

    name = OllamaEngine.name
    formats = OllamaEngine.formats
    features = OllamaEngine.features

    def __init__(self, inner: OllamaEngine) -> None:
        self._inner = inner

    def availability(self) -> Availability:
        return self._inner.availability()

    async def load(self, spec: LoadSpec) -> ServedRunner:
        more = ["--no-cache"] if spec.options.get("cache_prompt") == "false" else []
        server = await started({MODEL: spec.path}, *more)
        place = Place(engine=self.name, url=server.url, model=MODEL)
        options = {"num_ctx": str(spec.context)}
        served = replace(spec, path=Path(), places=(place,), options=options)
        try:
            return ServedRunner(await self._inner.load(served), server)
        except BaseException:
            await server.kill()
            raise
