"""How much one key may ask for: answers at once, and requests and tokens a minute.

A minute's worth can be used at once and comes back evenly. Tokens are known when they have been
made, so a key may go below nothing once and waits until it is above again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from math import ceil
from typing import Final

from arbiter.clock import Clock
from arbiter.errors import InvalidField, OverLimit

MOST: Final = 10**9
_MINUTE_S: Final = 60.0
_SOON_S: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """The bounds of a key. None: there is none.

    in_flight: answers at once. per_minute: requests. tokens_per_minute: of prompts and answers.
    """

    in_flight: int | None = None
    per_minute: int | None = None
    tokens_per_minute: int | None = None

    def __post_init__(self) -> None:
        """Raises `InvalidField`."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not 1 <= value <= MOST:
                raise InvalidField(
                    f"{field.name} is a whole number from 1 to {MOST}.", param=field.name
                )

    @property
    def is_any(self) -> bool:
        """Whether there is a bound."""
        return any(getattr(self, field.name) is not None for field in fields(self))


class Bucket:
    """What comes back evenly: so much a minute, and never more than a minute's worth.

    >>> bucket = Bucket(60)
    >>> [bucket.wait_s(now=0.0, least=1.0), bucket.take(60), bucket.wait_s(now=0.5, least=1.0)]
    [0.0, None, 0.5]
    """

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._at: float | None = None

    def wait_s(self, *, now: float, least: float) -> float:
        """How long until there is at least so much; 0 when there is."""
        if self._at is not None:
            more = max(0.0, now - self._at) * self.per_minute / _MINUTE_S
            self._level = min(float(self.per_minute), self._level + more)
        self._at = now
        return max(0.0, (least - self._level) * _MINUTE_S / self.per_minute)

    def take(self, amount: int) -> None:
        """Use so much, also of what is not there yet."""
        self._level -= amount


class Allowance:
    """What one key has used of its bounds. Kept in memory: a restart forgets it."""

    def __init__(self, limits: KeyLimits, clock: Clock) -> None:
        self.limits = limits
        self._clock = clock
        self._in_flight = 0
        self._requests = None if limits.per_minute is None else Bucket(limits.per_minute)
        tokens = limits.tokens_per_minute
        self._tokens = None if tokens is None else Bucket(tokens)

    @contextmanager
    def one(self) -> Iterator[None]:
        """One request, for as long as it is answered. Raises `OverLimit` before it begins."""
        self._check()
        if self._requests is not None:
            self._requests.take(1)
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    def fits(self, answers: int) -> None:
        """Whether a request for so many answers may begin: each is a request here.

        Raises `OverLimit`, and `InvalidField` for more than a minute ever has.
        """
        bucket = self._requests
        if bucket is None:
            return
        if answers > bucket.per_minute:
            raise InvalidField(
                f"This key may ask for {bucket.per_minute} requests a minute, and each answer is "
                f"one: not for {answers} at once.",
                hint="Ask for fewer.",
                param="n",
            )
        wait_s = bucket.wait_s(now=self._clock.monotonic(), least=answers)
        if wait_s > 0:
            raise _over(f"{bucket.per_minute} requests a minute", max(1, ceil(wait_s)))

    def also(self) -> None:
        """One more request of one that has begun, which nothing keeps out any more."""
        if self._requests is not None:
            self._requests.take(1)

    def spend(self, tokens: int) -> None:
        """Count the tokens of an answer."""
        if self._tokens is not None:
            self._tokens.take(tokens)

    def _check(self) -> None:
        most = self.limits.in_flight
        if most is not None and self._in_flight >= most:
            raise _over(f"{most} at once", _SOON_S)
        now = self._clock.monotonic()
        for bucket, what in ((self._tokens, "tokens"), (self._requests, "requests")):
            wait_s = 0.0 if bucket is None else bucket.wait_s(now=now, least=1.0)
            if bucket is not None and wait_s > 0:
                raise _over(f"{bucket.per_minute} {what} a minute", max(1, ceil(wait_s)))


def _over(bound: str, retry_after_s: int) -> OverLimit:
    return OverLimit(
        f"This key may ask for {bound}.",
        hint=f"Try again in {retry_after_s} s.",
        retry_after_s=retry_after_s,
    )
