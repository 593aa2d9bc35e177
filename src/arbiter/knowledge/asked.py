"""What was really asked of a name: how long its requests were, and what they needed.

Worked out from the record when somebody wants to know, which is before a swap and so hardly ever:
a running sketch would cost every request something and know the longest one less exactly. Of what
was forgotten nothing is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil

from arbiter.refs import ModelName
from arbiter.storage.database import Database, Row

LATEST = 50_000
"""Requests that are looked at, the latest of all names: with 300,000 in the record 0.3 s."""

USUAL_SHARE = 0.999
"""The share of requests for which `Asked.usual_tokens` is enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Answered requests to a name. None is unknown, never 0.

    requests: how many. told: of how many the engine said how many tokens they had.
    usual_tokens: what 99.9 % of these took at most: the prompt and the room for its answer. That is
    what was asked for as ``max_tokens`` or, where it is more or nothing was asked for, what was
    written. most_tokens: what the longest took. needs: how many needed each capability.
    """

    requests: int = 0
    told: int = 0
    usual_tokens: int | None = None
    most_tokens: int | None = None
    needs: Mapping[str, int] = field(default_factory=dict)


NOTHING_ASKED = Asked()
"""No request yet."""


def asked_of(rows: Iterable[Row]) -> Asked:
    """Add up rows of the query ``latest_asked``: prompt, answer, room for it, needs.

    >>> found = asked_of([(100, 20, None, "chat"), (300, 5, 64, "chat tools")])
    >>> found.usual_tokens, found.requests, dict(found.needs)
    (364, 2, {'chat': 2, 'tools': 1})
    """
    requests = 0
    tokens: list[int] = []
    needs: Counter[str] = Counter()
    for prompt, written, room, needed in rows:
        requests += 1
        needs.update(str(needed or "").split())
        if prompt is not None:
            tokens.append(int(prompt) + max(int(written or 0), int(room or 0)))
    tokens.sort()
    return Asked(
        requests=requests,
        told=len(tokens),
        usual_tokens=tokens[ceil(USUAL_SHARE * len(tokens)) - 1] if tokens else None,
        most_tokens=tokens[-1] if tokens else None,
        needs=dict(needs),
    )


async def read_asked(database: Database, name: ModelName) -> Asked:
    """What the latest requests asked of a name."""
    await database.settle()
    return asked_of(await database.read("latest_asked", (LATEST, name)))
