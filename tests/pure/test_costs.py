"""What requests cost together, and the receipt of one: from values alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec import structs

from arbiter.cost import (
    NO_COUNTER,
    TOO_SHORT,
    Cost,
    Figure,
    Method,
    unknown,
    unknown_cost,
)
from arbiter.inference import Arm, Decided, Timings, Usage
from arbiter.knowledge.cost_sums import By, Spent, spread, total, totals
from arbiter.knowledge.costs import PENDING, is_worth_a_row
from arbiter.knowledge.outcome import NOT_BEGUN, Outcome, Record, Status
from arbiter.knowledge.receipt import NOT_ENDED, NOT_TOLD, Receipt, receipt_of
from arbiter.knowledge.spare import suggestions
from arbiter.knowledge.tries import NO_SLOT, Try
from arbiter.refs import DecisionId, ModelName, TaskName, VersionId

VERSION = VersionId("sha256:" + "a" * 64)

ONE = Spent(
    version="v1",
    task="sum",
    alias="fast",
    caller="key-1",
    day="2026-01-01",
    is_success=True,
    served_ms=100.0,
    tokens_in=10,
    tokens_out=20,
    cpu_ms=50.0,
    energy_mwh=0.2,
    energy_method="shared",
    grade=1.0,
)
OTHER = structs.replace(
    ONE, version="v2", task="code", caller="key-2", day="2026-01-02", cpu_ms=500.0, grade=None
)
BLIND = structs.replace(ONE, cpu_ms=None, energy_mwh=None, energy_method=None)
GUESSED = structs.replace(ONE, energy_mwh=5.0, energy_method="estimated")

OUTCOME = Outcome(
    decision=DecisionId("dec_1"),
    task=TaskName("sum"),
    version=VERSION,
    status=Status.SUCCESS,
    latency_ms=500.0,
    wait_ms=100.0,
    load_ms=80.0,
    usage=Usage(prompt_tokens=9, completion_tokens=40, cached_tokens=0),
    timings=Timings(prefill_ms=20.0, decode_ms=200.0),
    cpu=Figure(value=400.0, method=Method.SHARED),
    concurrency=2.5,
)
RECORD = Record(
    decided=Decided(
        decision=DecisionId("dec_1"),
        task=TaskName("sum"),
        alias=ModelName("fast"),
        version=VERSION,
        arm=Arm.NONE,
        reason="said",
        probability=1.0,
    ),
    caller="local",
    at="t",
    outcome=OUTCOME,
)
COST = Cost(
    cpu_ms=OUTCOME.cpu,
    gpu_ms=Figure(value=100.0, method=Method.SHARED),
    energy_mwh=Figure(value=1.5, method=Method.SHARED, error_pct=4.0),
    peak_bytes=Figure(value=9.0, method=Method.MEASURED),
    mean_bytes=Figure(value=8.0, method=Method.MEASURED),
    device_bytes=unknown("none here"),
    energy_by={"cpu": 1.5},
)


def receipt(
    record: Record = RECORD,
    cost: Cost | None = COST,
    *,
    settled: bool = True,
    tries: Sequence[Try] = (),
) -> Receipt:
    return receipt_of(record, cost, threads=4, is_complete=settled, tries=tries)


# -- together


def test_requests_are_put_together_by_what_was_asked_for() -> None:
    assert [one.key for one in totals([ONE, OTHER, ONE], By.MODEL)] == ["v2", "v1"]
    assert [one.key for one in totals([ONE, OTHER], By.TASK)] == ["code", "sum"]
    assert [one.key for one in totals([ONE, OTHER], By.ALIAS)] == ["fast"]
    assert [one.key for one in totals([ONE, OTHER], By.CALLER)] == ["key-2", "key-1"]
    assert [one.key for one in totals([OTHER, ONE], By.DAY)] == ["2026-01-01", "2026-01-02"]


def test_energy_for_a_token_and_for_a_solved_task_is_a_sum_over_a_sum() -> None:
    found = total("all", [ONE, structs.replace(ONE, energy_mwh=0.6, tokens_out=180, grade=0.0)])
    assert found.energy_mwh == 0.8
    assert found.wh_per_mtok == 4.0  # 0.8 mWh for 200 tokens
    assert found.mwh_per_solved == 0.8
    assert found.solved == 1.0


def test_what_nobody_could_read_is_left_out_of_quotients_and_never_nothing() -> None:
    found = total("all", [ONE, BLIND])
    assert (found.requests, found.with_energy, found.tokens_out) == (2, 1, 40)
    assert found.wh_per_mtok == 10.0
    nothing = total("all", [BLIND])
    assert (nothing.energy_mwh, nothing.cpu_s, nothing.wh_per_mtok) == (None, None, None)


def test_estimates_are_never_added_to_what_counters_said() -> None:
    found = total("all", [ONE, GUESSED])
    assert (found.energy_mwh, found.estimated_mwh, found.with_energy) == (0.2, 5.0, 1)


def test_times_of_failures_are_no_times_of_answers() -> None:
    failed = structs.replace(ONE, is_success=False, served_ms=9_000.0)
    found = total("all", [ONE, failed])
    assert found.failed == 1
    assert found.served_ms is not None
    assert found.served_ms.samples == 1


def test_a_spread_tells_what_half_and_what_nearly_all_keep_to() -> None:
    found = spread([float(n) for n in range(1, 101)])
    assert found is not None
    assert (found.p50, found.p95, found.mean) == (50.0, 95.0, 50.5)
    assert spread([None]) is None


# -- what stands idle

WAITING = structs.replace(ONE, slot_wait_ms=50.0, concurrency=4.0, cpu_ms=25.0)


def test_requests_that_wait_while_threads_are_spare_suggest_more_slots() -> None:
    (found,) = suggestions([WAITING] * 40, slots=4, threads=4)
    assert (found.version, found.setting) == ("v1", "pool.slots")
    assert "waited 50 ms for one of 4 slots (median of 40" in found.why
    assert "used 1.0 of 4 hardware threads" in found.why


def test_who_is_run_by_another_program_has_a_setting_of_its_own() -> None:
    (found,) = suggestions([WAITING] * 40, slots=4, server_slots=2, outside={"v1"}, threads=4)
    assert found.setting == "pool.server_slots"
    assert "one of 2 slots" in found.why


def test_an_accelerator_that_stands_idle_is_told_and_a_busy_one_is_no_reason() -> None:
    idle = structs.replace(WAITING, gpu_ms=5.0)
    (found,) = suggestions([idle] * 40, slots=4, threads=4)
    assert "it kept its accelerator busy for 20% of that time" in found.why
    busy = structs.replace(WAITING, gpu_ms=45.0)  # its hardware threads are idle all the same
    assert suggestions([busy] * 40, slots=4, threads=64) == ()


def test_a_wait_that_nobody_notices_suggests_nothing() -> None:
    quick = structs.replace(WAITING, served_ms=2.0, slot_wait_ms=15.0, cpu_ms=0.5)
    assert suggestions([quick] * 40, slots=4, threads=4) == ()


# -- tries


FAILED = Try(
    version=VERSION,
    place="process 7",
    error="instance_lost",
    took_ms=30.0,
    cost=structs.replace(
        unknown_cost("nothing"),
        cpu_ms=Figure(value=100.0, method=Method.MEASURED, error_pct=1.0),
        energy_mwh=Figure(value=0.5, method=Method.MEASURED, error_pct=2.0),
        energy_by={"cpu": 0.5},
        peak_bytes=Figure(value=900.0, method=Method.MEASURED, error_pct=5.0),
    ),
)
NO_SLOT_HAD = structs.replace(FAILED, place=None, error="busy", cost=unknown_cost(NO_SLOT))


def test_what_a_try_used_in_vain_is_in_the_sums_and_it_is_listed() -> None:
    found = receipt(tries=(FAILED, structs.replace(FAILED, place="process 8", error=None)))
    assert (found.cpu_ms.value, found.cpu_ms.method) == (500.0, Method.SHARED)
    assert found.energy_mwh.value == 2.0
    assert found.energy_mwh.error_pct == pytest.approx((0.5 * 2.0 + 1.5 * 4.0) / 2.0)
    assert found.energy_by["cpu"] >= 0.5
    assert [(one.place, one.error) for one in found.attempts] == [
        ("process 7", "instance_lost"), ("process 8", None),
    ]  # fmt: skip
    assert found.attempts[1].cpu_ms.value == 400.0
    assert found.cpu_utilisation.value == 400 / 400 / 4  # of the one that answered


def test_a_try_that_never_had_a_slot_leaves_nothing_missing() -> None:
    found = receipt(tries=(NO_SLOT_HAD,))
    assert (found.cpu_ms.value, found.cpu_ms.note) == (400.0, None)
    assert found.attempts[0].cpu_ms.note == NO_SLOT


def test_what_is_not_known_of_a_try_that_ran_is_told() -> None:
    blind = structs.replace(FAILED, cost=unknown_cost("no process of its own"))
    assert receipt(tries=(blind,)).cpu_ms.note == "without a try: no process of its own"


def test_where_none_answered_the_receipt_is_that_of_the_tries() -> None:
    outcome = structs.replace(
        OUTCOME, status=Status.FAILURE, cpu=unknown(NOT_BEGUN), latency_ms=None, error="x"
    )
    found = receipt(structs.replace(RECORD, outcome=outcome), cost=None, tries=(FAILED,))
    assert (found.cpu_ms.value, found.energy_mwh.value) == (100.0, 0.5)
    assert [one.error for one in found.attempts] == ["instance_lost"]


def test_tries_are_in_the_sums_and_are_no_requests() -> None:
    vain = structs.replace(
        ONE, version="v9", is_try=True, is_success=False, tokens_out=0, tokens_in=None, grade=0.0
    )
    whole = total("all", [ONE, vain])
    assert (whole.requests, whole.failed, whole.tries) == (1, 0, 1)
    assert whole.energy_mwh == pytest.approx(0.4)
    assert whole.mwh_per_solved == pytest.approx(0.4)
    assert (whole.with_energy, whole.solved) == (1, 1.0)


def test_nothing_is_suggested_without_evidence_or_without_spare_threads() -> None:
    assert suggestions([WAITING] * 20, slots=4, threads=4) == ()
    assert suggestions([WAITING] * 40, slots=4, threads=1) == ()
    assert suggestions([structs.replace(WAITING, slot_wait_ms=2.0)] * 40, slots=4, threads=4) == ()
    assert suggestions([structs.replace(WAITING, cpu_ms=None)] * 40, slots=4, threads=4) == ()


# -- one receipt


def test_a_receipt_tells_time_tokens_and_use_with_their_methods() -> None:
    found = receipt()
    assert (found.wall_ms.value, found.wait_ms.value, found.load_ms.value) == (500.0, 100.0, 80.0)
    assert (found.prefill_ms.method, found.tokens_out.method) == (Method.ENGINE, Method.ENGINE)
    assert (found.tokens_per_s.value, found.tokens_per_s.method) == (200.0, Method.ENGINE)
    assert found.cpu_utilisation.value == 400 / 400 / 4
    assert found.gpu_utilisation.value == 0.25
    assert found.ane_utilisation.value is None
    assert (found.concurrency, found.is_exclusive, found.is_complete) == (2.5, False, True)
    assert (found.energy_mwh.value, found.energy_mwh.error_pct) == (1.5, 4.0)


def test_without_the_engines_stopwatch_the_rate_is_over_all_the_time() -> None:
    outcome = structs.replace(OUTCOME, timings=Timings())
    found = receipt(structs.replace(RECORD, outcome=outcome))
    assert (found.tokens_per_s.value, found.tokens_per_s.method) == (100.0, Method.MEASURED)
    assert "the prompt's part too" in (found.tokens_per_s.note or "")
    assert found.prefill_ms.note == NOT_TOLD


def test_a_request_that_runs_has_no_figure_yet() -> None:
    found = receipt(structs.replace(RECORD, outcome=None), None, settled=False)
    assert found.status == "running"
    assert {found.wall_ms.note, found.cpu_ms.note, found.tokens_per_s.note} == {NOT_ENDED}
    assert found.energy_mwh.note == PENDING


def test_a_receipt_of_which_nothing_was_stored_says_why() -> None:
    assert receipt(cost=None).energy_mwh.note == NO_COUNTER
    quick = structs.replace(OUTCOME, latency_ms=150.0)
    assert receipt(structs.replace(RECORD, outcome=quick), None).peak_bytes.note == TOO_SHORT
    far = structs.replace(OUTCOME, cpu=unknown("it is another machine's"))
    assert receipt(structs.replace(RECORD, outcome=far), None).peak_bytes.note == (
        "it is another machine's"
    )


def test_only_what_is_known_is_worth_a_row() -> None:
    assert is_worth_a_row(COST)
    assert not is_worth_a_row(unknown_cost("nothing"))
