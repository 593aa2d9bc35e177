"""`/metrics`: what can be seen of the house, in the text form that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from arbiter.refs import short
from arbiter.telemetry import BOUNDS_S, Going, Histogram, Key, Loaded, Series, Tally, Watched

CONTENT_TYPE = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")

_WHO = ("alias", "version", "task")


def exposition(watched: Watched) -> bytes:
    """The page. Versions are shown by the first letters of their digests, as everywhere."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(watched))
    return generate_latest(registry)


def families() -> Iterator[Metric]:
    """Every family that the page can have, without a sample."""
    nothing = Watched(requests=Tally(), events={}, swaps={}, instances=(), rollouts=())
    return _Collector(nothing).collect()


class _Collector:
    def __init__(self, watched: Watched) -> None:
        self._watched = watched

    def collect(self) -> Iterator[Metric]:
        yield from _requests(self._watched.requests)
        yield _events(self._watched.events.items())
        yield _swaps(self._watched.swaps.items())
        yield _retries(self._watched)
        yield from _instances(self._watched.instances)
        yield from _rollouts(self._watched.rollouts)


def _who(key: Key) -> list[str]:
    alias, version, task = key
    return [alias, short(version), task]


def _requests(tally: Tally) -> Iterator[Metric]:
    found = [(_who(key), series) for key, series in tally]
    counted = CounterMetricFamily(
        "arbiter_requests",
        "Requests that have ended: `success`, `failure`, `cancelled` or `refused`.",
        labels=(*_WHO, "status"),
    )
    errors = CounterMetricFamily(
        "arbiter_request_errors",
        "Requests that ended in an error, by its code.",
        labels=(*_WHO, "code"),
    )
    tokens = CounterMetricFamily(
        "arbiter_tokens",
        "Tokens as the engines counted them: `prompt`, `completion`, and `cached` of the prompt.",
        labels=(*_WHO, "kind"),
    )
    cpu = CounterMetricFamily(
        "arbiter_cpu_seconds", "CPU time of the engines' processes, where it is known.", labels=_WHO
    )
    gpu = CounterMetricFamily(
        "arbiter_gpu_seconds", "Time of accelerators, where it is known.", labels=_WHO
    )
    energy = CounterMetricFamily(
        "arbiter_energy_joules",
        "Energy above rest, where it is known: `measured`, `shared`, `engine` or `estimated`.",
        labels=(*_WHO, "method"),
    )
    for who, series in found:
        for status, count in series.statuses.items():
            counted.add_metric([*who, status], count)
        for code, count in series.errors.items():
            errors.add_metric([*who, code], count)
        kinds = {
            "prompt": series.prompt_tokens,
            "completion": series.completion_tokens,
            "cached": series.cached_tokens,
        }
        for kind, count in kinds.items():
            tokens.add_metric([*who, kind], count)
        cpu.add_metric(who, series.cpu_ms / 1000.0)
        gpu.add_metric(who, series.gpu_ms / 1000.0)
        for method, joules in series.joules.items():
            energy.add_metric([*who, method], joules)
    yield from (counted, errors, tokens, cpu, gpu, energy)
    yield from _times(found)


def _times(found: Iterable[tuple[list[str], Series]]) -> Iterator[Metric]:
    wait = HistogramMetricFamily(
        "arbiter_queue_wait_seconds", "Waiting for a slot or a load.", labels=_WHO
    )
    first = HistogramMetricFamily(
        "arbiter_time_to_first_token_seconds", "From the request to its first token.", labels=_WHO
    )
    whole = HistogramMetricFamily(
        "arbiter_request_duration_seconds", "From the request to its end.", labels=_WHO
    )
    for who, series in found:
        pairs = ((wait, series.wait), (first, series.first_token), (whole, series.whole))
        for family, times in pairs:
            family.add_metric(who, _buckets(times), sum_value=times.sum_s)
    yield from (wait, first, whole)


def _buckets(times: Histogram) -> list[tuple[str, float]]:
    bounds = [*(f"{bound:g}" for bound in BOUNDS_S), "+Inf"]
    return list(zip(bounds, map(float, accumulate(times.counts)), strict=True))


