"""What a change of a rollout was decided on, kept beside the change so that it can be repeated.

The rows of the record are chained: one hash over all units, in the order of assignment, up to the
position where the evidence ended, and one over all pairs. With the plan, the times and the rows the
production code comes to the same decision again, and one changed row gives another hash. This
module decides nothing: `arbiter.swap.audit` repeats.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import sha256

import msgspec

from arbiter.swap.analysis import Evidence
from arbiter.swap.rollout import Rollout
from arbiter.swap.shadow import PairRow

UnitRow = tuple[int, str, str, str, float, float | None, str | None, float | None]
"""A row of the record: position, unit, task, arm, probability, score, ending, latency in ms."""

UNITS = b"arbiter.units.v1\n"
PAIRS = b"arbiter.pairs.v1\n"
"""What the two chains of a rollout begin with, so that none can stand for the other."""


class Chain:
    """One hash over rows of one kind, in order. Rows are hashed when somebody looks.

    >>> chain = Chain()
    >>> empty = chain.get()
    >>> row = (0, "u", "sum", "stable", 0.9, 1.0, "answered", 12.5)
    >>> chain.update(row)
    >>> chain.get() == empty, chain.get() == chained([row])
    (False, True)
    """

    __slots__ = ("_hash", "_unhashed")

    def __init__(self, kind: bytes = UNITS) -> None:
        self._hash = sha256(kind)
        self._unhashed: list[UnitRow | PairRow] = []

    def update(self, row: UnitRow | PairRow) -> None:
        """Take the next row, in the order of positions."""
        self._unhashed.append(row)

    def get(self) -> str:
        """The hash of every row so far."""
        for row in self._unhashed:
            self._hash.update(json.dumps(row).encode() + b"\n")
        self._unhashed.clear()
        return f"sha256:{self._hash.hexdigest()}"


def chained(rows: Iterable[UnitRow]) -> str:
    """The hash of these rows."""
    chain = Chain()
    for row in rows:
        chain.update(row)
    return chain.get()


NO_ROWS = chained(())
NO_PAIRS = Chain(PAIRS).get()
"""The hashes of an empty record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What one change was decided on.

    until: every row with a smaller position was folded, and no other. rows: the hash of them.
    pairs_until, pairs: the same of its pairs.
    soaked_s, total_s, sliced_s: the rollout's times before. elapsed_s: what was added to them.
    log_worse, log_not_worse: the evidence, as logarithms, that the rows came to.
    """

    until: int = 0
    rows: str = NO_ROWS
    pairs_until: int = 0
    pairs: str = NO_PAIRS
    soaked_s: float = 0.0
    total_s: float = 0.0
    sliced_s: float = 0.0
    elapsed_s: float = 0.0
    log_worse: float = 0.0
    log_not_worse: float = 0.0

    def to_json(self) -> str:
        """As it is stored; numbers keep every bit."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Basis:
        """As it was stored. Raises `ValueError` when it is not one."""
        return msgspec.json.decode(text, type=cls)


def basis_of(
    before: Rollout,
    evidence: Evidence,
    *,
    until: int,
    rows: str,
    pairs_until: int,
    pairs: str,
    elapsed_s: float,
) -> Basis:
    """What a change of this rollout is decided on now."""
    return Basis(
        until=until,
        rows=rows,
        pairs_until=pairs_until,
        pairs=pairs,
        soaked_s=before.soaked_s,
        total_s=before.total_s,
        sliced_s=before.sliced_s,
        elapsed_s=elapsed_s,
        log_worse=evidence.log_worse,
        log_not_worse=evidence.log_not_worse,
    )
