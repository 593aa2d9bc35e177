"""How fast a version is: what one answer tells, what many add up to, what is expected unseen.

Everything here is a value or a pure function; `arbiter.knowledge.speeds` keeps the numbers. Only
answers that came to their end are timed. The wait for a slot or a load is taken off: it is the
house's, not the version's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

import msgspec

from arbiter.inference import Timings, Usage
from arbiter.stats.estimators import normal_quantile

SLOW_SHARE = 0.9
"""What people mean by a limit on latency: so many of the answers keep to it."""

LEAST_TOKENS = 8
"""A rate over fewer tokens says more of the stopwatch than of the model."""

LEAST_STRETCH_MS = 50.0
"""Shorter than this between the first piece and the last, a rate of tokens is not told."""

LEAST_CHARS = 500
"""A shorter prompt is mostly template, and says little of how many characters make a token."""

FIRST_SPREAD = log(3.0)
"""How far the tasks of a version are believed to be apart before that is seen: a factor of 3."""


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """What one answer tells of its version; None where it tells nothing.

    latency_ms: the whole answer; first_ms: until its first piece; both without the wait.
    tokens_per_s: of writing. prompt_tokens_per_s: of reading, without what was cached.
    chars_per_token: of its prompt.
    """

    latency_ms: float | None = None
    first_ms: float | None = None
    tokens_per_s: float | None = None
    prompt_tokens_per_s: float | None = None
    chars_per_token: float | None = None


def timing(
    *,
    latency_ms: float | None,
    wait_ms: float | None,
    ttft_ms: float | None,
    usage: Usage,
    timings: Timings,
    prompt_chars: int | None,
) -> Timing:
    """What an answer tells. latency_ms and ttft_ms are from the request's arrival.

    The engine's own stopwatch is believed first. Where it tells none, tokens are counted from the
    first piece to the last. How fast a prompt was read is told only where it is known how much of
    it was not read at all, because it was cached.

    >>> found = timing(latency_ms=2_300.0, wait_ms=100.0, ttft_ms=300.0,
    ...                usage=Usage(prompt_tokens=300, completion_tokens=101, cached_tokens=100),
    ...                timings=Timings(prefill_ms=200.0), prompt_chars=1200)
    >>> found.latency_ms, found.first_ms, found.tokens_per_s, found.prompt_tokens_per_s
    (2200.0, 200.0, 50.0, 1000.0)
    """
    wait = wait_ms or 0.0
    return Timing(
        latency_ms=None if latency_ms is None else max(0.0, latency_ms - wait),
        first_ms=None if ttft_ms is None else max(0.0, ttft_ms - wait),
        tokens_per_s=_writing(latency_ms, ttft_ms, usage.completion_tokens, timings.decode_ms),
        prompt_tokens_per_s=_reading(usage, timings.prefill_ms),
        chars_per_token=None
        if not usage.prompt_tokens or prompt_chars is None or prompt_chars < LEAST_CHARS
        else prompt_chars / usage.prompt_tokens,
    )


def _writing(
    latency_ms: float | None, ttft_ms: float | None, tokens: int | None, decode_ms: float | None
) -> float | None:
    if tokens is None or tokens < LEAST_TOKENS:
        return None
    if decode_ms:
        return 1000.0 * tokens / decode_ms
    if latency_ms is None or ttft_ms is None or latency_ms - ttft_ms < LEAST_STRETCH_MS:
        return None
    return 1000.0 * (tokens - 1) / (latency_ms - ttft_ms)  # the first one was there already


def _reading(usage: Usage, prefill_ms: float | None) -> float | None:
    if not prefill_ms or usage.prompt_tokens is None or usage.cached_tokens is None:
        return None
    read = usage.prompt_tokens - usage.cached_tokens
    return 1000.0 * read / prefill_ms if read >= LEAST_TOKENS else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A latency that nobody measured, from the version's other tasks.

    low, high: where the median of a further task lies with 90 %. tasks: from how many.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    tasks: int


def expected(medians: Sequence[float]) -> Expected | None:
    """What a version is expected to take at a task from its medians at others; None: no others.

    The geometric mean of the medians, each task counting the same. The logarithms are taken for
    normal, with a variance that starts at a factor of 3, worth two tasks; the interval is that of
    one further task. How much longer *this* task takes than others is not looked at.

    >>> found = expected([1000.0, 4000.0])
    >>> found and [round(ms) for ms in (found.low_ms, found.median_ms, found.high_ms)]
    [236, 2000, 16942]

    Raises:
        ValueError: a median is not above 0.
    """
    if not medians:
        return None
    logs = [log(ms) for ms in medians]
    count = len(logs)
    middle = sum(logs) / count
    square = 2.0 * FIRST_SPREAD**2 + sum((one - middle) ** 2 for one in logs)
    reach = normal_quantile(0.95) * sqrt(square / (1.0 + count) * (1.0 + 1.0 / count))
    return Expected(
        median_ms=exp(middle),
        low_ms=exp(middle - reach),
        high_ms=exp(middle + reach),
        tasks=count,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How long a version takes at a task, as selection looks at it. None is unknown, never 0.

    timed: the answers behind it, older ones fading. slow_ms: ``share`` of them take no longer;
    slow_least_ms: neither do they in truth, with 95 %, take less than this. expected: only where
    nothing was timed. chars_per_token: median and the 90th percentile over all the version's
    prompts; None until there are enough.
    """

    timed: int = 0
    median_ms: float | None = None
    slow_ms: float | None = None
    slow_least_ms: float | None = None
    share: float = SLOW_SHARE
    expected: Expected | None = None
    chars_per_token: tuple[float, float] | None = None


NEVER_TIMED = Speed()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How a measure is spread over answers: of so many, the median and the slow end.

    slow: what 9 of 10 keep to: no longer than this for a time, no slower for a rate.
    """

    samples: int
    median: float
    slow: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Everything that was timed of a version at a task, for people. None: never."""

    latency_ms: Spread | None = None
    first_ms: Spread | None = None
    tokens_per_s: Spread | None = None
    prompt_tokens_per_s: Spread | None = None
