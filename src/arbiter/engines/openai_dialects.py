"""Which extensions of the OpenAI dialect each kind of server heeds.

From each project's own documentation. A kind that says nothing of an option is taken not to heed
it, and a request for it is refused there: most servers ignore what they do not know, and an
answer that silently ignores what was asked for looks like a right one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from arbiter.engines.openai_facts import (
    ARBITER,
    DOCKER,
    LEMONADE,
    LLAMA_SERVER,
    LM_STUDIO,
    LOCALAI,
    SGLANG,
    VLLM,
)
from arbiter.engines.openai_request import EVERY_EXTRA, LLAMA_CPP, USUAL_EXTRAS, Dialect

_SOME: Final = frozenset({"top_k", "repeat_penalty"})
_DIALECTS: Final[Mapping[str, Dialect]] = {
    dialect.name: dialect
    for dialect in (
        replace(LLAMA_CPP, name=LLAMA_SERVER),
        # another house sends on what its own servers heed, and refuses the rest
        Dialect(name=ARBITER, extras=EVERY_EXTRA),
        Dialect(name=LOCALAI, extras=USUAL_EXTRAS),
        Dialect(name=LM_STUDIO, extras=_SOME, names_tools=False),
        Dialect(name=LEMONADE, extras=_SOME, names_tools=False),
        # llama.cpp or vLLM is behind it, and they call the penalty differently
        Dialect(name=DOCKER, extras=frozenset({"top_k", "min_p"}), names_tools=False),
        Dialect(name=VLLM, extras=USUAL_EXTRAS, says_repetition=True, by_template=True),
        Dialect(name=SGLANG, extras=USUAL_EXTRAS, says_repetition=True, by_template=True),
    )
}


def dialect_of(kind: str) -> Dialect:
    """What this kind of server understands; OpenAI's own fields when it is no known kind."""
    return _DIALECTS.get(kind) or Dialect(name=kind)
