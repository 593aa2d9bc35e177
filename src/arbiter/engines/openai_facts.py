"""What an OpenAI-compatible server said, read with care: kinds of servers, and facts about models.

Pure. A fact that is missing, or that has not the form it should have, is None.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from arbiter.engines.base import Fact, Offer

Entry = Mapping[str, object]
"""One model in ``/v1/models``."""
Told = Mapping[str, object]
"""What a server answered, by the path that was asked."""

LLAMA_SERVER: Final = "llama-server"
LM_STUDIO: Final = "LM Studio"
VLLM: Final = "vLLM"
SGLANG: Final = "SGLang"
DOCKER: Final = "Docker Model Runner"
LOCALAI: Final = "LocalAI"
LEMONADE: Final = "Lemonade"
ARBITER: Final = "Arbiter"
GENERIC: Final = "OpenAI-compatible server"

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}\Z")
_LARGEST: Final = 2**62
_LONGEST: Final = 300
_NONE: Final = frozenset[str]()


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a server's answers come to."""

    offers: tuple[Offer, ...]
    version: str | None = None
    trouble: tuple[str, ...] = ()


def text_of(value: object) -> str | None:
    """A text that is one, or None."""
    return value[:_LONGEST] if isinstance(value, str) and value else None


def count_of(value: object) -> int | None:
    """A count that can be one, or None.

    >>> count_of(4096), count_of(-1), count_of(True), count_of("many")
    (4096, None, None, None)
    """
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LARGEST
    return value if is_count and isinstance(value, int) else None


def fields_of(value: object) -> Entry:
    """An object's fields; none when it is no object."""
    return value if isinstance(value, dict) else {}


def words_in(value: object) -> frozenset[str]:
    """The texts in a list."""
    return frozenset(w for w in value if isinstance(w, str)) if isinstance(value, list) else _NONE


def is_arbiter(welcome: object) -> bool:
    """Whether this is how an Arbiter greets."""
    return fields_of(welcome).get("name") == "arbiter"


def is_loaded(entry: Entry) -> bool | None:
    """Whether a llama-server that serves several models has this one in memory."""
    status = text_of(fields_of(entry.get("status")).get("value"))
    return None if status is None else status == "loaded"


def props_of(model: str) -> str:
    """Where a llama-server tells the properties of one of its models, without loading it."""
    return f"/props?model={quote(model, safe='')}&autoload=false"


def kind_of(told: Told) -> str:
    """Which kind a server is whose list of models did not say."""
    if is_arbiter(told.get("/")):
        return ARBITER
    if isinstance(fields_of(told.get("/api/v0/models")).get("data"), list):
        return LM_STUDIO
    if isinstance(fields_of(told.get("/system")).get("loaded_models"), list):
        return LOCALAI
    if "total_slots" in fields_of(told.get("/props")):
        return LLAMA_SERVER
    return GENERIC


def named(entries: Iterable[Entry]) -> list[tuple[str, Entry]]:
    """The entries that have a name to ask for."""
    return [(name, entry) for entry in entries if isinstance(name := entry.get("id"), str) and name]


def facts_of(**found: Fact | None) -> dict[str, Fact]:
    """Those facts that are known."""
    return {name: value for name, value in found.items() if value is not None}


def digest_of(value: object) -> str | None:
    """A digest that a server tells, or None."""
    return value if isinstance(value, str) and _DIGEST.match(value) else None


def digested(text: str) -> str:
    """The digest of a text."""
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