def _events(events: Iterable[tuple[str, int]]) -> Metric:
    family = CounterMetricFamily(
        "arbiter_events", "What happened, by kind: swaps, loads, evictions ...", labels=("kind",)
    )
    for kind, count in sorted(events):
        family.add_metric([kind], count)
    return family


def _swaps(swaps: Iterable[tuple[tuple[str, str], int]]) -> Metric:
    family = CounterMetricFamily(
        "arbiter_swaps",
        "Steps of rollouts: `started`, `progressing`, `promoted`, `rolled_back` and the others.",
        labels=("alias", "step"),
    )
    for (alias, step), count in sorted(swaps):
        family.add_metric([alias, step], count)
    return family


def _retries(watched: Watched) -> Metric:
    family = CounterMetricFamily(
        "arbiter_retries",
        "Requests that failed before their first byte, and whether they were tried again.",
        labels=("granted",),
    )
    family.add_metric(["yes"], watched.retried)
    family.add_metric(["no"], watched.retries_refused)
    return family


def _instances(loaded: Iterable[Loaded]) -> Iterator[Metric]:
    by = ("version", "number", "engine")
    state = GaugeMetricFamily(
        "arbiter_instance_state", "1 for the state that an instance is in.", labels=(*by, "state")
    )
    in_flight = GaugeMetricFamily(
        "arbiter_instance_requests", "Requests that an instance serves now.", labels=by
    )
    waiting = GaugeMetricFamily(
        "arbiter_instance_waiting", "Requests that wait for an instance.", labels=by
    )
    loads = CounterMetricFamily("arbiter_instance_loads", "How often it was loaded.", labels=by)
    slow = GaugeMetricFamily(
        "arbiter_instance_slow", "1 while it is far slower than its own history.", labels=by
    )
    avoided = CounterMetricFamily(
        "arbiter_instance_reloads_avoided",
        "Requests whose options would have had another server load the model again.",
        labels=by,
    )
    probes = CounterMetricFamily(
        "arbiter_instance_probes", "Probes, by what they said of it.", labels=(*by, "sign")
    )
    memory = GaugeMetricFamily(
        "arbiter_instance_memory_bytes",
        "Memory of an instance, where it is known: `predicted`, `measured`.",
        labels=(*by, "kind"),
    )
    for one in loaded:
        who = [short(one.version), str(one.number), one.engine]
        state.add_metric([*who, one.state], 1)
        in_flight.add_metric(who, one.in_flight)
        waiting.add_metric(who, one.waiting)
        loads.add_metric(who, one.loads)
        slow.add_metric(who, float(one.is_slow))
        avoided.add_metric(who, one.reloads_avoided)
        for sign, count in one.probes.items():
            probes.add_metric([*who, sign], count)
        for kind, size in (("predicted", one.predicted_bytes), ("measured", one.measured_bytes)):
            if size is not None:
                memory.add_metric([*who, kind], size)
    yield from (state, in_flight, waiting, loads, slow, avoided, probes, memory)


def _rollouts(going: Iterable[Going]) -> Iterator[Metric]:
    by = ("alias", "rollout")
    weight = GaugeMetricFamily(
        "arbiter_rollout_weight", "The candidate's share of new conversations.", labels=by
    )
    evidence = GaugeMetricFamily(
        "arbiter_rollout_e_value",
        "Evidence that it is `worse`, or `not_worse`, as an e-value.",
        labels=(*by, "says"),
    )
    needed = GaugeMetricFamily(
        "arbiter_rollout_e_value_needed",
        "The e-value that decides.",
        labels=(*by, "says"),
    )
    for one in going:
        who = [one.alias, one.rollout]
        weight.add_metric(who, one.weight)
        evidence.add_metric([*who, "worse"], one.e_worse)
        evidence.add_metric([*who, "not_worse"], one.e_not_worse)
        needed.add_metric([*who, "worse"], one.needed_worse)
        needed.add_metric([*who, "not_worse"], one.needed_not_worse)
    yield from (weight, evidence, needed)
