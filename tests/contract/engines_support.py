"""What the engine contract is run over: each engine with models to load into it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from tests.contract.engines_ollama import HouseAsOllama, ServedOllama
from tests.contract.engines_served import ServedEngine, ServedRunner
from tests.standins.embedder import embedder

import arbiter.demo
from arbiter.clock import Clock, SystemClock
from arbiter.engines.base import Engine, EngineContext, LoadSpec, Runner
from arbiter.engines.llama_cpp import LlamaCppEngine
from arbiter.engines.ollama import OllamaEngine
from arbiter.engines.openai_server import OpenAIServerEngine
from arbiter.engines.scripted import Scripted, ScriptedRunner
from arbiter.inference import Chat, Chunk, Delta, Finish, Generation, Message, Sampling
from arbiter.refs import VersionId

VERSION = VersionId("sha256:" + "0" * 64)
ECHO = "arbiter_worker.echo"
PROMPTS = (
    "Add 29 and 27",
    "Mood of this: the price seemed bad but the soup felt wonderful",
    "Reverse: kumub",
    "Spell backwards: epipti",
)
ENDLESS = "!endless"


def demo_model() -> Path:
    """The sparrow, or the first model that the demo ships."""
    models = sorted((Path(arbiter.demo.__file__).parent / "models").glob("*.gguf"))
    return next((m for m in models if m.stem == "sparrow"), models[0])


def never_ending(model: bytes) -> bytes:
    """The same model with no token that means the end, and with room for very long answers."""
    for key, value in (
        (b"tokenizer.ggml.eos_token_id", 0),
        (b"tokenizer.ggml.eot_token_id", 0),
        (b"llama.context_length", 16_384),
    ):
        at = model.index(key) + len(key) + 4
        model = model[:at] + value.to_bytes(4, "little") + model[at + 4 :]
    return model.replace(b"<|end|>", b"<|nix|>")


class Kind(Protocol):
    """An engine under test, and what it can be given to load."""

    name: str
    last_words: str
    """A word in what is said of a runner that was killed."""
    tells_cached: bool
    """Whether it says how much of a prompt it knew already."""

    def engine(self, clock: Clock, run_dir: Path) -> Engine: ...
    def model(self, folder: Path) -> Path: ...
    def endless_model(self, folder: Path) -> Path: ...
    def embedder(self, folder: Path) -> Path: ...
    def broken_models(self, folder: Path) -> list[Path]: ...
    def kill(self, runner: Runner) -> None: ...


@dataclass
class ScriptedKind:
    """The scripted engine."""

    name: str = "scripted"
    last_words: str = "kill"
    tells_cached: bool = True

    def engine(self, clock: Clock, run_dir: Path) -> Engine:
        del clock, run_dir
        return Scripted()

    def model(self, folder: Path) -> Path:
        rules = [
            {"match": f"^{p.split()[0]}", "reply": f"I say {number} and {p} and no more"}
            for number, p in enumerate(PROMPTS)
        ]
        rules.append({"match": "^!endless", "reply": "on " * 50_000})
        return written(
            folder / "model.json", {"arbiter_script": 1, "name": "parrot", "rules": rules}
        )

    def endless_model(self, folder: Path) -> Path:
        return self.model(folder)

    def embedder(self, folder: Path) -> Path:
        return self.model(folder)

    def broken_models(self, folder: Path) -> list[Path]:
        return [
            saved(folder / "empty.json", b""),
            saved(folder / "cut.json", b'{"arbiter_script": 1, "na'),
            saved(folder / "deep.json", b"[" * 100_000),
            folder / "absent.json",
        ]

    def kill(self, runner: Runner) -> None:
        assert isinstance(runner, ScriptedRunner)
        runner.die()


@dataclass
class WorkerKind:
    """An engine in a child process: llama.cpp itself, or the stand-in."""

    name: str
    module: str
    unix_sockets: bool = True
    hostile: bool = field(default=False)
    last_words: str = "kill"
    tells_cached: bool = True

    def engine(self, clock: Clock, run_dir: Path) -> Engine:
        return LlamaCppEngine(
            EngineContext(clock=clock, run_dir=run_dir),
            worker=self.module,
            unix_sockets=self.unix_sockets,
        )

    def model(self, folder: Path) -> Path:
        del folder
        return demo_model()

    def endless_model(self, folder: Path) -> Path:
        return saved(folder / "endless.gguf", never_ending(demo_model().read_bytes()))

    def embedder(self, folder: Path) -> Path:
        return saved(folder / "embedder.gguf", embedder(demo_model().read_bytes()))

    def broken_models(self, folder: Path) -> list[Path]:
        whole = demo_model().read_bytes()
        broken = [
            saved(folder / "empty.gguf", b""),
            saved(folder / "text.gguf", b"not a model"),
            folder / "absent.gguf",
        ]
        if self.hostile:
            huge = (2**62).to_bytes(8, "little")
            broken += [
                saved(folder / "cut.gguf", whole[: len(whole) // 2]),
                saved(folder / "tensors.gguf", whole[:8] + huge + whole[16:]),
                saved(folder / "keys.gguf", whole[:16] + huge + whole[24:]),
                saved(folder / "zeros.gguf", whole[:4] + bytes(len(whole) - 4)),
            ]
        return broken

    def kill(self, runner: Runner) -> None:
        assert runner.pid is not None
        os.kill(runner.pid, signal.SIGKILL)


@dataclass
class ServedKind(WorkerKind):
    """The engine for OpenAI-compatible servers, with a llama-server for every load."""

    name: str = "openai_server"
    module: str = ""
    last_words: str = "gone"

    def engine(self, clock: Clock, run_dir: Path) -> Engine:
        return ServedEngine(OpenAIServerEngine(EngineContext(clock=clock, run_dir=run_dir)))

    def kill(self, runner: Runner) -> None:
        assert isinstance(runner, ServedRunner)
        os.kill(runner.server.process.pid, signal.SIGKILL)


@dataclass
class OllamaKind(ServedKind):
    """The engine for Ollama, with a stand-in for every load."""

    name: str = "ollama"
    last_words: str = "does not answer"
    tells_cached: bool = False

    def engine(self, clock: Clock, run_dir: Path) -> Engine:
        return ServedOllama(OllamaEngine(EngineContext(clock=clock, run_dir=run_dir)))


@dataclass
class HouseKind(OllamaKind):
    """The engine for Ollama, with a house's own Ollama door for every load."""

    name: str = "ollama-door"

    def engine(self, clock: Clock, run_dir: Path) -> Engine:
        return HouseAsOllama(OllamaEngine(EngineContext(clock=clock, run_dir=run_dir)))


