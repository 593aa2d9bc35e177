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
from base64 import b85decode, b85encode
from collections.abc import Mapping, Sequence
from math import exp, log, log1p, sqrt

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
_MOST_LOGIT = 9.0
_NOTHING = bytes(2 * BUCKETS)


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

    def predict(self, traits: Sequence[int]) -> dict[TaskName, float]:
        """The probability of each task; what is left to 1 is that of none of them.

        Empty when there is nothing to tell apart yet.
        """
        scores, t = self._scores(traits)
        if not traits or len(scores) < 2:
            return {}
        shares = _shares(scores, t)
        best = _best(scores)
        confidence = self._trust.confidence(self._evidence(traits, scores, t))
        # the others keep their proportions and get no more than they had
        rest = sum([share for name, share in shares.items() if name != best])
        kept = min(1.0, (1.0 - confidence) / rest) if rest else 0.0
        return {n: confidence if n == best else kept * shares[n] for n in sorted(shares)}

    def forget(self, task: TaskName) -> None:
        """Forget what was counted of a task, if anything was."""
        known = self._tasks.pop(task, None)
        if known is not None:
            self._put(known, array("H", _NOTHING))

    def knows(self) -> frozenset[TaskName]:
        """The tasks of which something was learned."""
        return frozenset(self._tasks)

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

    def _put(self, known: _Known, counts: array[int]) -> None:
        """Replace everything that was counted of a task, also in its lane of the table."""
        table, shift = self._table, 8 * _LANE * known.lane
        for trait, (before, after) in enumerate(zip(known.counts, counts, strict=True)):
            if before != after:
                row = table[trait]
                table[trait] = row + (_LOGS[after] - _LOGS[before] << shift)
                self._seen += bool(table[trait]) - bool(row)
        known.counts, known.total = counts, sum(counts)

    def _scores(self, traits: Sequence[int]) -> tuple[dict[TaskName, float], float]:
        """The scores s, and what to multiply them with."""
        rows = [row for row in _at(self._table, traits) if row]
        packed = sum(rows).to_bytes(_LANE * MOST_TASKS, sys.byteorder)
        lanes = memoryview(packed).cast("I")
        if sys.byteorder == "big":
            lanes = lanes[::-1]
        n, spread = len(rows), SMOOTHING * self._seen
        scores = {
            name: log(known.learned + 0.5)
            + lanes[known.lane] / 2**_BITS
            - n * log(known.total + spread)
            for name, known in self._tasks.items()
            if known.learned
        }
        return scores, self._trust.t / sqrt(max(n, FEW))

    def _evidence(
        self, traits: Sequence[int], scores: Mapping[TaskName, float], t: float
    ) -> tuple[float, ...]:
        """What speaks for the best task: a constant, logit p, and u - U."""
        best = _best(scores)
        others = [exp(t * (s - scores[best])) for name, s in scores.items() if name != best]
        logit = -log(sum(others) + exp(-_MOST_LOGIT))
        known = self._tasks[best]
        usual = 1.0 if known.usual is None else known.usual
        return (1.0, logit, known.familiar(traits) - usual)

    def _learn_trust(self, traits: Sequence[int], task: TaskName, known: _Known) -> None:
        """Guess first, and learn from how that went."""
        scores, t = self._scores(traits)
        if scores.keys() - {task}:
            right = _best(scores) == task
            self._trust.learn(self._evidence(traits, scores, t), right=right)
        if task not in scores:
            return
        u, usual = known.familiar(traits), known.usual
        known.usual = u if usual is None else usual + max(1 / known.learned, 0.02) * (u - usual)
        mean = sum([share * scores[name] for name, share in _shares(scores, t).items()])
        self._trust.temper(t * (scores[task] - mean))
        del scores[task]
        if scores:
            evidence = self._evidence(traits, scores, t)
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
        packed = zlib.compress(_little(known.counts).tobytes(), 1)
        counts = b85encode(packed).decode()
        return {"learned": known.learned, "usual": known.usual, "counts": counts}

    def restore_task(self, task: TaskName, state: Mapping[str, object]) -> None:
        """Take what `task_state` told, in place of what is known of the task.

        Raises `ValueError` for anything else, and when there are `MOST_TASKS` others.
        """
        match state:
            case {"learned": int(learned), "usual": float() | None as usual, "counts": str(text)}:
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


def _at(table: Sequence[int], places: Sequence[int]) -> list[int]:
    return list(map(table.__getitem__, places))


def _best(scores: Mapping[TaskName, float]) -> TaskName:
    """The task with the highest score; of equals the first by name, whatever came first."""
    top = max(scores.values())
    return min([name for name, score in scores.items() if score == top])


def _shares(scores: Mapping[TaskName, float], t: float) -> dict[TaskName, float]:
    top = max(scores.values())
    parts = {name: exp(t * (score - top)) for name, score in scores.items()}
    total = sum(parts.values())
    return {name: part / total for name, part in parts.items()}


def _little(counts: array[int]) -> array[int]:
    """Counts in the byte order of what is stored: the little end first."""
    if sys.byteorder == "big":
        counts = counts[:]
        counts.byteswap()
    return counts


def _unpacked(text: str) -> array[int]:
    try:
        # no more than belongs there, whatever the text says
        raw = zlib.decompressobj().decompress(b85decode(text), len(_NOTHING) + 1)
    except zlib.error as error:
        raise ValueError("not packed counts") from error
    if len(raw) != len(_NOTHING):
        raise ValueError("not packed counts")
    return _little(array("H", raw))
