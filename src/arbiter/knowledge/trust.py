"""How far a guess of `arbiter.knowledge.kinds` is to be trusted: two things learned from guesses.

``t``, the temperature that scores are read with, is stepped up the gradient of ``log p[task]``.
The confidence in the best task is a logistic function of evidence, ``1 / (1 + exp(-w x))``, with
``x = (1, logit p[best], u - U)``, stepped up the gradient of the logarithm of how probable it made
what then turned out. Steps shrink as they add up (AdaGrad), so late lessons move little.

Sources: Guo et al. (arXiv 1706.04599) for temperature; Dawid 1982 for judging forecasts by what
came next; Duchi, Hazan & Singer 2011 for the steps. This module knows neither tasks nor traits.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, isfinite, log, sqrt

_WEIGHTS = (-2.5, 1.0, 6.0)
"""At first: sure of what is clearly apart and looks familiar, and of nothing else."""

_LEAST_WEIGHT = 0.05
_STIFFNESS = 20.0  # how slowly the weights leave that beginning


class Trust:
    """Turns scores into probabilities that mean what they say."""

    __slots__ = ("_log_t", "_steps", "_t_steps", "_weights")

    def __init__(self) -> None:
        self._log_t = log(0.3)
        self._t_steps = 1e-8
        self._weights = list(_WEIGHTS)
        self._steps = [_STIFFNESS] * len(_WEIGHTS)

    @property
    def t(self) -> float:
        """What scores are multiplied with before they are read as logarithms."""
        return exp(self._log_t)

    def confidence(self, evidence: Sequence[float]) -> float:
        """The probability that the best task is the right one."""
        z = sum([weight * value for weight, value in zip(self._weights, evidence, strict=True)])
        return 1.0 / (1.0 + exp(-max(-30.0, min(30.0, z))))

    def temper(self, slope: float) -> None:
        """Learn from one labelled request. slope: of log p[task] by log t."""
        step = max(-3.0, min(3.0, slope))
        self._t_steps += step * step
        self._log_t += 0.5 * step / sqrt(self._t_steps)
        self._log_t = max(-6.0, min(3.0, self._log_t))

    def learn(self, evidence: Sequence[float], *, right: bool, weight: float = 1.0) -> None:
        """Learn whether a guess with this evidence was right."""
        error = weight * (float(right) - self.confidence(evidence))
        for part, value in enumerate(evidence):
            step = error * value
            self._steps[part] += step * step
            self._weights[part] += 0.3 * step / sqrt(self._steps[part])
        # more evidence never makes it less sure
        self._weights[1:] = [max(_LEAST_WEIGHT, weight) for weight in self._weights[1:]]

    def to_state(self) -> list[float]:
        """Everything that was learned."""
        return [self._log_t, self._t_steps, *self._weights, *self._steps]

    @classmethod
    def from_state(cls, state: Sequence[float]) -> Trust:
        """What `to_state` told. Raises `ValueError` for anything else."""
        trust, many = cls(), len(_WEIGHTS)
        trust._log_t, trust._t_steps, *rest = numbers = [float(one) for one in state]
        is_one = len(rest) == 2 * many and all(map(isfinite, numbers))
        if not is_one or min(trust._t_steps, *rest[many:]) <= 0:
            raise ValueError("not the state of a trust")
        trust._weights, trust._steps = rest[:many], rest[many:]
        return trust
