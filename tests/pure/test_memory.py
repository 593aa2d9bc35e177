"""How much memory models may have now: what was given, what the machine can spare, and no more."""

from __future__ import annotations

import os
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


def test_a_device_with_memory_of_its_own_is_a_memory_and_others_are_none() -> None:
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
    levels = reader.levels()
    assert levels.keys() == {HOST, GPU}
    assert levels[GPU] == Level(total=1000, available=700)
    assert reader.held(pid) == {GPU: 200}
    assert reader.held(1) == {}
