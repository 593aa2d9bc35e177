"""A worker that cannot load: what is said of it, and whether memory was what it lacked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.contract.engines_support import demo_model, load_spec

from arbiter.clock import SystemClock
from arbiter.engines.base import EngineContext
from arbiter.engines.endings import is_out_of_memory
from arbiter.engines.llama_cpp import LlamaCppEngine
from arbiter.errors import LoadFailed, OutOfMemory

MODULES = {
    "starved": """
        import sys
        sys.stderr.write("load_tensors: loading\\ncudaMalloc failed: out of memory\\n")
        sys.exit(1)
    """,
    "killed": """
        import os, signal, sys
        sys.stdin.readline()
        sys.stderr.write("load_tensors: loading\\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    """,
    "crashed": """
        import os, signal, sys
        sys.stdin.readline()
        sys.stderr.write("unknown model architecture: 'heron'\\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGSEGV)
    """,
}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Workers that fail in their own ways, where a child process finds them."""
    for title, body in MODULES.items():
        lines = [line.removeprefix(" " * 8) for line in body.splitlines()]
        (tmp_path / f"toy_{title}.py").write_text("\n".join(lines), encoding="utf-8")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(tmp_path), before]))
    yield tmp_path
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.mark.parametrize(
    ("title", "error", "words"),
    [
        ("starved", OutOfMemory, "cudaMalloc failed: out of memory"),
        ("killed", OutOfMemory, "killed by SIGKILL\nload_tensors: loading"),
        ("crashed", LoadFailed, "killed by SIGSEGV\nunknown model architecture: 'heron'"),
    ],
)
async def test_a_load_that_fails_says_how_it_ended_with_the_last_lines_of_the_log(
    folder: Path, title: str, error: type[LoadFailed], words: str
) -> None:
    engine = LlamaCppEngine(
        EngineContext(clock=SystemClock(), run_dir=folder), worker=f"toy_{title}"
    )
    with pytest.raises(LoadFailed) as failed:
        await engine.load(load_spec(demo_model()))
    assert type(failed.value) is error
    assert words in failed.value.message
    assert str(folder) not in failed.value.sentence
    assert not psutil.Process().children()


@pytest.mark.parametrize(
    "words",
    [
        "allocating 8192.00 MiB on device 0: cudaMalloc failed: out of memory",
        "ggml_vulkan: Device memory allocation of size 4 failed. ErrorOutOfDeviceMemory",
        "ggml_metal: error: failed to allocate buffer, size = 4096.00 MiB",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "mmap failed: Cannot allocate memory",
        "unable to allocate CPU buffer",
    ],
)
def test_engines_have_many_words_for_a_want_of_memory(words: str) -> None:
    assert is_out_of_memory(words, 1)


@pytest.mark.parametrize(
    "words", ["unknown model architecture", "tensor 'a' has wrong shape", "invalid magic", ""]
)
def test_other_failures_are_not_taken_for_one(words: str) -> None:
    assert not is_out_of_memory(words, 1)
    assert not is_out_of_memory(words, None)
