"""llama.cpp, each model in a child process of its own.

The child is llama.cpp's own HTTP server, from the package xllamacpp, on a unix socket in a
private folder where there are such sockets and else on loopback, with a key of its own. See
`arbiter_worker.llama_cpp`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import secrets
import shutil
import socket
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import structs

from arbiter.clock import Clock
from arbiter.engines.base import Availability, Engine, EngineContext, LoadSpec
from arbiter.engines.channel import Address, Channel
from arbiter.engines.connection import Connection
from arbiter.engines.deadlines import Deadlines
from arbiter.engines.llama_dialect import check_length, of_input, understood
from arbiter.engines.openai_refusal import parse_refusal
from arbiter.engines.openai_request import (
    CHAT,
    EMBEDDINGS,
    encode_embedding,
    encode_request,
    path_of,
)
from arbiter.engines.openai_wire import (
    MalformedAnswer,
    ReportedError,
    StreamedAnswer,
    parse_answer,
    parse_count,
    parse_vectors,
)
from arbiter.engines.worker import Worker
from arbiter.errors import (
    EngineError,
    EngineRefused,
    EngineTimeout,
    EngineUnavailable,
    InstanceLost,
    LoadFailed,
    StreamCut,
)
from arbiter.inference import Chunk, Embedding, Finish, Generation, Vectors

MODULE: Final = "arbiter_worker.llama_cpp"

_LONGEST_SOCKET_PATH: Final = 100
_HEALTH_S: Final = 2.0
_OPTIONS: Final = frozenset({"gpu_layers", "cache_prompt", "chat_template"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for a worker, in seconds.

    load_s: until a model is loaded. first_token_s: for the prompt to be read. next_token_s:
    between two tokens. whole_s: for an answer in one piece, which says nothing until it is done.
    """

    load_s: float = 600.0
    first_token_s: float = 300.0
    next_token_s: float = 30.0
    whole_s: float = 1800.0


def engine(context: EngineContext) -> Engine:
    """The entry point."""
    return LlamaCppEngine(context)


class LlamaCppEngine:
    """Loads GGUF files.

    Options of a `LoadSpec`: ``gpu_layers`` (a number; by default what fits), ``cache_prompt``
    (``true`` or ``false``; by default a prompt's common beginning is not computed again) and
    ``chat_template`` (in the place of the file's own). A version that is known to make vectors is
    loaded to do that and nothing else.

    worker: the module to run, for a stand-in. unix_sockets: False listens on loopback.
    """

    name = "llama_cpp"
    formats = frozenset({"gguf"})
    features = frozenset({"json"})

    def __init__(
        self,
        context: EngineContext,
        *,
        worker: str = MODULE,
        patience: Patience | None = None,
        unix_sockets: bool = hasattr(socket, "AF_UNIX"),
    ) -> None:
        self._context = context
        self._worker = worker
        waits = context.waits.said(
            first_s="first_token_s", next_s="next_token_s", whole_s="whole_s"
        )
        self._patience = patience or Patience(**waits)
        self._unix_sockets = unix_sockets

    def availability(self) -> Availability:
        """Whether xllamacpp is installed; it is not imported here."""
        if self._worker == MODULE and importlib.util.find_spec("xllamacpp") is None:
            return Availability(
                available=False,
                reason='llama.cpp is not installed. Run: pip install "arbiter-house[llama]"',
            )
        return Availability(available=True, reason="installed")

    async def load(self, spec: LoadSpec) -> LlamaCppRunner:
        """Start a worker for this version. Raises `LoadFailed`, `EngineUnavailable`."""
        found = await asyncio.to_thread(self.availability)
        if not found.available:
            raise EngineUnavailable(found.reason)
        given = _options(spec.options)
        key = secrets.token_urlsafe(32)
        folder = None
        if self._unix_sockets:
            folder = await asyncio.to_thread(_private_folder, self._context.run_dir)
        path = await asyncio.to_thread(spec.path.resolve)
        hide = {str(path): spec.path.name}
        if folder is not None:
            hide[str(folder)] = "."
        try:
            worker = await Worker.start(
                self._worker,
                {
                    "model": str(path),
                    "context": spec.context,
                    "slots": spec.slots,
                    "threads": spec.threads,
                    "gpu_layers": given.gpu_layers,
                    "chat_template": given.chat_template,
                    "embeddings": "embedding" in spec.capabilities,
                    "key": key,
                    "socket": None if folder is None else str(folder / "s.sock"),
                },
                clock=self._context.clock,
                load_s=self._patience.load_s,
                hide=hide,
            )
        except BaseException:
            await asyncio.to_thread(_remove, folder)
            raise
        return LlamaCppRunner(
            worker=worker,
            folder=folder,
            key=key,
            spec=spec,
            clock=self._context.clock,
            patience=self._patience,
            cache_prompt=given.cache_prompt,
        )


