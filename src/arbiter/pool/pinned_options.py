"""Options by which requests ask for another load, and the reloads that do not follow from them.

An Ollama loads a model again whenever a request names another context, number of layers or the like
than the one before it. Here a version is loaded in one way, and such options are taken and not
heeded; this counts how often an Ollama would have loaded again. (Its ``needsReload`` compares the
options of a request with those of the runner that is loaded: server/sched.go.)
"""

from __future__ import annotations

from collections.abc import Iterable

LoadOptions = tuple[tuple[str, str], ...]
"""Names and values, sorted, as a request gave them."""

NAMES = frozenset(
    {
        "num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "use_mmap", "use_mlock",
        "numa", "low_vram", "f16_kv", "vocab_only", "n_ctx", "n_gpu_layers",
    }
)  # fmt: skip
"""Options of Ollama, llama.cpp and their clients that say how a model is to be loaded."""

_LONGEST = 40


def load_options(given: Iterable[tuple[str, object]]) -> LoadOptions:
    """The options of a request that are about loading.

    >>> load_options([("temperature", 0.2), ("num_ctx", 8192)])
    (('num_ctx', '8192'),)
    """
    found = (
        (name, str(value)[:_LONGEST])
        for name, value in given
        if name in NAMES and value is not None
    )
    return tuple(sorted(found))


class Avoided:
    """How often the requests of a version asked for it to be loaded otherwise than the last one.

    >>> avoided = Avoided()
    >>> for asked in ((), (("num_ctx", "8192"),), (("num_ctx", "8192"),), ()):
    ...     avoided.note(asked)
    >>> avoided.count
    2
    """

    __slots__ = ("_last", "count")

    def __init__(self) -> None:
        self.count = 0
        self._last: LoadOptions | None = None

    def note(self, asked: LoadOptions) -> None:
        """A request came with these."""
        if self._last is not None and asked != self._last:
            self.count += 1
        self._last = asked
