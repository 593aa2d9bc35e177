"""The OpenAI engine as a kind for the engine contract: a real llama-server for every load."""

from __future__ import annotations

from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from tests.standins.openai_servers import started

from arbiter.engines.base import Availability, LoadSpec, Place, Runner
from arbiter.engines.openai_server import OpenAIServerEngine
from arbiter.errors import LoadFailed
from arbiter.inference import Chunk, Embedding, Finish, Generation, Vectors


class ServedEngine:
    """Starts a llama-server for a file, and loads the place where it is served then."""

    name = "openai_server"
    formats = OpenAIServerEngine.formats
    features = OpenAIServerEngine.features

    def __init__(self, inner: OpenAIServerEngine) -> None:
        self._inner = inner

    def availability(self) -> Availability:
        return self._inner.availability()

    async def load(self, spec: LoadSpec) -> ServedRunner:
        more = ["--embeddings"] if "embed" in spec.path.stem else []
        size = ["--context", str(spec.context), "--slots", str(spec.slots)]
        try:
            server = await started(spec.path, *size, *more)
        except OSError as error:
            raise LoadFailed("The model could not be loaded: its server did not start.") from error
        try:
            site = await self._inner.look(server.url)
            place = Place(engine=self.name, url=site.url, model=site.offers[0].model)
            inner = await self._inner.load(replace(spec, path=Path(), places=(place,)))
        except BaseException:
            await server.kill()
            raise
        return ServedRunner(inner, server)


class Server(Protocol):
    """A server in a child process."""

    process: Process

    async def kill(self) -> None: ...


class ServedRunner:
    """A runner, and the server that it speaks to."""

    pid = None
    reported = None

    def __init__(self, inner: Runner, server: Server) -> None:
        self.inner = inner
        self.server = server

    def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
        return self.inner.generate(request)

    async def embed(self, request: Embedding) -> tuple[Vectors, Finish]:
        return await self.inner.embed(request)

    async def is_healthy(self) -> bool:
        return await self.inner.is_healthy()

    async def wait_lost(self) -> str:
        return await self.inner.wait_lost()

    async def unload(self) -> None:
        await self.inner.unload()
        await self.server.kill()
