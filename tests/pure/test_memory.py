"""How much memory models may have now: what was given, what the machine can spare, and no more."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from arbiter.cost import HOST, Level
from arbiter.metering.control_group import tightest
from arbiter.metering.levels import SystemMemory
from arbiter.pool.memory import budget_now, headroom

GPU = "gpu0"


@dataclass(frozen=True, kw_only=True)
class Device:
    key: str
    memory_bytes: int | None
    memory_used_bytes: int | None
    unified: bool = False


@dataclass(frozen=True, kw_only=True)
class Held:
    memory_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Use:
    key: str
    processes: Mapping[int, Held] | None


@dataclass(frozen=True, kw_only=True)
class Devices:
    devices: Sequence[Device] = ()
    uses: Sequence[Use] = field(default_factory=tuple)

    def look(self) -> Sequence[Device]:
        return self.devices

    def use(self) -> Sequence[Use]:
        return self.uses


def test_what_was_given_is_a_bound_of_its_own() -> None:
    levels = {HOST: Level(total=1000, available=900)}
    assert budget_now({HOST: 300}, levels, {}, {}) == {HOST: 300}
    assert budget_now({}, levels, {}, {HOST: 50}) == {HOST: 850}


def test_what_models_hold_for_themselves_is_theirs_to_keep() -> None:
    levels = {HOST: Level(total=1000, available=100)}
    assert budget_now({}, levels, {HOST: 400}, {HOST: 50}) == {HOST: 450}


def test_nobody_has_more_than_there_is_or_less_than_nothing() -> None:
    assert budget_now({}, {HOST: Level(total=1000, available=900)}, {HOST: 400}, {HOST: 50}) == {
        HOST: 950
    }
    assert budget_now({}, {HOST: Level(total=1000, available=10)}, {}, {HOST: 50}) == {HOST: 0}


def test_every_memory_has_its_bound_and_one_that_nobody_reads_has_what_was_given() -> None:
    levels = {GPU: Level(total=1000, available=600)}
    assert budget_now({HOST: 300}, levels, {GPU: 100}, {GPU: 20}) == {HOST: 300, GPU: 680}
    assert budget_now({}, {}, {}, {}) == {}


def test_headroom_is_what_was_said_or_a_twentieth() -> None:
    assert headroom(Level(total=2000, available=0), None) == 100
    assert headroom(Level(total=2000, available=0), 7) == 7


@given(
    given_=st.integers(0, 100),
    total=st.integers(1, 200),
    share=st.floats(0, 1),
    private=st.integers(0, 100),
    left=st.integers(0, 100),
    more=st.integers(0, 50),
)
def test_more_memory_never_means_less_for_models(
    given_: int, total: int, share: float, private: int, left: int, more: int
) -> None:
    def now(available: int) -> int:
        level = Level(total=total + more, available=available)
        return budget_now({HOST: given_}, {HOST: level}, {HOST: private}, {HOST: left})[HOST]

    available = int(total * share)
    assert 0 <= now(available) <= now(available + more) <= given_


def test_the_machine_tells_of_its_own_memory() -> None:
    level = SystemMemory().levels()[HOST]
    assert 0 < level.available <= level.total
    assert SystemMemory().held(os.getpid()) == {}


def group(folder: Path, *, most: str, taken: int, files: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{most}\n", encoding="ascii")
    (folder / "memory.current").write_text(f"{taken}\n", encoding="ascii")
    stat = f"anon 5\ninactive_file {files}\nactive_file 0\nodd\n"
    (folder / "memory.stat").write_text(stat, encoding="ascii")


def told(folder: Path, own: str) -> Level | None:
    proc = folder / "proc" / "self"
    proc.mkdir(parents=True, exist_ok=True)
    (proc / "cgroup").write_text(f"0::{own}\n", encoding="utf-8")
    return tightest(folder / "proc", folder / "groups")


def test_a_control_group_leaves_what_it_says_less_what_cannot_be_given_up(tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    assert tightest(tmp_path / "nowhere", groups) is None
    assert told(tmp_path, "/") is None
    group(groups, most="max", taken=900, files=0)
    assert told(tmp_path, "/") is None
    group(groups / "pod" / "box", most="1000", taken=700, files=200)
    assert told(tmp_path, "/pod/box") == Level(total=1000, available=500)
    group(groups / "pod", most="600", taken=400, files=100)
    assert told(tmp_path, "/pod/box") == Level(total=600, available=300)
    assert told(tmp_path, "/../elsewhere") is None


def test_in_a_container_the_machine_is_as_large_as_its_group() -> None:
    level = SystemMemory(group=lambda: Level(total=1000, available=400)).levels()[HOST]
    assert level == Level(total=1000, available=400)
    whole = SystemMemory(group=lambda: Level(total=2**62, available=1)).levels()[HOST]
    assert whole.available > 1


async def test_a_device_with_memory_of_its_own_is_a_memory_and_others_are_none() -> None:
    pid = 77
    reader = SystemMemory(
        (
            Devices(
                devices=(
                    Device(key=GPU, memory_bytes=1000, memory_used_bytes=300),
                    Device(key="mute", memory_bytes=1000, memory_used_bytes=None),
                    Device(key="shared", memory_bytes=1000, memory_used_bytes=0, unified=True),
                ),
                uses=(
                    Use(key=GPU, processes={pid: Held(memory_bytes=200)}),
                    Use(key="mute", processes=None),
                    Use(key="shared", processes={pid: Held(memory_bytes=5)}),
                ),
            ),
        )
    )
    assert reader.levels().keys() == {HOST}  # nothing was read yet
    await reader.refresh()
    levels = reader.levels()
    assert levels.keys() == {HOST, GPU}
    assert levels[GPU] == Level(total=1000, available=700)
    assert reader.held(pid) == {GPU: 200}
    assert reader.held(1) == {}


class Slow:
    """Devices whose driver answers when it is let; used: of a thousand."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.let.set()
        self.looks = 0
        self.used = 300
        self.threads: set[int] = set()

    def look(self) -> Sequence[Device]:
        self.looks += 1
        self.threads.add(threading.get_ident())
        self.let.wait(10.0)
        if self.used < 0:
            raise RuntimeError("the driver is gone")
        return [Device(key=GPU, memory_bytes=1000, memory_used_bytes=self.used)]

    def use(self) -> Sequence[Use]:
        return []


