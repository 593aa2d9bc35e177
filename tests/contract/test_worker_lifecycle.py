"""Real child processes: how they are kept private, how they fail, and that they always go."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest
from tests.contract.engines_support import (
    ENDLESS,
    HAS_LLAMA,
    LLAMA,
    LLAMA_TCP,
    PROMPTS,
    STAND_IN,
    STAND_IN_TCP,
    WorkerKind,
    answer,
    asking,
    begun,
    demo_model,
    exhaust,
    load_spec,
    loaded,
    loaded_stand_in,
)

from arbiter.clock import ManualClock, SystemClock
from arbiter.engines.base import EngineContext, Runner
from arbiter.engines.llama_cpp import LlamaCppEngine, Patience
from arbiter.engines.worker import worker_environment
from arbiter.errors import (
    ArbiterError,
    EngineRefused,
    EngineTimeout,
    InstanceLost,
    LoadFailed,
    StreamCut,
)
from arbiter.inference import Finish, Sampling, Timings, Usage
from arbiter.metering.process import ProcessReader

needs_llama = pytest.mark.skipif(not HAS_LLAMA, reason="llama.cpp is not installed")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
over_workers = pytest.mark.parametrize(
    "kind", [STAND_IN, pytest.param(LLAMA, marks=needs_llama)], ids=lambda kind: kind.name
)
over_workers_and_sockets = pytest.mark.parametrize(
    "kind",
    [
        STAND_IN,
        STAND_IN_TCP,
        pytest.param(LLAMA, marks=needs_llama),
        pytest.param(LLAMA_TCP, marks=needs_llama),
    ],
    ids=lambda kind: kind.name,
)

PARENT = """
import asyncio, sys
from pathlib import Path
from arbiter.clock import SystemClock
from tests.contract.engines_support import LLAMA, STAND_IN, load_spec

async def main(kind, folder):
    runner = await kind.engine(SystemClock(), folder / "run").load(load_spec(kind.model(folder)))
    print(runner.pid, flush=True)
    await runner.wait_lost()

asyncio.run(main({"llama_cpp": LLAMA, "stand-in": STAND_IN}[sys.argv[1]], Path(sys.argv[2])))
"""
SILENT = "tokenize"
"""A module of Python's own that reads standard input to its end before it says a word."""


class WatchedClock(ManualClock):
    """A manual clock that tells when somebody sleeps by it."""

    def __init__(self) -> None:
        super().__init__()
        self.slept = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.slept.set()
        await super().sleep(seconds)

    async def hurry(self, task: asyncio.Task[None]) -> None:
        """Hours pass, for whoever sleeps, until this is done."""
        while not task.done():
            sleeping = asyncio.create_task(self.slept.wait())
            await asyncio.wait({task, sleeping}, return_when=asyncio.FIRST_COMPLETED)
            sleeping.cancel()
            self.slept.clear()
            self.jump(10_000)


class HastyClock(ManualClock):
    """A manual clock on which every sleep is over at once."""

    async def sleep(self, seconds: float) -> None:
        self.jump(seconds)


@pytest.fixture
async def stand_in(tmp_path: Path) -> AsyncIterator[Runner]:
    async with loaded_stand_in(tmp_path) as runner:
        yield runner


@pytest.fixture
async def worker(kind: WorkerKind, tmp_path: Path) -> AsyncIterator[Runner]:
    engine = kind.engine(SystemClock(), tmp_path / "run")
    async with loaded(engine, load_spec(kind.model(tmp_path))) as runner:
        yield runner


def proc(runner: Runner, name: str) -> bytes:
    return (Path("/proc") / str(runner.pid) / name).read_bytes()


def addresses(runner: Runner, folder: Path) -> list[str]:
    """Where a worker listens: its sockets' files, or its ports."""
    files = [str(path) for path in (folder / "run").glob("*/*.sock")]
    connections = psutil.Process(runner.pid).net_connections("tcp")
    ports = [c.laddr for c in connections if c.status == psutil.CONN_LISTEN]
    assert all(address.ip == "127.0.0.1" for address in ports)
    return files + [str(address.port) for address in ports]


