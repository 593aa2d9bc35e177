"""The receipt of an answer: everything that it took, each figure with how it was come by.

It is put together from the outcome, the cost and the tries before it; nothing is stored twice.
Where a request was tried more than once, time, energy and memory are those of all its tries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec import structs

from arbiter.cost import (
    CPU_ERROR_PCT,
    NO_ACCELERATOR,
    NO_COUNTER,
    TOO_SHORT,
    Cost,
    Figure,
    Method,
    unknown,
    unknown_cost,
)
from arbiter.knowledge.costs import NOTHING_READ, PENDING
from arbiter.knowledge.outcome import NOT_BEGUN, Outcome, Record
from arbiter.knowledge.speed import timing
from arbiter.knowledge.tries import Try, most_of, summed
from arbiter.refs import DecisionId

NOT_ENDED = "the request has not ended"
NOT_TOLD = "its engine does not tell"
NO_TIME = "no answer was timed"
TWO_SAMPLES_MS = 200.0
"""What was served for less has no two samples of its memory."""

OF_THE_LAST = "of the try that answered"

NO_ANE_USE = "no system tells how busy a neural engine is"


@dataclass(frozen=True, slots=True, kw_only=True)
class TryView:
    """One try at a request: who was asked, where, how long, and what it used.

    place: the process or the server; None where it had no slot. error: why it failed; None for the
    try that answered.
    """

    version: str
    place: str | None
    error: str | None
    took_ms: Figure
    cpu_ms: Figure
    gpu_ms: Figure
    energy_mwh: Figure
    peak_bytes: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What an answer took.

    wall_ms: from the request's arrival to its end; wait_ms: until it had its slot, of which
    load_ms was a load. prefill_ms, decode_ms: by the engine's own stopwatch. cpu_ms, gpu_ms: time
    of hardware threads and of accelerators. cpu_utilisation: of all hardware threads that the
    house may use, 0 to 1, while it was served; gpu_utilisation: of one accelerator. energy_mwh:
    above what the machine takes at rest; energy_by: the same by part of the machine.
    concurrency: among how many it ran at its model on average; is_exclusive: whether alone.
    attempts: every try, where there was more than one or none gave an answer; cpu_ms, gpu_ms,
    energy and the most memory are of all of them, the rest of the one that answered.
    is_complete: whether energy and memory are settled.
    """

    decision: DecisionId
    version: str
    status: str
    wall_ms: Figure
    wait_ms: Figure
    load_ms: Figure
    first_token_ms: Figure
    prefill_ms: Figure
    decode_ms: Figure
    cpu_ms: Figure
    gpu_ms: Figure
    cpu_utilisation: Figure
    gpu_utilisation: Figure
    ane_utilisation: Figure
    peak_bytes: Figure
    mean_bytes: Figure
    device_bytes: Figure
    energy_mwh: Figure
    energy_by: Mapping[str, float]
    tokens_in: Figure
    tokens_out: Figure
    tokens_cached: Figure
    tokens_per_s: Figure
    concurrency: float | None
    is_exclusive: bool | None
    attempts: tuple[TryView, ...] = ()
    is_complete: bool


def receipt_of(
    record: Record,
    cost: Cost | None,
    *,
    threads: int,
    is_complete: bool,
    tries: Sequence[Try] = (),
) -> Receipt:
    """The receipt of a decision. threads: the hardware threads that the house may use.

    cost: None where nothing was read but time. tries: those that gave no answer.
    """
    decided, outcome = record.decided, record.outcome
    if cost is None:
        cost = _nothing(outcome) if is_complete else unknown_cost(PENDING)
    usage = None if outcome is None else outcome.usage
    timings = None if outcome is None else outcome.timings
    served_ms = _served_ms(outcome)
    cpu_ms = unknown(NOT_ENDED) if outcome is None else outcome.cpu
    if cpu_ms.value is not None:
        cpu_ms = structs.replace(cpu_ms, error_pct=CPU_ERROR_PCT)
    every, tries = tries, [one for one in tries if one.error is not None]
    mean = cost.mean_bytes
    if tries and mean.value is not None:
        mean = structs.replace(mean, note=OF_THE_LAST)
    return Receipt(
        decision=decided.decision,
        version=decided.version if outcome is None else outcome.version,
        status="running" if outcome is None else outcome.status.value,
        wall_ms=_read(None if outcome is None else outcome.latency_ms, outcome),
        wait_ms=_read(None if outcome is None else outcome.wait_ms, outcome),
        load_ms=_read(None if outcome is None else outcome.load_ms, outcome),
        first_token_ms=_read(
            None if outcome is None else outcome.ttft_ms, outcome, "it was no stream"
        ),
        prefill_ms=_told(None if timings is None else timings.prefill_ms),
        decode_ms=_told(None if timings is None else timings.decode_ms),
        cpu_ms=_summed([*(one.cost.cpu_ms for one in tries), cpu_ms]),
        gpu_ms=_summed([*(one.cost.gpu_ms for one in tries), cost.gpu_ms]),
        cpu_utilisation=_part(cpu_ms, served_ms, threads),
        gpu_utilisation=_part(cost.gpu_ms, served_ms, 1),
        ane_utilisation=unknown(NO_ANE_USE),
        peak_bytes=most_of([*(one.cost.peak_bytes for one in tries), cost.peak_bytes]),
        mean_bytes=mean,
        device_bytes=most_of([*(one.cost.device_bytes for one in tries), cost.device_bytes]),
        energy_mwh=_summed([*(one.cost.energy_mwh for one in tries), cost.energy_mwh]),
        energy_by=_by_part([*(one.cost.energy_by for one in tries), cost.energy_by]),
        tokens_in=_told(None if usage is None else usage.prompt_tokens),
        tokens_out=_told(None if usage is None else usage.completion_tokens),
        tokens_cached=_told(None if usage is None else usage.cached_tokens),
        tokens_per_s=_rate(outcome, served_ms),
        concurrency=None if outcome is None else outcome.concurrency,
        is_exclusive=None if cpu_ms.method is Method.UNKNOWN else cpu_ms.method is Method.MEASURED,
        attempts=_views(outcome, structs.replace(cost, cpu_ms=cpu_ms), served_ms, every),
        is_complete=is_complete,
    )


