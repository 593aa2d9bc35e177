"""What requests add up to, and the page that shows it, read back by Prometheus' own parser."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from arbiter.gateway.metrics import exposition
from arbiter.refs import ModelName, TaskName, VersionId
from arbiter.telemetry import (
    BOUNDS_S,
    MOST_SERIES,
    OTHERS,
    Going,
    Histogram,
    Key,
    Loaded,
    Tally,
    Watched,
)

A = VersionId("sha256:" + "a" * 64)
KEY: Key = (ModelName("fast"), A, TaskName("chat"))


def shown(watched: Watched) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(exposition(watched).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


@given(st.lists(st.floats(0.0, 1e4)))
def test_a_histogram_counts_every_time_once_and_never_below_its_bound(times: list[float]) -> None:
    histogram = Histogram()
    for one in times:
        histogram.add(one)
    assert sum(histogram.counts) == len(times)
    for place, bound in enumerate(BOUNDS_S):
        assert sum(histogram.counts[: place + 1]) == sum(one <= bound for one in times)


def test_what_is_one_series_too_many_is_added_up_with_the_others() -> None:
    tally = Tally()
    for number in range(MOST_SERIES + 10):
        tally.of((ModelName(str(number)), A, TaskName("t"))).prompt_tokens += 1
    found = dict(tally)
    assert len(found) == MOST_SERIES + 1
    assert found[OTHERS].prompt_tokens == 10
    assert tally.of((ModelName("0"), A, TaskName("t"))) is not found[OTHERS]


def test_the_page_shows_requests_times_instances_rollouts_and_events() -> None:
    tally = Tally()
    series = tally.of(KEY)
    series.statuses["success"] += 3
    series.errors["busy"] += 1
    series.first_token.add(0.02)
    series.first_token.add(500.0)
    series.cpu_ms = 1500.0
    found = shown(
        Watched(
            requests=tally,
            events={"rollout.promoted": 2},
            instances=(
                Loaded(
                    version=A, engine="llama_cpp", state="ready", in_flight=2, waiting=1, loads=4,
                    predicted_bytes=None, measured_bytes=40,
                ),
            ),
            rollouts=(
                Going(
                    alias=ModelName("fast"), rollout="rol_1", phase="progressing", weight=0.1,
                    e_worse=float("inf"), e_not_worse=2.0, needed_worse=20.0, needed_not_worse=20.0,
                ),
            ),
        )
    )  # fmt: skip
    who = {"alias": "fast", "version": "aaaaaaaaaaaa", "task": "chat"}
    assert found["arbiter_requests_total"] == [({**who, "status": "success"}, 3.0)]
    assert found["arbiter_request_errors_total"] == [({**who, "code": "busy"}, 1.0)]
    assert found["arbiter_cpu_seconds_total"] == [(who, 1.5)]
    assert found["arbiter_time_to_first_token_seconds_count"] == [(who, 2.0)]
    buckets = found["arbiter_time_to_first_token_seconds_bucket"]
    assert ({**who, "le": "120"}, 1.0) in buckets
    assert ({**who, "le": "+Inf"}, 2.0) in buckets
    assert found["arbiter_events_total"] == [({"kind": "rollout.promoted"}, 2.0)]
    instance = {"version": "aaaaaaaaaaaa", "number": "1", "engine": "llama_cpp"}
    assert found["arbiter_instance_state"] == [({**instance, "state": "ready"}, 1.0)]
    assert found["arbiter_instance_memory_bytes"] == [({**instance, "kind": "measured"}, 40.0)]
    rollout = {"alias": "fast", "rollout": "rol_1"}
    assert found["arbiter_rollout_weight"] == [(rollout, 0.1)]
    assert ({**rollout, "says": "worse"}, float("inf")) in found["arbiter_rollout_e_value"]


def test_a_name_with_quotes_and_lines_is_shown_as_it_is() -> None:
    tally = Tally()
    odd = 'a"b\\c\nd'
    tally.of((ModelName("fast"), A, TaskName(odd))).statuses["success"] += 1
    watched = Watched(requests=tally, events={}, instances=(), rollouts=())
    ((labels, _),) = shown(watched)["arbiter_requests_total"]
    assert labels["task"] == odd