SCRIPTED = ScriptedKind()
STAND_IN = WorkerKind("stand-in", ECHO)
STAND_IN_TCP = WorkerKind("stand-in-tcp", ECHO, unix_sockets=False)
LLAMA = WorkerKind("llama_cpp", "arbiter_worker.llama_cpp", hostile=True)
LLAMA_TCP = WorkerKind("llama_cpp-tcp", "arbiter_worker.llama_cpp", unix_sockets=False)
SERVED = ServedKind()
OLLAMA = OllamaKind()
HOUSE = HouseKind()
HAS_LLAMA = find_spec("xllamacpp") is not None


def saved(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def written(path: Path, value: object) -> Path:
    return saved(path, json.dumps(value).encode())


def load_spec(
    path: Path,
    *,
    slots: int = 4,
    context: int = 512,
    options: Mapping[str, str] | None = None,
    capabilities: frozenset[str] = frozenset(),
) -> LoadSpec:
    return LoadSpec(
        version=VERSION,
        path=path,
        context=context,
        slots=slots,
        threads=1,
        options=options or {},
        capabilities=capabilities,
    )


@asynccontextmanager
async def loaded(engine: Engine, spec: LoadSpec) -> AsyncIterator[Runner]:
    runner = await engine.load(spec)
    try:
        yield runner
    finally:
        await runner.unload()


@asynccontextmanager
async def loaded_stand_in(
    folder: Path, *, clock: Clock | None = None, unix_sockets: bool = True
) -> AsyncIterator[Runner]:
    kind = STAND_IN if unix_sockets else STAND_IN_TCP
    engine = kind.engine(clock or SystemClock(), folder / "run")
    async with loaded(engine, load_spec(kind.model(folder))) as runner:
        yield runner


def asking(
    prompt: str, *, stream: bool = True, sampling: Sampling = Sampling(temperature=0.0)
) -> Generation:
    return Generation(
        work=Chat(messages=(Message(role="user", content=prompt),)),
        sampling=sampling,
        stream=stream,
    )


async def answer(runner: Runner, request: Generation) -> tuple[str, Finish]:
    """The whole text and its one end."""
    chunks = [chunk async for chunk in runner.generate(request)]
    ends = [chunk for chunk in chunks if isinstance(chunk, Finish)]
    assert ends == chunks[-1:], "a stream ends with exactly one Finish"
    return "".join(c.text for c in chunks if isinstance(c, Delta)), ends[0]


@asynccontextmanager
async def begun(runner: Runner, request: Generation) -> AsyncIterator[AsyncIterator[Chunk]]:
    """An answer whose first chunk has come."""
    async with aclosing(runner.generate(request)) as chunks:
        assert isinstance(await anext(chunks), Delta)
        yield chunks


async def exhaust(chunks: AsyncIterator[Chunk]) -> None:
    async for _ in chunks:
        pass
