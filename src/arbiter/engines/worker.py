"""A child process that runs a model: started, told what to load, watched, stopped.

The child leads its own session, so that Ctrl-C in a terminal reaches the house alone and the
house drains before it stops anybody. The key goes through standard input, never through an
argument or the environment, and standard input stays open: the child leaves when it closes,
however this process ended.

This module knows no engine and no HTTP.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import msgspec

from arbiter.clock import Clock
from arbiter.engines.deadlines import within
from arbiter.engines.endings import is_out_of_memory, told
from arbiter.errors import LoadFailed, OutOfMemory

_KEPT_LINES: Final = 200
_TOLD_LINES: Final = 20
_LONGEST_LINE: Final = 400
_LEAVE_S: Final = 5.0
_TERMINATE_S: Final = 3.0
_STDERR_S: Final = 2.0

_PASSED_ON: Final = frozenset(
    {"PATH", "HOME", "LANG", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "PYTHONPATH", "VIRTUAL_ENV"}
)
_PASSED_ON_PREFIXES: Final = (
    "LC_", "LD_", "DYLD_", "OMP_", "CUDA_", "NVIDIA_", "GGML_", "HIP_", "ROCR_", "HSA_", "VK_",
    "COVERAGE_",
)  # fmt: skip


class Ready(msgspec.Struct):
    """What a worker says once it has loaded, or why it has not."""

    ready: bool = False
    address: str = ""
    pid: int = 0
    error: str = ""


_ready = msgspec.json.Decoder(Ready).decode


def worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of the environment that a worker needs: paths and devices, no tokens, no keys."""
    return {
        name: value
        for name, value in environment.items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }


class Worker:
    """A running worker. `start` makes one."""

    def __init__(self, process: Process, *, clock: Clock, hide: Mapping[str, str]) -> None:
        self._process = process
        self._clock = clock
        self._hide = hide
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._listening = asyncio.create_task(self._listen())
        self._reaping = asyncio.create_task(self._reap())
        self._stopping: asyncio.Task[None] | None = None
        self.gone = asyncio.Event()
        """Set when the process has ended and its last words are known."""
        self.address = ""

    @classmethod
    async def start(
        cls,
        module: str,
        configuration: Mapping[str, object],
        *,
        clock: Clock,
        load_s: float,
        hide: Mapping[str, str],
    ) -> Worker:
        """Start a worker and wait until it has loaded.

        hide: what to replace in its log, so that no path of this machine reaches a client.
        Raises `LoadFailed` with the last lines of its log. When this is cancelled, the worker is
        ended first.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # the current folder is no place to import from
            "-m",
            module,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=worker_environment(os.environ),
            start_new_session=True,
        )
        worker = cls(process, clock=clock, hide=hide)
        try:
            said = await within(clock, load_s, worker._introduce(configuration))
        except TimeoutError:
            said = Ready(error=f"It was not ready within {load_s:.0f} s.")
        except BaseException:
            await worker.kill()
            raise
        if not said.ready:
            raise await worker._failed(said.error)
        worker.address = said.address
        return worker

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to go."""
        return self._stopping is not None

    @property
    def ending(self) -> str:
        """How the process ended."""
        return told(self._process.returncode)

    @property
    def last_words(self) -> str:
        """The last lines of its log."""
        return "\n".join(tuple(self._lines)[-_TOLD_LINES:])

    def clean(self, text: str) -> str:
        """A text of the worker's without paths of this machine."""
        for secret, instead in self._hide.items():
            text = text.replace(secret, instead)
        return text

    async def _failed(self, error: str) -> LoadFailed:
        """Why nothing was loaded, with the last lines of its log."""
        with suppress(TimeoutError):
            # what it died of is known once it is dead, and only if it was not we who killed it
            await within(self._clock, _STDERR_S, self.gone.wait())
        code = self._process.returncode
        await self.kill()
        why = self.clean(error) or self.ending
        message = f"The model could not be loaded: {why}\n{self.last_words}".strip()
        if is_out_of_memory(message, code):
            return OutOfMemory(
                message,
                hint="There was not enough memory for it. Let others go (arbiter models unload "
                "NAME), lower pool.context or pool.slots, or take a smaller quantization.",
            )
        return LoadFailed(message)

    async def kill(self) -> None:
        """End it at once, and wait until it has ended."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        await self.gone.wait()

    async def stop(self) -> None:
        """Ask it to leave; insist; insist harder. Idempotent, and finished even if cancelled."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        with suppress(TimeoutError):
            await within(self._clock, _LEAVE_S, self.gone.wait())
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        with suppress(TimeoutError):
            await within(self._clock, _TERMINATE_S, self.gone.wait())
            return
        await self.kill()

    async def _introduce(self, configuration: Mapping[str, object]) -> Ready:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise LoadFailed("The worker has no standard streams.")
        with suppress(OSError):  # it may have died already; its log says why
            stdin.write(msgspec.json.encode(configuration) + b"\n")
            await stdin.drain()
        try:
            line = await stdout.readline()
            return _ready(line) if line else Ready(error="")
        except (ValueError, msgspec.DecodeError):
            return Ready(error="It introduced itself in an unknown way.")

    async def _listen(self) -> None:
        """Keep the log read, so that the worker never waits for us, and its end remembered."""
        stderr = self._process.stderr
        rest = b""
        while stderr is not None and (data := await stderr.read(4096)):
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[-_LONGEST_LINE:]
            for line in lines:
                self._note(line)
        self._note(rest)

    def _note(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").strip()
        if text:
            self._lines.append(self.clean(text)[:_LONGEST_LINE])

    async def _reap(self) -> None:
        try:
            await self._process.wait()
            # a grandchild could hold the log open for ever
            await asyncio.wait({self._listening}, timeout=_STDERR_S)
        finally:
            self._listening.cancel()
            if self._process.stdin is not None:
                self._process.stdin.close()
            self.gone.set()
