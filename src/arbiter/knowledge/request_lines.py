"""One line of the log for each request that has ended: what was decided, and what it took.

Never what was asked or answered, and of an error its code alone: its words may quote either.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from arbiter.inference import Decided
from arbiter.knowledge.outcome import Outcome
from arbiter.logs import Value, told
from arbiter.refs import short

LOG = logging.getLogger("arbiter.requests")


def tell(
    decided: Decided,
    outcome: Outcome,
    *,
    caller: str,
    sent_as: str | None = None,
    trace: Callable[[], Mapping[str, str]] | None = None,
) -> None:
    """Log a request, if anybody wants to know.

    sent_as: what its sender calls it. trace: what names its trace, if there is one.
    """
    if LOG.isEnabledFor(logging.INFO):
        values = values_of(decided, outcome, caller)
        values["client_request_id"] = sent_as
        if trace is not None:
            values.update(trace())
        LOG.info("request %s", outcome.status.value, extra=told(values))


def values_of(decided: Decided, outcome: Outcome, caller: str) -> dict[str, Value]:
    """What is told of a request; times in milliseconds, None is unknown."""
    usage = outcome.usage
    return {
        "decision": decided.decision,
        "task": outcome.task,
        "alias": decided.alias,
        "version": short(outcome.version),
        "arm": decided.arm.value,
        "rollout": decided.rollout,
        "status": outcome.status.value,
        "error": outcome.error,
        "caller": caller,
        "wait_ms": _ms(outcome.wait_ms),
        "load_ms": _ms(outcome.load_ms),
        "ttft_ms": _ms(outcome.ttft_ms),
        "latency_ms": _ms(outcome.latency_ms),
        "tokens_in": usage.prompt_tokens,
        "tokens_out": usage.completion_tokens,
        "tokens_cached": usage.cached_tokens,
        "failed_first": len(outcome.attempts) or None,
    }


def _ms(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
