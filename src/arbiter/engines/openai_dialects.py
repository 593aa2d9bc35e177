"""Which extensions of the OpenAI dialect each kind of server heeds.

From each project's own documentation. A kind that says nothing of an option is taken not to heed
it, and a request for it is refused there: most servers ignore what they do not know, and an
answer that silently ignores what was asked for looks like a right one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from arbiter.engines.openai_facts import (
    DOCKER,
    LEMONADE,
    LLAMA_SERVER,
    LM_STUDIO,
    LOCALAI,
    SGLANG,
    VLLM,
)
from arbiter.engines.openai_request import EVERY_EXTRA, Dialect

_DIALECTS: Final[Mapping[str, Dialect]] = {
    dialect.name: dialect
    for dialect in (
        Dialect(name=LLAMA_SERVER, extras=EVERY_EXTRA, folds_seed=True),
        Dialect(name=LOCALAI, extras=EVERY_EXTRA),
        Dialect(name=LM_STUDIO, extras=frozenset({"top_k", "repeat_penalty"})),
        Dialect(name=LEMONADE, extras=frozenset({"top_k", "repeat_penalty"})),
        # llama.cpp or vLLM is behind it, and they call the penalty differently
        Dialect(name=DOCKER, extras=frozenset({"top_k", "min_p"})),
        Dialect(name=VLLM, extras=EVERY_EXTRA, says_repetition=True),
        Dialect(name=SGLANG, extras=EVERY_EXTRA, says_repetition=True),
    )
}


def dialect_of(kind: str) -> Dialect:
    """What this kind of server understands; OpenAI's own fields when it is no known kind."""
    return _DIALECTS.get(kind) or Dialect(name=kind)
