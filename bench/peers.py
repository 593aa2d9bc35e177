"""The gateways that are compared: each in an environment of its own, started as its users start it.

Every one has the same upstream and answers the same request; nothing is stored by the peers, while
the house keeps everything that it keeps in use.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import psutil
from bench.programs import ROOT, bare_house, environment, started, url_of

from arbiter.metering.process import kernel_cpu_ns

PEERS = ROOT / ".peers"
KEY = "sk-bench-0123456789abcdef"
_LONGEST_S = 120.0

LITELLM = """
model_list:
  - model_name: fake
    litellm_params: {{model: openai/fake, api_base: "{upstream}/v1", api_key: unused}}
litellm_settings: {{telemetry: false}}
"""

TENSORZERO = """
[gateway]
observability.enabled = false
[models.fake]
routing = ["fake"]
[models.fake.providers.fake]
type = "openai"
model_name = "fake"
api_base = "{upstream}/v1/"
api_key_location = "none"
"""

TENSORZERO_PROGRAM = """
import asyncio, json, os, sys
out = os.dup(1)
os.dup2(2, 1)  # its log is not what is read here
import tensorzero
async def main():
    started = tensorzero._start_http_gateway(
        config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None,
        async_setup=True,
    )
    gateway = await started
    os.write(out, json.dumps({"url": gateway.base_url}).encode() + b"\\n")
    await asyncio.Event().wait()
asyncio.run(main())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """One that runs. path, model: what to ask it for. start_s: until it first answered."""

    name: str
    process: psutil.Process
    port: int
    path: str
    model: str
    start_s: float
    key: str | None = None

    def cpu_ns(self) -> int:
        """CPU of the process and of those that it started."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(kernel_cpu_ns(one.pid) for one in family)

    def memory_mb(self) -> float:
        """What they hold in memory that is nobody else's."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(one.memory_full_info().uss for one in family) / 1e6


async def install() -> None:
    """Make the environments of the peers, once. Needs the package index."""
    for name, wanted in {"litellm": "litellm[proxy]", "tensorzero": "tensorzero"}.items():
        python = PEERS / name / "bin" / "python"
        if python.exists():
            continue
        print(f"installing {wanted} ...", file=sys.stderr)
        await _run(sys.executable, "-m", "venv", str(PEERS / name))
        await _run(str(python), "-m", "pip", "install", "--quiet", wanted)


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command)
    if await process.wait():
        raise RuntimeError(f"failed: {' '.join(command)}")


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as trying:
        trying.bind(("127.0.0.1", 0))
        return int(trying.getsockname()[1])


@asynccontextmanager
async def upstream() -> AsyncIterator[str]:
    """The fake upstream's URL."""
    async with started(sys.executable, "-m", "bench.upstream") as (_, said):
        yield str(json.loads(said)["url"])


@asynccontextmanager
async def arbiter(behind: str, folder: Path) -> AsyncIterator[Gateway]:
    """A house as `arbiter up` opens it, with the upstream registered."""
    begun = time.perf_counter()
    async with bare_house(folder / "data") as program:
        took = time.perf_counter() - begun
        body = {"path": f"{behind}#fake", "name": "fake", "calibrate": False}
        url = f"{url_of(program.where)}/control/v1/models"
        async with aiohttp.ClientSession() as session, session.post(url, json=body) as got:
            text = await got.text()
            if got.status != 200 or '"result"' not in text:
                raise RuntimeError(f"{got.status}: {text}")
        yield Gateway(
            name="arbiter",
            process=psutil.Process(program.pid),
            port=program.where.port,
            path="/v1/chat/completions",
            model="auto",
            start_s=took,
        )


@asynccontextmanager
async def litellm(behind: str, folder: Path) -> AsyncIterator[Gateway]:
    """LiteLLM's proxy with one worker and no database."""
    config, port = folder / "litellm.yaml", free_port()
    config.write_text(LITELLM.format(upstream=behind), encoding="utf-8")
    command = (str(PEERS / "litellm/bin/litellm"), "--config", str(config), "--port", str(port))
    more = {
        "LITELLM_MASTER_KEY": KEY,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
    }
    ready = f"http://127.0.0.1:{port}/health/liveliness"
    async with _listening((*command, "--host", "127.0.0.1"), more, ready) as (process, took):
        yield Gateway(
            name="litellm",
            process=process,
            port=port,
            path="/v1/chat/completions",
            model="fake",
            start_s=took,
            key=KEY,
        )


@asynccontextmanager
async def tensorzero(behind: str, folder: Path) -> AsyncIterator[Gateway]:
    """TensorZero's gateway from its wheel, with nothing stored."""
    config = folder / "tensorzero.toml"
    config.write_text(TENSORZERO.format(upstream=behind), encoding="utf-8")
    python = str(PEERS / "tensorzero/bin/python")
    begun = time.perf_counter()
    async with started(python, "-c", TENSORZERO_PROGRAM, str(config)) as (process, said):
        yield Gateway(
            name="tensorzero",
            process=psutil.Process(process.pid),
            port=urlsplit(json.loads(said)["url"]).port or 0,
            path="/openai/v1/chat/completions",
            model="tensorzero::model_name::fake",
            start_s=time.perf_counter() - begun,
        )


@asynccontextmanager
async def _listening(
    command: Sequence[str], more: dict[str, str], ready: str
) -> AsyncIterator[tuple[psutil.Process, float]]:
    """A process that answers at this address by now, and how long that took in seconds."""
    begun = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *command, stdout=DEVNULL, stderr=DEVNULL, env={**environment(), **more}
    )
    try:
        await _until_ready(process, ready)
        yield psutil.Process(process.pid), time.perf_counter() - begun
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _until_ready(process: Process, ready: str) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(_LONGEST_S):
        while process.returncode is None:
            with suppress(aiohttp.ClientError):
                async with session.get(ready) as got:
                    if got.status == 200:
                        return
            await asyncio.sleep(0.05)
    raise RuntimeError(f"it ended with {process.returncode} before it answered at {ready}")
