r"""Which task a request is probably of: learned from requests whose caller named the task.

Naive Bayes over `arbiter.knowledge.traits`. With ``c[k, f]`` the requests of task ``k`` that had
trait ``f``, ``D[k]`` its requests, ``N[k]`` the sum of its ``c``, and ``V`` the traits that were
ever seen ::

    s[k] = log(D[k] + 1/2) + sum over seen f of log((c[k, f] + A) / (N[k] + A V))
    p[k] ~ exp(t s[k] / sqrt(n)),     n the number of seen f, at least `FEW`

Words are not independent, so these sums are far too sure of themselves, and one task is always the
most probable, also for a request that is of none. So ``t`` is learned, and so is how far to trust
the best task ``b``, from ``p[b]`` and from how familiar the request looks: with ``u`` the share of
its traits that ``b`` has shown, and ``U[b]`` what that share usually is for requests of ``b``, the
evidence is ``logit p[b]`` and ``u - U[b]``.

Both learn from every labelled request *before* it is counted, so from guesses at what was not seen
yet. Each teaches twice: as it is, and once more with its own task hidden, weighing `STRANGERS`,
because then it is what will come as well: a request of a task that nobody ever named.

This module knows no model, no clock and no dice. What is counted does not depend on the order in
which it came; trust, which is learned on the way, does a little.

Source: McCallum & Nigam 1998, "A comparison of event models for naive Bayes text classification".
"""

from __future__ import annotations

import sys
import zlib
from array import array
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from itertools import compress
from math import exp, log, log1p, sqrt
from operator import mul
from struct import Struct
from typing import TypeVar

from arbiter.knowledge.traits import BUCKETS
from arbiter.knowledge.trust import Trust
from arbiter.refs import TaskName

SMOOTHING = 0.1
"""A: what a task is thought to have had of a trait that it never showed."""

MOST_TASKS = 128
"""Tasks that are told apart; requests of further ones teach nothing."""

MOST_LEARNED = 4_096
"""Requests that a task remembers. When they are that many, all that it counted is halved."""

STRANGERS = 0.25
"""How many requests of unknown tasks are expected for each one of a known task."""

FEW = 16
"""A request with fewer seen traits than this is no surer than one with so many."""

_BITS = 12  # of fraction, of a logarithm in a lane
_LANE = 4  # bytes of one: the logarithms of 1,024 traits add up to less than 2 ** 26
_LOGS = tuple([round(log1p(count / SMOOTHING) * 2**_BITS) for count in range(MOST_LEARNED + 1)])
_LANES = Struct(f"<{MOST_TASKS}I")
_MOST_LOGIT = 9.0
_NOTHING = bytes(2 * BUCKETS)
_Value = TypeVar("_Value")


class _Known:
    """What is counted of one task, in its lane of the table."""

    __slots__ = ("counts", "lane", "learned", "total", "usual")

    def __init__(self, lane: int) -> None:
        self.lane = lane
        self.counts = array("H", _NOTHING)
        self.learned = 0
        self.total = 0
        self.usual: float | None = None

    def familiar(self, traits: Sequence[int]) -> float:
        """The share of these traits that the task has shown."""
        return 1.0 - _at(self.counts, traits).count(0) / len(traits)


class _Reading:
    """How probable a request is for each task: scores, and their shares before trust has a say."""

    __slots__ = ("best", "names", "parts", "scores", "t", "total")

    def __init__(self, names: Sequence[TaskName], scores: Sequence[float], t: float) -> None:
        self.names, self.scores, self.t = names, scores, t
        top = max(scores)
        # of equals the first by name, whatever came first
        self.best = names[scores.index(top)]
        self.parts = [exp(t * (score - top)) for score in scores]
        self.total = sum(self.parts)

    @property
    def logit(self) -> float:
        """The logarithm of the odds of the best task, at most `_MOST_LOGIT`."""
        return -log(self.total - 1.0 + exp(-_MOST_LOGIT))

    def slope(self, task: TaskName) -> float:
        """Of the logarithm of this task's share, by log t."""
        mean: float = sum(map(mul, self.parts, self.scores)) / self.total
        return self.t * (self.scores[self.names.index(task)] - mean)

    def without(self, task: TaskName) -> _Reading | None:
        """As if this task were not known; None when no other is."""
        left = [place for place, name in enumerate(self.names) if name != task]
        if not left:
            return None
        return _Reading(_at(self.names, left), _at(self.scores, left), self.t)


