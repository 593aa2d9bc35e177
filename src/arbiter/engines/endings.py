"""What a process that could not load a model says of why, as far as that can be told from words."""

from __future__ import annotations

import re
import signal
from contextlib import suppress
from typing import Final

_NO_MEMORY: Final = re.compile(
    r"out of (?:device )?memory|outof(?:device|host)memory|not enough memory|insufficient memory|"
    r"bad_alloc|MemoryError|cannot allocate|(?:failed|unable) to allocate|"
    r"malloc failed|allocation failed",
    re.IGNORECASE,
)
"""As CUDA, HIP, Metal, Vulkan, ggml, the C++ library and Linux say it."""


def is_out_of_memory(words: str, code: int | None) -> bool:
    """Whether a load seems to have failed for want of memory.

    code: the exit status of a process that ended by itself, negative for a signal. Nobody but the
    system kills a process that loads, and it does so when memory runs out.

    >>> is_out_of_memory("ggml_cuda: cudaMalloc failed: out of memory", 1)
    True
    >>> is_out_of_memory("", -9), is_out_of_memory("unknown architecture", 1)
    (True, False)
    """
    return code == -signal.SIGKILL or _NO_MEMORY.search(words) is not None


def memory_line(words: str) -> str:
    r"""The line that says that memory was lacking; empty when none does.

    >>> memory_line("3 layers on CUDA0\nstd::bad_alloc")
    'std::bad_alloc'
    """
    return next((line for line in words.splitlines() if _NO_MEMORY.search(line)), "")


def told(code: int | None) -> str:
    """How a process ended, in words.

    >>> told(None), told(-9), told(3)
    ('it is running', 'killed by SIGKILL', 'ended with status 3')
    """
    if code is None:
        return "it is running"
    if code < 0:
        with suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"ended with status {code}"