class LlamaCppRunner:
    """A loaded model: a worker and the connections to it."""

    def __init__(
        self,
        *,
        worker: Worker,
        folder: Path | None,
        key: str,
        spec: LoadSpec,
        clock: Clock,
        patience: Patience,
        cache_prompt: bool,
    ) -> None:
        self._worker = worker
        self._folder = folder
        self._patience = patience
        self._cache_prompt = cache_prompt
        self._context = spec.context
        self._deadlines = Deadlines(clock)
        self._channel = Channel(
            address=_address(worker.address, folder),
            key=key,
            deadlines=self._deadlines,
            idle=spec.slots,
        )
        self._cleaning = asyncio.create_task(self._clean_up())

    @property
    def pid(self) -> int:
        """The worker's process."""
        return self._worker.pid

    @property
    def reported(self) -> None:
        """The house measures the worker itself."""

    @property
    def last_words(self) -> str:
        """How the worker ended, and the last lines of its log."""
        return f"{self._worker.ending}\n{self._worker.last_words}".strip()

    async def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
        """Answer, piece by piece. See `arbiter.engines.base.Runner`."""
        body = encode_request(understood(request), cache_prompt=self._cache_prompt)
        connection = await self._ask(
            path_of(request.work),
            body,
            keep=not request.stream,
            seconds=self._patience.first_token_s if request.stream else self._patience.whole_s,
        )
        keep = False
        begun = False
        try:
            if connection.status != 200:
                raise await self._refusal(connection)
            if request.stream:
                answer = StreamedAnswer(odds=request.sampling.odds)
                while not answer.is_broken and (
                    data := await connection.receive(self._deadlines, self._patience.next_token_s)
                ):
                    for piece in answer.pieces(data):
                        begun = True
                        yield piece
                finish = answer.finish()
            else:
                body = await connection.receive_all(self._deadlines, self._patience.next_token_s)
                whole, finish = parse_answer(body, odds=request.sampling.odds)
                keep = True
                for piece in whole:
                    begun = True
                    yield piece
            yield finish
        except (OSError, MalformedAnswer, ReportedError) as error:
            raise await self._translate(error, begun=begun) from error
        finally:
            # llama.cpp closes after a stream whatever it was asked, so those are never kept
            self._channel.release(connection, keep=keep)

    async def count(self, request: Generation) -> int:
        """The tokens of a chat's prompt. See `arbiter.engines.base.CountingRunner`."""
        body = encode_request(structs.replace(understood(request), stream=False))
        connection = await self._ask(
            f"{CHAT}/input_tokens", body, keep=True, seconds=self._patience.first_token_s
        )
        try:
            if connection.status != 200:
                raise await self._refusal(connection)
            return parse_count(
                await connection.receive_all(self._deadlines, self._patience.next_token_s)
            )
        except (OSError, MalformedAnswer) as error:
            raise await self._translate(error, begun=False) from error
        finally:
            self._channel.release(connection, keep=True)

    async def embed(self, request: Embedding) -> tuple[Vectors, Finish]:
        """A vector for each input. See `arbiter.engines.base.Runner`."""
        connection = await self._ask(
            EMBEDDINGS, encode_embedding(request), keep=True, seconds=self._patience.whole_s
        )
        try:
            if connection.status != 200:
                raise of_input(await self._refusal(connection), self._context)
            body = await connection.receive_all(self._deadlines, self._patience.next_token_s)
            vectors, finish = parse_vectors(body, wanted=len(request.inputs))
        except (OSError, MalformedAnswer) as error:
            raise await self._translate(error, begun=False) from error
        finally:
            self._channel.release(connection, keep=True)
        check_length(vectors, request.dimensions)
        return vectors, finish

    async def is_healthy(self) -> bool:
        """Whether the worker answers now."""
        try:
            connection = await self._channel.ask("GET", "/health", keep=True, seconds=_HEALTH_S)
        except OSError:
            return False
        healthy = connection.status == 200
        with suppress(OSError):
            await connection.receive_all(self._deadlines, _HEALTH_S)
        self._channel.release(connection, keep=True)
        return healthy

    async def wait_lost(self) -> str:
        """Return when the worker is gone without having been asked to; never after `unload`."""
        await self._worker.gone.wait()
        if self._worker.is_stopping:
            await asyncio.Event().wait()
        return self.last_words

    async def unload(self) -> None:
        """Stop the worker. Idempotent. Streams that still run are cut."""
        self._channel.close()
        await self._worker.stop()
        await asyncio.shield(self._cleaning)

    async def _clean_up(self) -> None:
        """However the worker ended, leave nothing of it behind."""
        await self._worker.gone.wait()
        self._channel.close()
        await self._deadlines.close()
        await asyncio.to_thread(_remove, self._folder)

    async def _ask(self, path: str, body: bytes, *, keep: bool, seconds: float) -> Connection:
        if self._worker.is_stopping or self._worker.gone.is_set():
            raise InstanceLost("This model was unloaded.")
        try:
            return await self._channel.ask("POST", path, body, keep=keep, seconds=seconds)
        except OSError as error:
            raise await self._translate(error, begun=False) from error

    async def _refusal(self, connection: Connection) -> EngineRefused:
        body = await connection.receive_all(self._deadlines, self._patience.next_token_s)
        told = self._worker.clean(body.decode("utf-8", "replace"))
        return parse_refusal(connection.status, told.encode())

    async def _translate(self, error: Exception, *, begun: bool) -> EngineError:
        """What went wrong, in the house's words."""
        if begun:
            if isinstance(error, ReportedError):
                return StreamCut(f"The engine broke off: {self._worker.clean(str(error))}")
            if isinstance(error, TimeoutError):
                return StreamCut("The engine fell silent in the middle of its answer.")
            return StreamCut()
        if isinstance(error, TimeoutError):
            return EngineTimeout()
        if isinstance(error, ReportedError):
            return EngineRefused(
                f"The engine refused the request: {self._worker.clean(str(error))}"
            )
        if isinstance(error, MalformedAnswer):
            return EngineError("The engine's answer cannot be understood.")
        if not self._worker.is_stopping:
            # a worker that takes no requests is of no use, and whoever waits for its loss is
            # to hear of it; most often it is dead already and this only waits for its last words
            await self._worker.kill()
        return InstanceLost()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """The options of a `LoadSpec`, read."""

    gpu_layers: int | None
    cache_prompt: bool
    chat_template: str | None