class Kinds:
    """Tells tasks apart: `learn_one` labelled request, `predict` for one without a label.

    >>> kinds = Kinds()
    >>> for n in range(10):
    ...     kinds.learn_one((1, 2, 3, 4, 10 + n), TaskName("sum"))
    ...     kinds.learn_one((5, 6, 7, 8, 30 + n), TaskName("poem"))
    >>> {task: round(p, 2) for task, p in kinds.predict((1, 2, 3, 4, 15)).items()}
    {'poem': 0.0, 'sum': 0.99}
    """

    def __init__(self) -> None:
        self._tasks: dict[TaskName, _Known] = {}
        # One integer a trait holds the logarithms of every task, each in a lane of its own: one
        # addition adds for all of them, so that many tasks cost little more than two.
        self._table = [0] * BUCKETS
        self._seen = 0
        self._trust = Trust()
        # names, and lane, logarithm of D and N of each: made again when something was counted
        self._sorted: tuple[list[TaskName], list[tuple[int, float, int]]] | None = None

    def learn_one(self, traits: Sequence[int], task: TaskName) -> None:
        """Learn that a request with these traits, each named once, was of this task."""
        known = self._tasks.get(task)
        if not traits or (known is None and len(self._tasks) >= MOST_TASKS):
            return
        if known is None:
            known = self._tasks[task] = _Known(self._free_lane())
        self._learn_trust(traits, task, known)
        if known.learned >= MOST_LEARNED:
            self._put(known, array("H", [count >> 1 for count in known.counts]))
            known.learned >>= 1
        self._count(traits, known)

    @property
    def tells_apart(self) -> bool:
        """Whether two tasks are known: before that, `predict` says nothing of any request."""
        return len(self._tasks) >= 2

    def predict(self, traits: Sequence[int]) -> dict[TaskName, float]:
        """The probability of each task; what is left to 1 is that of none of them.

        Empty when there is nothing to tell apart yet.
        """
        read = self._read(traits)
        if read is None or len(read.names) < 2:
            return {}
        confidence = self._trust.confidence(self._evidence(traits, read))
        # the others keep their proportions, and get no more than they had or than the best has
        others = read.total - 1.0
        rest = (1.0 - confidence) / others if others > 0 else 0.0
        kept = min(1.0 / read.total, rest, confidence)
        found = {name: kept * part for name, part in zip(read.names, read.parts, strict=True)}
        found[read.best] = confidence
        return found

    def forget(self, task: TaskName) -> None:
        """Forget what was counted of a task, if anything was."""
        known = self._tasks.pop(task, None)
        if known is not None:
            self._put(known, array("H", _NOTHING))

    def learned(self, task: TaskName) -> int:
        """How many requests of a task are remembered."""
        known = self._tasks.get(task)
        return 0 if known is None else known.learned

    def _free_lane(self) -> int:
        taken = {known.lane for known in self._tasks.values()}
        return next(lane for lane in range(MOST_TASKS) if lane not in taken)

    def _count(self, traits: Sequence[int], known: _Known) -> None:
        counts, table, shift = known.counts, self._table, 8 * _LANE * known.lane
        for trait in traits:
            count, row = counts[trait], table[trait]
            if not row:
                self._seen += 1
            counts[trait] = count + 1
            table[trait] = row + (_LOGS[count + 1] - _LOGS[count] << shift)
        known.learned += 1
        known.total += len(traits)
        self._sorted = None

    def _put(self, known: _Known, counts: array[int]) -> None:
        """Replace everything that was counted of a task, also in its lane of the table."""
        table, shift = self._table, 8 * _LANE * known.lane
        for trait in compress(range(BUCKETS), known.counts):
            table[trait] -= _LOGS[known.counts[trait]] << shift
            self._seen -= not table[trait]
        for trait in compress(range(BUCKETS), counts):
            self._seen += not table[trait]
            table[trait] += _LOGS[counts[trait]] << shift
        known.counts, known.total = counts, sum(counts)
        self._sorted = None

    def _read(self, traits: Sequence[int]) -> _Reading | None:
        """What was counted says this of a request; None when it has no traits, or nothing was."""
        if not traits or not self._seen:
            return None
        if self._sorted is None:
            known = sorted([(name, one) for name, one in self._tasks.items() if one.learned])
            self._sorted = (
                [name for name, _ in known],
                [(one.lane, log(one.learned + 0.5), one.total) for _, one in known],
            )
        names, counted = self._sorted
        rows = [row for row in _at(self._table, traits) if row]
        lanes = _LANES.unpack(sum(rows).to_bytes(_LANES.size, "little"))
        n, spread = len(rows), SMOOTHING * self._seen
        scores = [
            prior + lanes[lane] / 2**_BITS - n * log(total + spread)
            for lane, prior, total in counted
        ]
        return _Reading(names, scores, self._trust.t / sqrt(max(n, FEW)))

    def _evidence(self, traits: Sequence[int], read: _Reading) -> tuple[float, ...]:
        """What speaks for the best task: a constant, logit p, and u - U."""
        known = self._tasks[read.best]
        usual = 1.0 if known.usual is None else known.usual
        return (1.0, read.logit, known.familiar(traits) - usual)

    def _learn_trust(self, traits: Sequence[int], task: TaskName, known: _Known) -> None:
        """Guess first, and learn from how that went."""
        read = self._read(traits)
        if read is None:
            return
        if read.names != [task]:
            self._trust.learn(self._evidence(traits, read), right=read.best == task)
        if not known.learned:
            return
        u, usual = known.familiar(traits), known.usual
        known.usual = u if usual is None else usual + max(1 / known.learned, 0.02) * (u - usual)
        self._trust.temper(read.slope(task))
        hidden = read.without(task)
        if hidden is not None:
            evidence = self._evidence(traits, hidden)
            self._trust.learn(evidence, right=False, weight=STRANGERS)

    def trust_state(self) -> list[float]:
        """How far guesses are trusted, as plain JSON."""
        return self._trust.to_state()

    def restore_trust(self, state: Sequence[float]) -> None:
        """Take what `trust_state` told. Raises `ValueError` for anything else."""
        self._trust = Trust.from_state(state)

    def task_state(self, task: TaskName) -> dict[str, object]:
        """What was counted of a task, as plain JSON: how often each trait was there, no text.

        Raises `KeyError` for a task of which nothing was learned.
        """
        known = self._tasks[task]
        packed = zlib.compress(known.counts.tobytes(), 1)
        return {
            "learned": known.learned,
            "usual": known.usual,
            "order": sys.byteorder,
            "counts": b64encode(packed).decode(),
        }

    def restore_task(self, task: TaskName, state: Mapping[str, object]) -> None:
        """Take what `task_state` told, in place of what is known of the task.

        Raises `ValueError` for anything else, and when there are `MOST_TASKS` others.
        """
        match state:
            case {
                "learned": int(learned),
                "usual": float() | None as usual,
                "counts": str(text),
            } if state.get("order") == sys.byteorder:
                counts = _unpacked(text)
            case _:
                raise ValueError("not the state of a task")
        if not 0 <= max(counts) <= learned <= MOST_LEARNED:
            raise ValueError("not the state of a task")
        self.forget(task)
        if len(self._tasks) >= MOST_TASKS:
            raise ValueError("there are too many tasks")
        known = self._tasks[task] = _Known(self._free_lane())
        known.learned, known.usual = learned, usual
        self._put(known, counts)


def _at(table: Sequence[_Value], places: Sequence[int]) -> list[_Value]:
    return list(map(table.__getitem__, places))


def _unpacked(text: str) -> array[int]:
    try:
        # no more than belongs there, whatever the text says
        raw = zlib.decompressobj().decompress(b64decode(text), len(_NOTHING) + 1)
    except zlib.error as error:
        raise ValueError("not packed counts") from error
    if len(raw) != len(_NOTHING):
        raise ValueError("not packed counts")
    return array("H", raw)