def leftovers(folder: Path) -> list[Path]:
    return list(folder.glob("run/*"))


async def ask_directly(address: str, headers: str) -> int:
    body = b'{"messages":[{"role":"user","content":"hello"}],"max_tokens":1}'
    if address.isdigit():
        reader, writer = await asyncio.open_connection("127.0.0.1", int(address))
    else:
        reader, writer = await asyncio.open_unix_connection(address)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n{headers}"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return int(line.split()[1])


@pytest.mark.security("S-06")
@over_workers_and_sockets
async def test_without_the_key_a_worker_answers_nobody(
    kind: WorkerKind, worker: Runner, tmp_path: Path
) -> None:
    del kind
    [address] = addresses(worker, tmp_path)
    for headers in (
        "",
        "Authorization: Bearer wrong\r\n",
        "Authorization: Bearer \r\n",
        "Authorization: Basic Og==\r\n",
    ):
        assert await ask_directly(address, headers) == 401


@pytest.mark.security("S-06", "S-26")
@linux_only
@over_workers
async def test_the_key_is_in_no_argument_and_no_environment(
    kind: WorkerKind, worker: Runner
) -> None:
    del kind
    _ = await answer(worker, asking(PROMPTS[0]))
    arguments = proc(worker, "cmdline").rstrip(b"\0").split(b"\0")
    assert arguments[1:] == [b"-P", b"-m", arguments[-1]]
    assert b"KEY" not in proc(worker, "environ").upper()


@pytest.mark.security("S-06", "S-17", "S-36")
@linux_only
@over_workers
async def test_a_worker_is_private_expendable_and_leaves_no_core(
    kind: WorkerKind, worker: Runner, tmp_path: Path
) -> None:
    del kind
    assert worker.pid is not None
    assert os.getsid(worker.pid) == worker.pid != os.getsid(0)
    assert int(proc(worker, "oom_score_adj")) == 500
    assert [b"0", b"0"] in [line.split()[4:6] for line in proc(worker, "limits").splitlines()]
    [folder] = (tmp_path / "run").iterdir()
    [file] = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0


@over_workers_and_sockets
async def test_an_unload_leaves_no_process_no_descriptor_and_no_file(
    kind: WorkerKind, tmp_path: Path
) -> None:
    engine = kind.engine(SystemClock(), tmp_path / "run")
    me = psutil.Process()
    open_after = []
    for _ in range(3):
        async with loaded(engine, load_spec(kind.model(tmp_path))) as runner:
            await answer(runner, asking(PROMPTS[0]))
            await answer(runner, asking(PROMPTS[0], stream=False))
        assert not me.children()
        assert not leftovers(tmp_path)
        open_after.append(me.num_fds())
    # the first turn opens what the loop keeps
    assert open_after[2] <= open_after[0]