def _options(options: Mapping[str, str]) -> _Options:
    unknown = sorted(options.keys() - _OPTIONS)
    if unknown:
        raise LoadFailed(
            f"llama_cpp has no option {unknown[0]!r}.",
            hint=f"It has {', '.join(sorted(_OPTIONS))}.",
        )
    layers = options.get("gpu_layers")
    try:
        gpu_layers = None if layers is None else int(layers)
    except ValueError as error:
        raise LoadFailed(f"gpu_layers is a number, not {layers!r}.") from error
    cache = options.get("cache_prompt", "true")
    if cache not in {"true", "false"}:
        raise LoadFailed(f"cache_prompt is true or false, not {cache!r}.")
    return _Options(
        gpu_layers=gpu_layers,
        cache_prompt=cache == "true",
        chat_template=options.get("chat_template"),
    )


def _private_folder(run_dir: Path) -> Path:
    """A new folder that only this user can enter, with a path short enough for a socket in it."""
    run_dir = run_dir.absolute()  # whoever binds there may be told another current folder
    if len(str(run_dir)) + len("/llama-12345678/s.sock") <= _LONGEST_SOCKET_PATH:
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="llama-", dir=run_dir))
    return Path(tempfile.mkdtemp(prefix="llama-"))


def _remove(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _address(told: str, folder: Path | None) -> Address:
    if folder is not None:
        return Address(path=told)
    port = urlsplit(told).port
    if port is None:
        raise LoadFailed("The worker did not say where it listens.")
    return Address(port=port)
