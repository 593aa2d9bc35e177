"""Memory of process trees: what is private adds up, and a mapped file counts once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from arbiter.metering.memory import held, mapped
from arbiter.metering.process import ProcessReader

SMAPS = """\
7f0000000000-7f0000100000 r--p 00000000 08:01 {inode} {path}
Size:               1024 kB
Rss:                {rss} kB
Pss:                {pss} kB
VmFlags: rd mr
7f0000100000-7f0000200000 r--p 00100000 08:01 {inode} {path}
Rss:                  24 kB
Pss:                  12 kB
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0 [stack]
Rss:                 100 kB
Pss:                 100 kB
"""


def process(proc: Path, pid: int, *, private_kb: int, mapped_kb: int) -> None:
    (proc / str(pid)).mkdir(parents=True)
    text = f"Name:\tx\nRssAnon:\t{private_kb} kB\nRssFile:\t{mapped_kb} kB\n"
    (proc / str(pid) / "status").write_text(text, encoding="ascii")


def maps(proc: Path, pid: int, *, inode: int, rss: int, pss: int, path: str = "/m.gguf") -> None:
    (proc / str(pid)).mkdir(parents=True, exist_ok=True)
    text = SMAPS.format(inode=inode, path=path, rss=rss, pss=pss)
    (proc / str(pid) / "smaps").write_text(text, encoding="ascii")


def test_private_memory_of_a_tree_adds_up_and_its_mapped_files_count_once(tmp_path: Path) -> None:
    process(tmp_path, 1, private_kb=10, mapped_kb=500)
    process(tmp_path, 2, private_kb=20, mapped_kb=480)
    found = held((1, 2), ProcessReader(proc=tmp_path))
    assert (found.private_bytes, found.files_bytes) == (30 * 1024, 500 * 1024)
    assert found.total_bytes == 530 * 1024


def test_a_child_that_has_just_ended_is_left_out(tmp_path: Path) -> None:
    process(tmp_path, 1, private_kb=10, mapped_kb=500)
    assert held((1, 2), ProcessReader(proc=tmp_path)).total_bytes == 510 * 1024


def test_a_tree_without_its_root_is_unknown_with_a_reason(tmp_path: Path) -> None:
    process(tmp_path, 2, private_kb=10, mapped_kb=500)
    found = held((1, 2), ProcessReader(proc=tmp_path))
    assert (found.total_bytes, found.reason) == (None, "process 1: No such file or directory")
    assert held((), ProcessReader(proc=tmp_path)).total_bytes is None


def test_a_file_that_two_processes_map_counts_once(tmp_path: Path) -> None:
    maps(tmp_path, 1, inode=5, rss=1000, pss=500)
    maps(tmp_path, 2, inode=5, rss=1000, pss=500)
    (one,) = mapped((1, 2, 3), proc=tmp_path).values()
    assert (one.path, one.resident_bytes) == ("/m.gguf", 1024 * 1024)
    assert one.once_bytes == 1024 * 1024


def test_a_file_that_somebody_else_maps_too_counts_as_its_largest_resident_set(
    tmp_path: Path,
) -> None:
    maps(tmp_path, 1, inode=5, rss=1000, pss=250)
    (one,) = mapped((1,), proc=tmp_path).values()
    assert one.once_bytes == 1024 * 1024


def test_a_file_that_was_replaced_under_its_name_is_another_one(tmp_path: Path) -> None:
    maps(tmp_path, 1, inode=5, rss=1000, pss=1000, path="/m.gguf (deleted)")
    maps(tmp_path, 2, inode=6, rss=1000, pss=1000)
    assert sorted(mapped((1, 2), proc=tmp_path)) == [("08:01", 5), ("08:01", 6)]


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs /proc/PID/smaps")
def test_this_process_maps_files() -> None:
    assert any(".so" in one.path for one in mapped([os.getpid()]).values())
