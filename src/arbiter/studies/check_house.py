"""V11 and V14: what metering itself costs, and a whole house against its workers' account."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Final

import psutil

from arbiter.app import open_house
from arbiter.clock import Clock
from arbiter.config import Settings, load_settings
from arbiter.hardware.found import find_hardware
from arbiter.hardware.reading import text_in
from arbiter.house import House
from arbiter.inference import Sampling
from arbiter.metering.meter import SAMPLE_S, Meter
from arbiter.metering.process import ProcessReader
from arbiter.studies.checks import Check, judged, not_verified, off_pct

MODELS: Final = ("sparrow", "owl", "parrot")
_PROMPTS: Final = (
    "Sentiment: the soup felt wonderful",
    "Topic: the goalkeeper saved the penalty in the last minute",
    "17 + 25 =",
    "Reverse: lantern",
    "Extract: Mara, 34, lives in Turin",
    "Write a function that adds two numbers and gives the result",
)
_ENDS: Final = 2_000


async def check_v11(clock: Clock, *, processes: int = 8, samples: int = 60) -> Check:
    """CPU of ten samples a second over so many processes, and of a request's two readings."""
    title = "What sampling costs, of one core"
    async with AsyncExitStack() as stack:
        meter = Meter(find_hardware(), clock=clock, reader=ProcessReader())
        crowds = []
        for _ in range(processes):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()",
                stdin=PIPE, stdout=DEVNULL,
            )  # fmt: skip
            stack.push_async_callback(process.communicate, b"")
            crowds.append(await meter.attend(process.pid))
        tickets = [crowd.begin() for crowd in crowds]
        await meter.sample()
        began, at = time.process_time(), clock.monotonic()
        for _ in range(samples):
            await clock.sleep(SAMPLE_S)
            await meter.sample()
        share = (time.process_time() - began) / (clock.monotonic() - at)
        for crowd, ticket in zip(crowds, tickets, strict=True):
            crowd.end(ticket)
        own = await meter.attend(os.getpid())
        began = time.process_time()
        for _ in range(_ENDS):
            own.end(own.begin())
        edges_us = (time.process_time() - began) / _ENDS * 1e6
    return judged(
        "V11",
        title,
        error_pct=100.0 * share,
        limit_pct=1.0,
        why=f"{processes} processes, 10 times a second; a request itself pays {edges_us:.1f} us",
    )


async def check_real(clock: Clock, *, requests: int = 200, at_once: int = 6) -> Check:
    """Requests of all kinds beside one another, on models that ship and the real llama.cpp."""
    title = "Real models: the sum of receipts against the workers' own account"
    if not _has_llama():
        why = 'llama.cpp is not installed: pip install "arbiter-house[llama]"'
        return not_verified("V14", title, limit_pct=5.0, why=why)
    with tempfile.TemporaryDirectory(prefix="arbiter-check-") as folder:
        async with open_house(_settings(Path(folder)), clock=clock) as house:
            return await _burst(house, title, requests=requests, at_once=at_once)


def _has_llama() -> bool:
    from importlib.util import find_spec  # noqa: PLC0415

    return find_spec("xllamacpp") is not None


def _settings(folder: Path) -> Settings:
    quiet = {"door.port": 0, "discovery.enabled": False, "calibration.enabled": False}
    return load_settings(environment={}, overrides={"data_dir": folder, **quiet})


async def _burst(house: House, title: str, *, requests: int, at_once: int) -> Check:
    shipped = Path(__file__).parents[1] / "demo" / "models"
    for name in MODELS:
        await house.add(shipped / f"{name}.gguf", name)
        await house.ask("warm up", model=name, sampling=Sampling(max_tokens=2))
    workers = [view.pid for view in house.pool.views() if view.pid is not None]
    before = [_used_s(pid) for pid in workers]
    dice = Random(14)  # noqa: S311  # which prompt goes where
    asked = [
        (f"{dice.choice(_PROMPTS)} {dice.randint(0, 999)}", MODELS[n % len(MODELS)])
        for n in range(requests)
    ]
    room = asyncio.Semaphore(at_once)
    decisions = await asyncio.gather(
        *(_ask(house, room, dice, prompt=prompt, model=model) for prompt, model in asked)
    )
    after = [_used_s(pid) for pid in workers]
    truth = sum(after) - sum(before)
    receipts = [await house.receipt(decision) for decision in decisions]
    seen = [one.cpu_ms.value for one in receipts if one.cpu_ms.value is not None]
    shared = sum(one.is_exclusive is False for one in receipts)
    if len(seen) < requests:
        why = f"{requests - len(seen)} receipts have no CPU time"
        return judged("V14", title, error_pct=100.0, limit_pct=5.0, why=why)
    return judged(
        "V14",
        title,
        error_pct=off_pct(sum(seen) / 1e3, truth),
        limit_pct=5.0,
        why=f"{requests} requests at {len(MODELS)} models, {shared} beside others: "
        f"{sum(seen) / 1e3:.3f} s on receipts, {truth:.3f} s by the workers' account",
    )


async def _ask(
    house: House, room: asyncio.Semaphore, dice: Random, *, prompt: str, model: str
) -> str:
    sampling = Sampling(max_tokens=dice.choice((8, 24, 48)))
    async with room:
        if dice.random() < 0.5:
            answered = await house.ask(prompt, model=model, sampling=sampling)
            return answered.reply.decided.decision
        async with house.stream(prompt, model=model, sampling=sampling) as reply:
            async for _ in reply.chunks():
                pass
        return reply.decided.decision


def _used_s(pid: int) -> float:
    """As the scheduler accounts it, thread by thread, and not by the clock that the meter reads.

    Where there is no such account it is the system's, in ticks of 10 ms.
    """
    told = [_run_ns(task) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    if any(told):
        return sum(told) / 1e9
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system


def _run_ns(task: Path) -> int:
    return int((text_in(task) or "0").split()[0])
