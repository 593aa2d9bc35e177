"""What is believed of a version at a task: a mean, how sure it is, and by how many scores."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from arbiter.stats.estimators import logistic, logit, normal_quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """What is believed of a version at a task.

    mean, variance: of its quality in [0, 1]. samples: scores it ever had there, cases included.
    neglect: scores that
    others had at the task for each of its own.
    """

    mean: float
    variance: float
    samples: float = 0.0
    neglect: float = 0.0

    @property
    def deviation(self) -> float:
        """The standard deviation."""
        return sqrt(self.variance)

    def interval(self, level: float = 0.9) -> tuple[float, float]:
        """The credible interval, with a belief that is normal on the logit scale."""
        inside = max(1e-4, min(1.0 - 1e-4, self.mean))
        reach = normal_quantile(0.5 + level / 2.0) * self.deviation / (inside * (1.0 - inside))
        return logistic(logit(inside) - reach), logistic(logit(inside) + reach)
