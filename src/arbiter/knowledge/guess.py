"""From the probability of every task to one guess, or none: pure.

A guess is made when it is probable enough. If no task is, the parent of some may be: their
probabilities add up. If that is not enough either, nothing is guessed, and the request is general.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from arbiter.knowledge.families import line
from arbiter.refs import GENERAL, TaskName


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """A task that a request is probably of. confidence: the probability that it is, in [0, 1]."""

    task: TaskName
    confidence: float

    def __str__(self) -> str:
        return f"task guessed: {self.task} ({int(100 * self.confidence) / 100:.2f})"


def best_guess(
    probabilities: Mapping[TaskName, float],
    *,
    least: float,
    parents: Mapping[TaskName, TaskName] | None = None,
) -> Guess | None:
    """The most probable task if it is probable enough, else its like among the parents.

    Of several parents that are probable enough it is the one that says most: the least probable,
    and of equals the lowest. parents: the parent of each task that has one.

    >>> found = {TaskName("gcd"): 0.5, TaskName("sum"): 0.4, TaskName("poem"): 0.05}
    >>> maths = {TaskName("gcd"): TaskName("maths"), TaskName("sum"): TaskName("maths")}
    >>> str(best_guess(found, least=0.8, parents=maths))
    'task guessed: maths (0.90)'
    """
    if not probabilities:
        return None
    task, most = min(probabilities.items(), key=lambda found: (-found[1], found[0]))
    if most >= least:
        return None if task == GENERAL else Guess(task=task, confidence=most)
    if not parents:
        return None
    sums: dict[TaskName, float] = {}
    for name in sorted(probabilities):
        for above in line(name, parents):
            sums[above] = sums.get(above, 0.0) + probabilities[name]
    sure = [
        (p, -len(line(name, parents)), name)
        for name, p in sums.items()
        if p >= least and name != GENERAL
    ]
    if not sure:
        return None
    probability, _, name = min(sure)
    return Guess(task=name, confidence=min(1.0, probability))