@linux_only
@over_workers
def test_a_worker_goes_when_its_parent_is_killed(kind: WorkerKind, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, kind.name, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        watch = os.pidfd_open(worker)
        try:
            assert not select.select([watch], [], [], 0)[0]
            parent.kill()
            assert select.select([watch], [], [], 30)[0], "the worker outlived its parent"
        finally:
            os.close(watch)
    assert not list(tmp_path.glob("run/*/*"))


@over_workers
async def test_a_worker_that_will_not_leave_is_killed(kind: WorkerKind, tmp_path: Path) -> None:
    clock = WatchedClock()
    runner = await kind.engine(clock, tmp_path / "run").load(load_spec(kind.model(tmp_path)))
    assert runner.pid is not None
    os.kill(runner.pid, signal.SIGSTOP)
    unloading = asyncio.create_task(runner.unload())
    for seconds in (5, 3):
        clock.slept.clear()
        await clock.slept.wait()
        clock.jump(seconds)
    await unloading
    assert not psutil.pid_exists(runner.pid)
    assert not leftovers(tmp_path)


@needs_llama
@linux_only
async def test_llama_cpp_stops_computing_when_an_answer_is_left(tmp_path: Path) -> None:
    reader = ProcessReader()
    spec = load_spec(LLAMA.endless_model(tmp_path), slots=1, context=4096)
    one = Sampling(temperature=0.0, max_tokens=1)
    async with loaded(LLAMA.engine(SystemClock(), tmp_path / "run"), spec) as runner:
        assert runner.pid is not None
        start = reader.cpu_ns(runner.pid) or 0
        async with begun(runner, asking(ENDLESS)):
            pass
        await answer(runner, asking(ENDLESS, sampling=one))
        left = (reader.cpu_ns(runner.pid) or 0) - start
        _, finish = await answer(runner, asking(ENDLESS))
        whole = (reader.cpu_ns(runner.pid) or 0) - start - left
    assert (finish.usage.completion_tokens or 0) > 4000
    assert left < whole / 4


@needs_llama
async def test_each_slot_has_the_whole_context_that_was_asked_for(tmp_path: Path) -> None:
    spec = load_spec(LLAMA.endless_model(tmp_path), slots=3, context=512)
    async with loaded(LLAMA.engine(SystemClock(), tmp_path / "run"), spec) as runner:
        for _, finish in await asyncio.gather(*(answer(runner, asking(p)) for p in PROMPTS[:3])):
            usage = finish.usage
            assert (usage.prompt_tokens or 0) + (usage.completion_tokens or 0) in range(510, 514)


@needs_llama
async def test_a_repeated_prompt_is_cached_unless_the_option_says_no(tmp_path: Path) -> None:
    engine = LLAMA.engine(SystemClock(), tmp_path / "run")
    cached = {}
    for choice in ("true", "false"):
        spec = load_spec(demo_model(), slots=1, options={"cache_prompt": choice})
        async with loaded(engine, spec) as runner:
            await answer(runner, asking(PROMPTS[1]))
            _, finish = await answer(runner, asking(PROMPTS[1]))
            cached[choice] = finish.usage.cached_tokens
    assert cached["true"]
    assert cached["false"] == 0


@pytest.mark.parametrize(
    ("order", "error"),
    [
        ("!refuse", EngineRefused),
        ("!break", EngineRefused),
        ("!break 2", StreamCut),
        ("!cut", InstanceLost),
        ("!cut 2", StreamCut),
        ("!die", InstanceLost),
        ("!die 2", StreamCut),
    ],
)
async def test_a_failure_before_the_first_word_can_be_tried_again_and_one_after_cannot(
    stand_in: Runner, order: str, error: type[ArbiterError]
) -> None:
    with pytest.raises(error) as failed:
        await exhaust(stand_in.generate(asking(order)))
    assert failed.value.retryable is (error is InstanceLost)


async def test_a_worker_that_breaks_the_connection_is_lost_for_whoever_watches_it(
    stand_in: Runner,
) -> None:
    watching = asyncio.create_task(stand_in.wait_lost())
    with pytest.raises(InstanceLost):
        await answer(stand_in, asking("!cut"))
    assert "SIGKILL" in await watching


async def test_a_refusal_tells_what_the_engine_said(stand_in: Runner) -> None:
    for stream in (True, False):
        with pytest.raises(EngineRefused, match="refused, as told"):
            await answer(stand_in, asking("!refuse", stream=stream))


@pytest.mark.parametrize(("order", "error"), [("!stall", EngineTimeout), ("!stall 2", StreamCut)])
async def test_silence_has_a_bound(tmp_path: Path, order: str, error: type[ArbiterError]) -> None:
    clock = WatchedClock()
    async with loaded_stand_in(tmp_path, clock=clock) as runner:
        async with aclosing(runner.generate(asking(order))) as chunks:
            if error is StreamCut:
                await anext(chunks)
            waiting = asyncio.create_task(exhaust(chunks))
            await clock.hurry(waiting)
            with pytest.raises(error):
                await waiting
        assert (await answer(runner, asking("still here")))[0] == "still here"


async def test_impossible_numbers_are_unknown_and_cost_nothing_else(stand_in: Runner) -> None:
    for stream in (True, False):
        text, finish = await answer(stand_in, asking("!absurd but said", stream=stream))
        assert text == "but said"
        assert finish == Finish(reason=finish.reason, usage=Usage(), timings=Timings())


async def test_an_answer_cut_anywhere_is_put_together_again(stand_in: Runner) -> None:
    said = 'Grüße, 世界 🙂 "quoted" \\n done'
    assert (await answer(stand_in, asking(f"!slices {said}")))[0] == said


async def test_a_folder_too_deep_for_a_socket_is_no_obstacle(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    async with loaded(STAND_IN.engine(SystemClock(), deep), load_spec(demo_model())) as runner:
        assert (await answer(runner, asking("a b")))[0] == "a b"


async def test_a_load_that_takes_too_long_fails_and_leaves_no_process(tmp_path: Path) -> None:
    engine = LlamaCppEngine(
        EngineContext(clock=HastyClock(), run_dir=tmp_path / "run"),
        worker=SILENT,
        patience=Patience(load_s=5),
    )
    with pytest.raises(LoadFailed, match="not ready within 5 s"):
        await engine.load(load_spec(demo_model()))
    assert not psutil.Process().children()
    assert not leftovers(tmp_path)


async def test_a_load_that_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    clock = WatchedClock()
    engine = LlamaCppEngine(EngineContext(clock=clock, run_dir=tmp_path / "run"), worker=SILENT)
    loading = asyncio.create_task(engine.load(load_spec(demo_model())))
    await clock.slept.wait()
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert not psutil.Process().children()
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("module", ["zipfile", "this", "no_such_module"])
async def test_what_is_no_worker_fails_the_load(tmp_path: Path, module: str) -> None:
    engine = LlamaCppEngine(EngineContext(clock=SystemClock(), run_dir=tmp_path), worker=module)
    with pytest.raises(LoadFailed):
        await engine.load(load_spec(demo_model()))


@pytest.mark.parametrize(
    "options", [{"gpu_layers": "many"}, {"cache_prompt": "yes"}, {"rpc": "10.0.0.1:50052"}]
)
async def test_an_option_that_is_not_known_fails_the_load(
    tmp_path: Path, options: dict[str, str]
) -> None:
    engine = STAND_IN.engine(SystemClock(), tmp_path)
    with pytest.raises(LoadFailed, match=next(iter(options))):
        await engine.load(load_spec(demo_model(), options=options))


@over_workers
def test_a_worker_that_is_told_nonsense_says_so_and_never_repeats_it(kind: WorkerKind) -> None:
    for line in (b"", b"not json\n", b'{"key": "secret"}\n', b'["secret"]\n'):
        done = subprocess.run(
            [sys.executable, "-P", "-m", kind.module],
            input=line,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 1
        assert "error" in json.loads(done.stdout)
        assert b"secret" not in done.stdout + done.stderr


def test_only_what_a_worker_needs_of_the_environment_reaches_it() -> None:
    given = {"PATH": "/bin", "HF_TOKEN": "t", "LLAMA_API_KEY": "k", "CUDA_VISIBLE_DEVICES": "0"}
    assert worker_environment(given) == {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "0"}


def test_without_the_package_the_engine_says_how_to_get_it(tmp_path: Path) -> None:
    context = EngineContext(clock=SystemClock(), run_dir=tmp_path)
    availability = LlamaCppEngine(context).availability()
    assert availability.available is HAS_LLAMA
    assert HAS_LLAMA or "arbiter-house[llama]" in availability.reason


async def test_a_relative_run_folder_deep_down_does_not_make_its_socket_path_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A relative path looked short enough and was not, once the worker had made it absolute.
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    monkeypatch.chdir(deep)
    engine = LlamaCppEngine(EngineContext(clock=SystemClock(), run_dir=Path("run")))
    runner = await engine.load(load_spec(demo_model()))
    assert await runner.is_healthy()
    await runner.unload()
