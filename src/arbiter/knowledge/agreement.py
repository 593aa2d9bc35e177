"""How far a source of feedback is believed, and how much one caller may say.

A rule that grades answers and a person who judges them are references. Every other source is
believed as far as it was seen to agree with them beyond chance. What one caller says of a cell is
bounded by what everybody else says of it. Pure: counts in, weights out; nothing here knows where
the counts come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

PERSON, GRADER, JUDGE, IMPLICIT, OTHER = "person", "grader", "judge", "implicit", "other"

PRIORS: Mapping[str, float] = {PERSON: 1.0, GRADER: 1.0, JUDGE: 0.5, OTHER: 0.25, IMPLICIT: 0.1}
"""What one judgement of a source counts before anybody has compared it with a reference."""

REFERENCES = (GRADER, PERSON)
"""Sources that others are compared with, the most trusted first; they always count in full."""

STRENGTH = 20.0
"""How many compared pairs the prior is worth."""

GOOD = 0.5
"""Scores from here on say that an answer is good."""

QUALITY = "quality"
"""The kind of feedback in which sources are compared; others judge something else."""

FREE = 5.0
"""What a caller may add to a cell that nobody else says anything of."""

SHARE = 0.1
"""What a caller may add to a cell, as a share of all that others say of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Pairs of judgements of the same answer: the source's, and the reference's.

    >>> Table.of(0.9, 0.2)
    Table(both_good=0, only_source=1, only_reference=0, both_bad=0)
    """

    both_good: float = 0
    only_source: float = 0
    only_reference: float = 0
    both_bad: float = 0

    @classmethod
    def of(cls, source: float, reference: float, count: float = 1) -> Table:
        """So many pairs with these scores."""
        if reference >= GOOD:
            return cls(both_good=count) if source >= GOOD else cls(only_reference=count)
        return cls(only_source=count) if source >= GOOD else cls(both_bad=count)

    @property
    def pairs(self) -> float:
        """How many."""
        return self.both_good + self.only_source + self.only_reference + self.both_bad

    @property
    def agreed(self) -> float:
        """In how many of them both say the same."""
        return self.both_good + self.both_bad

    def plus(self, other: Table, times: float = 1) -> Table:
        """Both together; the other so many times."""
        return Table(
            both_good=self.both_good + times * other.both_good,
            only_source=self.only_source + times * other.only_source,
            only_reference=self.only_reference + times * other.only_reference,
            both_bad=self.both_bad + times * other.both_bad,
        )


def excess(table: Table) -> tuple[float, float]:
    """How many pairs agree beyond chance, and how many could: their ratio is Cohen's kappa.

    Chance is how often both would agree if each said "good" as often as it does, but regardless
    of the other. A source that always says good agrees by chance alone.

    >>> excess(Table(both_good=40, only_source=10, only_reference=10, both_bad=40))
    (30.0, 50.0)
    """
    n = table.pairs
    if n <= 0:
        return 0.0, 0.0
    source = table.both_good + table.only_source
    reference = table.both_good + table.only_reference
    chance = (source * reference + (n - source) * (n - reference)) / n
    return table.agreed - chance, n - chance


def believed(source: str, table: Table) -> float:
    """The weight of one judgement of a source, from 0 to 1.

    Agreement beyond chance, shrunk to the source's `PRIORS` as if `STRENGTH` balanced pairs had
    shown that before: ``(S p / 2 + e) / (S / 2 + m)``, with ``e`` pairs beyond chance of ``m``
    possible; of balanced pairs half agree by chance, hence the 2. Pairs that tell nothing, as when
    every answer is good, move nothing. Never less than 0. References count 1 whatever is measured.

    >>> believed("implicit", Table()), believed("person", Table(only_source=9))
    (0.1, 1.0)
    >>> round(believed("judge", Table(both_good=90, both_bad=90, only_source=20)), 2)
    0.77
    """
    prior = PRIORS[source]
    if source in REFERENCES:
        return prior
    beyond, possible = excess(table)
    weight = (STRENGTH * prior / 2 + beyond) / (STRENGTH / 2 + possible)
    return min(1.0, max(0.0, weight))


def class_of(source: str) -> str:
    """The source under whose weight a judgement counts; names that nobody knows share one."""
    return source if source in PRIORS else OTHER


def allowance(others: float) -> float:
    """The most that one caller may add where others say so much, both in judgements.

    Where nobody else says anything it is `FREE`; that room shrinks by what others say, until
    `SHARE` of what they say is more. So as soon as others say a little, one caller moves the mean
    of a cell by less than a tenth, however much it says.

    >>> [allowance(others) for others in (0, 3, 32, 500)]
    [5.0, 2.0, 3.2, 50.0]
    """
    return max(FREE - others, SHARE * others)


def shares(said: Mapping[str, float], *, house: float, owners: frozenset[str]) -> dict[str, float]:
    """What part of what each caller says is counted, from 0 to 1.

    said: how much each says. house: how much is known that no caller said. owners: callers who
    run the house; they count in full.

    >>> shares({"a": 10_000, "b": 8}, house=32, owners=frozenset())
    {'a': 0.0004, 'b': 1.0}
    """
    whole = house + sum(said.values())
    return {
        caller: 1.0
        if caller in owners or amount <= 0
        else min(1.0, allowance(max(0.0, whole - amount)) / amount)
        for caller, amount in said.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One judgement of an answer, as far as sources are compared by it."""

    source: str
    kind: str
    score: float
    caller: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A judgement that stands beside a reference's."""

    source: str
    caller: str
    table: Table


def compared(said: Iterable[Said], grade: float | None) -> tuple[Compared, ...]:
    """What the judgements of one answer say about their sources.

    grade: what the task's own rule gave the answer, the first of all references; None when no
    rule graded it.
    """
    by_source = {one.source: one for one in said if one.kind == QUALITY}
    reference = next((by_source[name] for name in REFERENCES if name in by_source), None)
    if grade is None and reference is None:
        return ()
    right = grade if grade is not None else (reference.score if reference is not None else 0.0)
    itself = reference if grade is None else None
    return tuple(
        Compared(source=class_of(one.source), caller=one.caller, table=Table.of(one.score, right))
        for one in by_source.values()
        if one is not itself
    )
