"""Reading real processes, and process file systems that say odd things."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from arbiter.cost import Method
from arbiter.metering.process import ProcessReader, portable_cpu_ns

BURN = """
import sys, threading, time
def burn():
    end = time.thread_time() + 0.3
    while time.thread_time() < end: pass
burn()
thread = threading.Thread(target=burn)
thread.start(); thread.join()
print("burnt", flush=True)
sys.stdin.read()
"""

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def fake_status(proc: Path, pid: int, text: str) -> ProcessReader:
    (proc / str(pid)).mkdir(parents=True)
    (proc / str(pid) / "status").write_text(text, encoding="utf-8")
    return ProcessReader(proc=proc)


def test_cpu_time_agrees_with_the_kernels_own_account_within_5_percent() -> None:
    reader = ProcessReader()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen(
        [sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"burnt\n"
        seen = reader.cpu_ns(child.pid)
        portable = portable_cpu_ns(child.pid)
        child.communicate(b"")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    truth = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e9
    assert seen is not None
    # the interpreter's own exit comes after the reading, and is a few milliseconds of 600
    assert seen == pytest.approx(truth, rel=0.05)
    assert portable == pytest.approx(truth, rel=0.08)


def test_a_process_that_is_gone_has_no_cpu_time_and_says_why() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    reading = ProcessReader().cpu(child.pid)
    assert reading.nanoseconds is None
    assert reading.reason is not None
    assert str(child.pid) in reading.reason
    with pytest.raises(OSError, match=str(child.pid)):
        portable_cpu_ns(child.pid)


@pytest.mark.parametrize("pid", [0, -1])
def test_what_is_no_process_id_is_never_read(pid: int) -> None:
    assert ProcessReader().cpu_ns(pid) is None


def test_the_cpu_clock_can_be_handed_in() -> None:
    assert ProcessReader(read_cpu=lambda pid: pid * 1000).cpu_ns(7) == 7000


@linux_only
def test_the_memory_of_a_real_process_is_measured() -> None:
    footprint = ProcessReader().footprint(os.getpid())
    assert footprint.method is Method.MEASURED
    assert footprint.anonymous_bytes is not None
    assert footprint.weights_bytes is not None
    assert footprint.total_bytes is not None
    assert footprint.total_bytes > 5_000_000


def test_private_memory_counts_what_was_swapped_out(tmp_path: Path) -> None:
    reader = fake_status(
        tmp_path, 7, "Name:\tx\nRssAnon:\t  10 kB\nRssFile:\t 300 kB\nVmSwap:\t  5 kB\n"
    )
    footprint = reader.footprint(7)
    assert footprint.anonymous_bytes == 15 * 1024
    assert footprint.weights_bytes == 300 * 1024
    assert footprint.total_bytes == 315 * 1024


@pytest.mark.parametrize(
    "text",
    [
        "Name:\tzombie\nState:\tZ (zombie)\n",
        "RssAnon:\t-3 kB\nRssFile:\tmany kB\n",
        "RssAnon:\t10\nRssFile:\t10 MB\n",
        "RssAnon\nRssFile\n",
        "\x00\xff",
        "",
    ],
)
def test_an_odd_status_file_is_unknown_with_a_reason(tmp_path: Path, text: str) -> None:
    reading = fake_status(tmp_path, 7, text).memory(7)
    assert reading.footprint.total_bytes is None
    assert reading.footprint.method is Method.UNKNOWN
    assert reading.reason is not None
    assert "RssAnon" in reading.reason


def test_half_a_status_file_gives_half_a_footprint(tmp_path: Path) -> None:
    reading = fake_status(tmp_path, 7, "RssFile:\t 300 kB\n").memory(7)
    assert reading.footprint.weights_bytes == 300 * 1024
    assert reading.footprint.anonymous_bytes is None
    assert reading.reason is not None


def test_a_process_that_is_not_there_has_no_footprint_and_says_why(tmp_path: Path) -> None:
    reading = ProcessReader(proc=tmp_path).memory(7)
    assert reading.footprint.total_bytes is None
    assert reading.reason == "process 7: No such file or directory"


@linux_only
def test_the_quick_reading_of_memory_is_the_same_as_the_thorough_one(tmp_path: Path) -> None:
    text = "Name:\tx\nRssAnon:\t  10 kB\nRssFile:\t 300 kB\nVmSwap:\t  5 kB\n"
    reader = fake_status(tmp_path, 7, text)
    footprint = reader.footprint(7)
    assert reader.held(7) == (footprint.anonymous_bytes, footprint.weights_bytes)
    assert ProcessReader().held(os.getpid()) is not None


@pytest.mark.parametrize("text", ["", "Name:\tx\nRssAnon:\tmany kB\n", "Name:\tx\nRssFile: 3 kB\n"])
def test_the_quick_reading_leaves_odd_files_to_the_thorough_one(tmp_path: Path, text: str) -> None:
    reader = fake_status(tmp_path, 7, text)
    assert reader.held(7) is None
    assert reader.held(8) is None
