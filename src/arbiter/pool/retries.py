"""How many requests the house may try again, of all together: so that who fails is not asked twice.

Each request is bounded by itself, and that is not enough: when a backend fails every request, each
of them tried twice more is three times the load on whoever is in trouble already. So the house has
one budget: in any ten seconds it tries again a share of the requests that came in them, and a few
more in any case.

The scheme is that of Finagle's ``RetryBudget`` (a share of 20 %, over 10 s, and a least number a
second) and of Envoy's ``retry_budget``; the share is theirs. Finagle's least number is 10 a second;
here it is so many in ten seconds, for a house with a few models: what one server that dies may have
had in its hands. This module knows no clock and no request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WINDOW_S: Final = 10
"""What is counted is that of the last so many seconds, each of them counted by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """The budget as it is now. requests, retries: of the last ten seconds. allowed: so many.

    retried, refused: since the house was opened.
    """

    requests: int
    retries: int
    allowed: int
    retried: int
    refused: int

    @property
    def why(self) -> str:
        """In words, why one more would be too many.

        >>> Allowance(requests=100, retries=52, allowed=52, retried=60, refused=1).why
        '52 of 100 requests of the last 10 s were tried again, as many as may be'
        """
        return (
            f"{self.retries} of {self.requests} requests of the last {WINDOW_S} s were tried "
            "again, as many as may be"
        )


class Retries:
    """Counts, and says no.

    share: of the requests; floor: so many in any case. Times are seconds of a monotonic clock.

    >>> retries = Retries(share=0.2, floor=1)
    >>> for _ in range(10):
    ...     retries.came(0.5)
    >>> [retries.may(0.6) for _ in range(4)], retries.may(10.6)
    ([True, True, True, False], True)
    """

    def __init__(self, *, share: float, floor: int) -> None:
        self._share = share
        self._floor = floor
        self._came = [0] * WINDOW_S
        self._again = [0] * WINDOW_S
        self._second = 0
        self._retried = 0
        self._refused = 0

    def reconfigure(self, *, share: float, floor: int) -> None:
        """Have other bounds from now on."""
        self._share, self._floor = share, floor

    def came(self, now: float) -> None:
        """A request came."""
        second = int(now)
        if second != self._second:
            self._go_to(second)
        self._came[second % WINDOW_S] += 1

    def may(self, now: float) -> bool:
        """Whether one more may be tried again; if so, it counts."""
        found = self.allowance(now)
        if found.retries >= found.allowed:
            self._refused += 1
            return False
        self._again[self._second % WINDOW_S] += 1
        self._retried += 1
        return True

    def allowance(self, now: float) -> Allowance:
        """How it stands."""
        self._go_to(int(now))
        requests = sum(self._came)
        return Allowance(
            requests=requests,
            retries=sum(self._again),
            allowed=self._floor + int(self._share * requests),
            retried=self._retried,
            refused=self._refused,
        )

    def _go_to(self, second: int) -> None:
        """Forget what is older than the window. A clock that goes back changes nothing."""
        for gone in range(self._second + 1, min(second, self._second + WINDOW_S) + 1):
            self._came[gone % WINDOW_S] = self._again[gone % WINDOW_S] = 0
        self._second = max(second, self._second)