async def test_devices_are_never_read_where_requests_are_served() -> None:
    slow = Slow()
    reader = SystemMemory((slow,))
    await reader.refresh()
    assert reader.levels()[GPU].available == 700
    assert reader.levels()[GPU].available == 700
    assert slow.looks == 1
    assert threading.get_ident() not in slow.threads


async def test_a_driver_that_does_not_answer_holds_up_nobody_for_long() -> None:
    slow = Slow()
    reader = SystemMemory((slow,), limit_s=0.01)
    while GPU not in reader.levels():
        await reader.refresh()
    before = slow.looks
    slow.used = 900
    slow.let.clear()
    await asyncio.gather(reader.refresh(), reader.refresh())
    assert reader.levels()[GPU].available == 700  # what it said last
    assert slow.looks == before + 1  # and nobody asks it again meanwhile
    slow.let.set()
    while reader.levels()[GPU].available == 700:
        await reader.refresh()
    assert reader.levels()[GPU].available == 100


async def test_a_reader_that_breaks_leaves_what_was_said_last() -> None:
    slow = Slow()
    reader = SystemMemory((slow,))
    await reader.refresh()
    slow.used = -1
    await reader.refresh()
    assert reader.levels()[GPU].available == 700


async def test_without_devices_nothing_is_read() -> None:
    reader = SystemMemory((Devices(),))
    await reader.refresh()
    await reader.refresh()
    assert reader.levels().keys() == {HOST}
    assert reader.held(1) == {}