def _views(
    outcome: Outcome | None, cost: Cost, served_ms: float | None, tries: Sequence[Try]
) -> tuple[TryView, ...]:
    """Every try in its order, if there is more to tell than the receipt itself does."""
    if not tries:
        return ()
    failed = [
        TryView(
            version=one.version,
            place=one.place,
            error=one.error,
            took_ms=Figure(value=one.took_ms, method=Method.MEASURED),
            cpu_ms=one.cost.cpu_ms,
            gpu_ms=one.cost.gpu_ms,
            energy_mwh=one.cost.energy_mwh,
            peak_bytes=one.cost.peak_bytes,
        )
        for one in tries
        if one.error is not None
    ]
    if outcome is None or outcome.cpu.note == NOT_BEGUN:
        return tuple(failed)
    last = TryView(
        version=outcome.version,
        place=next((one.place for one in tries if one.error is None), None),
        error=outcome.error,
        took_ms=_read(served_ms, outcome),
        cpu_ms=cost.cpu_ms,
        gpu_ms=cost.gpu_ms,
        energy_mwh=cost.energy_mwh,
        peak_bytes=cost.peak_bytes,
    )
    return (*failed, last)


def _summed(figures: Sequence[Figure]) -> Figure:
    """Over all tries. Where none answered, the last figure is of nobody and is not missing."""
    *tried, last = figures
    return summed(tried if tried and last.note == NOT_BEGUN else figures)


def _by_part(parts: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    names = dict.fromkeys(name for one in parts for name in one)
    return {name: sum(one.get(name, 0.0) for one in parts) for name in names}


def _nothing(outcome: Outcome | None) -> Cost:
    """Of whom nothing was stored: what could not be read, and why."""
    cpu = unknown(NOT_ENDED) if outcome is None else outcome.cpu
    if cpu.value is None:
        # without a process of its own that can be seen there is nothing to read
        return unknown_cost(cpu.note or NOTHING_READ)
    served_ms = _served_ms(outcome) or 0.0
    memory = unknown(TOO_SHORT if served_ms < TWO_SAMPLES_MS else NOTHING_READ)
    return Cost(
        cpu_ms=cpu,
        gpu_ms=unknown(NO_ACCELERATOR),
        energy_mwh=unknown(NO_COUNTER),
        peak_bytes=memory,
        mean_bytes=memory,
        device_bytes=unknown(NO_ACCELERATOR),
    )


def _read(value: float | None, outcome: Outcome | None, why: str = NO_TIME) -> Figure:
    """Of our own stopwatch."""
    if value is None:
        return unknown(NOT_ENDED if outcome is None else why)
    return Figure(value=value, method=Method.MEASURED)


def _told(value: float | None) -> Figure:
    return unknown(NOT_TOLD) if value is None else Figure(value=value, method=Method.ENGINE)


def _served_ms(outcome: Outcome | None) -> float | None:
    """From its slot to its end."""
    if outcome is None or outcome.latency_ms is None:
        return None
    return max(0.0, outcome.latency_ms - (outcome.wait_ms or 0.0))


def _part(used_ms: Figure, served_ms: float | None, of: int) -> Figure:
    if used_ms.value is None or not served_ms:
        return unknown(used_ms.note or NO_TIME)
    return Figure(
        value=used_ms.value / served_ms / of, method=used_ms.method, error_pct=used_ms.error_pct
    )


def _rate(outcome: Outcome | None, served_ms: float | None) -> Figure:
    """Tokens a second: by the engine's own stopwatch, else from the first piece to the last.

    Of an answer in one piece without that stopwatch, over all the time that it was served.
    """
    tokens = None if outcome is None else outcome.usage.completion_tokens
    if outcome is None or tokens is None:
        return unknown(NOT_ENDED if outcome is None else NOT_TOLD)
    told = timing(
        latency_ms=outcome.latency_ms,
        wait_ms=outcome.wait_ms,
        ttft_ms=outcome.ttft_ms,
        usage=outcome.usage,
        timings=outcome.timings,
        prompt_chars=None,
    ).tokens_per_s
    if told is not None:
        if outcome.timings.decode_ms:
            return Figure(value=told, method=Method.ENGINE)
        note = "from its first piece to its last"
        return Figure(value=told, method=Method.MEASURED, note=note)
    if not served_ms:
        return unknown(NO_TIME)
    return Figure(
        value=tokens / served_ms * 1e3,
        method=Method.MEASURED,
        note="over all the time it was served, the prompt's part too",
    )
