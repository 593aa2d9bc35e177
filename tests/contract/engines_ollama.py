"""The engine for Ollama as a kind for the engine contract: a server for every load.

That server is a stand-in Ollama, or a house with its own Ollama door.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from tests.contract.engines_served import ServedRunner
from tests.standins.house_server import HouseProcess
from tests.standins.house_server import started as house_started
from tests.standins.ollamas import started

from arbiter.engines.base import Availability, LoadSpec, Place, Runner
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


class HouseAsOllama(ServedOllama):
    """Starts a house for a file, and loads it by the house's own Ollama door."""

    async def load(self, spec: LoadSpec) -> ServedRunner:
        asked = [f"--option={name}={value}" for name, value in spec.options.items()]
        size = [f"--context={spec.context}", f"--slots={spec.slots}"]
        folder = Path(mkdtemp(prefix="house-"))
        try:
            server = await house_started(folder, f"contract={spec.path}", *size, *asked)
        except BaseException:
            rmtree(folder)
            raise
        place = Place(engine=self.name, url=server.url, model="contract")
        served = replace(spec, path=Path(), places=(place,), options={}, digest=server.version)
        try:
            return HouseRunner(await self._inner.load(served), server, folder)
        except BaseException:
            await server.kill()
            rmtree(folder)
            raise


class HouseRunner(ServedRunner):
    """A runner at a house, whose data directory goes with it."""

    def __init__(self, inner: Runner, server: HouseProcess, folder: Path) -> None:
        super().__init__(inner, server)
        self._folder = folder

    async def unload(self) -> None:
        await super().unload()
        rmtree(self._folder, ignore_errors=True)
