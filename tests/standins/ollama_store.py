"""The models of the stand-in Ollama: which content each name has, and which is loaded.

A content is a GGUF file, with the chat template that it is given if it is given one; its digest is
of both. As at an Ollama, two names of one content are one loaded model, other load-affecting
options are a reload, and what is kept alive for no longer is unloaded when its time has come.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil

from arbiter.clock import SystemClock
from arbiter.engines.base import EngineContext, LoadSpec
from arbiter.engines.llama_cpp import LlamaCppEngine, LlamaCppRunner
from arbiter.errors import ModelFileError
from arbiter.refs import VersionId
from arbiter.registry.gguf import GgufHeader, capabilities, read_header, template_capabilities

LOAD_OPTIONS = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread")
DEFAULT_CONTEXT = 4096
DEFAULT_KEEP_ALIVE_S = 300.0
_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class NoSuchModel(KeyError):
    """No model has this name."""


@dataclass(frozen=True)
class Content:
    """What a name stands for."""

    path: Path
    template: str | None = None

    @cached_property
    def data(self) -> bytes:
        """What is in the file; nothing when it is gone."""
        return self.path.read_bytes() if self.path.exists() else b""

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.data + (self.template or "").encode()).hexdigest()

    @property
    def size(self) -> int:
        return len(self.data)

    @cached_property
    def header(self) -> GgufHeader | None:
        """What the file says of itself; None when it cannot be read, which a list survives."""
        try:
            return read_header(BytesIO(self.data), file_size=self.size)
        except ModelFileError:
            return None

    @property
    def capabilities(self) -> frozenset[str]:
        """What it can do, in Ollama's words: who completes can chat."""
        found = frozenset({"completion"}) if self.header is None else capabilities(self.header)
        if self.template is not None and "completion" in found:
            found = template_capabilities(self.template)
        return found - {"chat"}

    @property
    def details(self) -> dict[str, Any]:
        header = self.header
        if header is None:
            return {"format": "gguf"}
        return {
            "parent_model": "",
            "format": "gguf",
            "family": header.architecture,
            "families": [header.architecture],
            "parameter_size": f"{header.parameter_count / 1e6:.2f}M",
            "quantization_level": header.quantization or "unknown",
        }


@dataclass
class Loaded:
    """A content in memory."""

    name: str
    content: Content
    options: Mapping[str, object]
    context: int
    runner: LlamaCppRunner
    uses: int = 0
    keep_alive_s: float = DEFAULT_KEEP_ALIVE_S
    expiry: asyncio.TimerHandle | None = None
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def size(self) -> int:
        return int(psutil.Process(self.runner.pid).memory_info().rss)


class Store:
    """Every model, and a count of what was done with them."""

    def __init__(
        self,
        models: Mapping[str, Content],
        library: Mapping[str, Content],
        folder: Path,
        *,
        cache_prompt: bool,
    ) -> None:
        self._options = {"cache_prompt": str(cache_prompt).lower()}
        self.models = dict(models)
        self.library = dict(library)
        self.loads: Counter[str] = Counter()
        self.loaded: dict[str, Loaded] = {}
        self._turn = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()
        self._engine = LlamaCppEngine(EngineContext(clock=SystemClock(), run_dir=folder))

    def content(self, name: str) -> Content:
        try:
            return self.models[tagged(name)]
        except KeyError:
            raise NoSuchModel(name) from None

    @asynccontextmanager
    async def used(
        self, name: str, options: Mapping[str, object], keep_alive: object
    ) -> AsyncIterator[Loaded]:
        """The model, loaded, for as long as the context lasts; then its time begins to run."""
        content = self.content(name)
        async with self._turn:
            one = await self._ready(tagged(name), content, options)
            one.uses += 1
            one.idle.clear()
        if keep_alive is not None:
            one.keep_alive_s = seconds(keep_alive)
        if one.expiry is not None:
            one.expiry.cancel()
            one.expiry = None
        try:
            yield one
        finally:
            one.uses -= 1
            if not one.uses:
                one.idle.set()
                self._wind_up(one)

    async def unload(self, name: str) -> None:
        """Let a model go once nobody uses it."""
        one = self.loaded.get(self.content(name).digest)
        if one is not None:
            one.keep_alive_s = 0.0
            if not one.uses:
                await self._end(one)

    async def close(self) -> None:
        for one in list(self.loaded.values()):
            await self._end(one)
        await asyncio.gather(*self._ending)

    async def _ready(self, name: str, content: Content, options: Mapping[str, object]) -> Loaded:
        wanted = {key: options[key] for key in LOAD_OPTIONS if key in options}
        found = self.loaded.get(content.digest)
        if found is not None and found.options == wanted:
            return found
        if found is not None:
            await found.idle.wait()
            await self._end(found)
        asked = wanted.get("num_ctx")
        context = asked if isinstance(asked, int) else DEFAULT_CONTEXT
        if content.header is not None:
            context = min(context, content.header.context_length or context)
        given = dict(self._options)
        if content.template is not None:
            given["chat_template"] = content.template
        one = Loaded(
            name=name,
            content=content,
            options=wanted,
            context=context,
            runner=await self._engine.load(
                LoadSpec(
                    version=VersionId(f"sha256:{content.digest}"),
                    path=content.path,
                    context=context,
                    threads=1,
                    options=given,
                    capabilities=content.capabilities,
                )
            ),
        )
        self.loads[name] += 1
        self.loaded[content.digest] = one
        return one

    def _wind_up(self, one: Loaded) -> None:
        if one.keep_alive_s < 0:
            return
        loop = asyncio.get_running_loop()
        one.expiry = loop.call_later(one.keep_alive_s, self._expire, one)

    def _expire(self, one: Loaded) -> None:
        if not one.uses:
            task = asyncio.create_task(self._end(one))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _end(self, one: Loaded) -> None:
        if self.loaded.get(one.content.digest) is one:
            del self.loaded[one.content.digest]
        if one.expiry is not None:
            one.expiry.cancel()
        await one.runner.unload()


def tagged(name: str) -> str:
    """A name as Ollama shows it."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def seconds(keep_alive: object) -> float:
    """A time to keep a model, as requests write it: seconds, or 5m. Raises `ValueError`."""
    if isinstance(keep_alive, (int, float)):
        return float(keep_alive)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)", str(keep_alive))
    if not parts:
        raise ValueError(f'time: invalid duration "{keep_alive}"')
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return -total if str(keep_alive).startswith("-") else total


def lasting(one: Loaded) -> timedelta:
    """For how long a model is kept yet; for ever is long."""
    return timedelta(seconds=one.keep_alive_s if one.keep_alive_s >= 0 else 1e9)
