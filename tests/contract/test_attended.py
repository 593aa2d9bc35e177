"""Whom the meter attends: a process with all that belong to it, a server here, and nobody."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.contract.metered import meter_of

from arbiter.clock import ManualClock
from arbiter.cost import (
    Footprint,
    Method,
)
from arbiter.hardware.found import Hardware
from arbiter.metering.crowd import NO_PROCESS, OF_ALL, Crowd, Nobody
from arbiter.metering.listening import listener_of
from arbiter.metering.meter import Meter
from arbiter.metering.process import ProcessReader
from arbiter.metering.tree import PortableTree, Table
from arbiter.studies.check_energy import ScriptedTree


async def test_an_engine_without_a_process_costs_nothing_that_is_known(
    clock: ManualClock, proc: Path
) -> None:
    crowd = await meter_of(clock, proc).attend(None)
    ticket = crowd.begin()
    assert crowd.end(ticket).note == NO_PROCESS
    assert ticket.cost is not None
    assert ticket.cost.is_exclusive is None


async def test_another_machines_server_gives_what_it_says_and_nothing_else(
    clock: ManualClock, proc: Path
) -> None:
    said = Footprint(
        anonymous_bytes=None, weights_bytes=None, method=Method.ENGINE, reported_bytes=77
    )
    crowd = await meter_of(clock, proc).attend(None, url="http://10.0.0.7:11434", reported=said)
    assert isinstance(crowd, Nobody)
    ticket = crowd.begin()
    assert crowd.end(ticket).note == "it is another machine's"
    assert ticket.cost is not None
    assert (ticket.cost.peak_bytes.value, ticket.cost.peak_bytes.method) == (77.0, Method.ENGINE)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs /proc")
async def test_a_server_of_this_machine_is_counted_by_who_listens() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    meter = Meter(Hardware(), clock=ManualClock(), reader=ProcessReader())
    async with server:
        url = f"http://127.0.0.1:{port}"
        one = await meter.attend(None, url=url)
        other = await meter.attend(None, url=url)
    assert isinstance(one, Crowd)
    assert one is other
    assert one.tree.pid == os.getpid()
    ticket = one.begin()
    share = one.end(ticket)
    assert (share.method, share.note) == (Method.SHARED, OF_ALL)
    assert "nobody" in (listener_of(url).reason or "")


def test_what_forwards_to_a_container_is_not_who_does_the_work(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    row = "0: 0100007F:2CAA 00000000:0000 0A 0:0 0:0 0 0 0 4711 1 0"
    (tmp_path / "net" / "tcp").write_text(f"head\n{row}\n", encoding="ascii")
    folder = tmp_path / "50"
    (folder / "fd").mkdir(parents=True)
    (folder / "comm").write_text("docker-proxy\n", encoding="ascii")
    (folder / "fd" / "3").symlink_to("socket:[4711]")
    found = listener_of("http://localhost:11434", proc=tmp_path)
    assert found.reason == "docker-proxy forwards port 11434 to a container"


def test_a_server_of_another_user_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    row = "0: 0100007F:2CAA 00000000:0000 0A 0:0 0:0 0 0 0 4711 1 0"
    (tmp_path / "net" / "tcp").write_text(f"head\n{row}\n", encoding="ascii")
    assert "another user" in (listener_of("http://[::1]:11434", proc=tmp_path).reason or "")


def test_a_process_that_nobody_is_served_by_any_more_is_forgotten(
    clock: ManualClock, proc: Path
) -> None:
    meter = meter_of(clock, proc)
    tree = ScriptedTree(used_s=clock.monotonic)
    crowd = meter.crowd_of(tree)
    assert meter.crowd_of(tree) is crowd  # two models at one server
    meter.leave(crowd)
    assert meter.crowd_of(tree) is crowd
    meter.leave(crowd)
    meter.leave(crowd)
    assert meter.crowd_of(tree) is not crowd


def test_where_there_is_no_proc_psutil_tells_who_belongs_to_a_process() -> None:
    reader = ProcessReader()
    tree = PortableTree(os.getpid(), read_cpu=reader.cpu_ns)
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    ) as child:
        tree.look(Table(()))
        assert child.pid in tree.pids
        assert (tree.cpu_ns() or 0) > (reader.cpu_ns(child.pid) or 0)
        child.communicate(b"")
    gone = PortableTree(child.pid, read_cpu=reader.cpu_ns)
    gone.look(Table(()))
    assert gone.cpu_ns() is None
