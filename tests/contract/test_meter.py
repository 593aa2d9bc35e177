"""The meter on a manual clock: what a request cost, when that is known, and nothing is lost."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tests.contract.metered import holds, joules, meter_of, watts_of

from arbiter.clock import ManualClock
from arbiter.cost import (
    NO_ACCELERATOR,
    NO_COUNTER,
    TOO_SHORT,
    Cost,
    Method,
)
from arbiter.metering.estimate import Watts
from arbiter.metering.meter import SAMPLE_S
from arbiter.studies.check_energy import PID, ScriptedTree, samples
from arbiter.studies.standins import (
    Course,
    SteppedCounter,
)

# -- without counters


def test_without_counters_a_cost_is_known_at_once_and_says_what_is_missing(
    clock: ManualClock, proc: Path
) -> None:
    crowd = meter_of(clock, proc).crowd_of(ScriptedTree(used_s=clock.monotonic))
    ticket = crowd.begin()
    clock.jump(0.05)
    assert crowd.end(ticket).value == 50_000_000
    told: list[Cost] = []
    ticket.then(told.append)
    (cost,) = told
    assert (cost.cpu_ms.value, cost.cpu_ms.method) == (50.0, Method.MEASURED)
    assert (cost.is_exclusive, cost.concurrency) == (True, 1.0)
    assert (cost.energy_mwh.note, cost.peak_bytes.note) == (NO_COUNTER, TOO_SHORT)
    assert (cost.gpu_ms.note, cost.device_bytes.note) == (NO_ACCELERATOR, NO_ACCELERATOR)


def test_watts_that_a_person_gave_make_an_estimate_that_says_so(
    clock: ManualClock, proc: Path
) -> None:
    meter = meter_of(clock, proc, watts=Watts(idle=10, full=74, threads=16))
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    ticket = crowd.begin()
    clock.jump(9.0)
    crowd.end(ticket)
    assert ticket.cost is not None
    energy = ticket.cost.energy_mwh
    assert joules(ticket.cost) == pytest.approx(36.0)
    assert (energy.method, energy.error_pct) == (Method.ESTIMATED, 50.0)
    assert "as the settings say" in (energy.note or "")


def test_two_beside_one_another_are_shared_and_say_among_how_many(
    clock: ManualClock, proc: Path
) -> None:
    crowd = meter_of(clock, proc).crowd_of(ScriptedTree(used_s=clock.monotonic))
    first = crowd.begin()
    clock.jump(1.0)
    second = crowd.begin()
    clock.jump(1.0)
    crowd.end(first)
    crowd.end(second)
    assert first.cost is not None
    assert second.cost is not None
    assert [first.cost.cpu_ms.value, second.cost.cpu_ms.value] == [1500.0, 500.0]
    assert first.cost.concurrency == pytest.approx(4 / 3)
    assert second.cost.concurrency == 2.0
    assert first.cost.is_exclusive is second.cost.is_exclusive is False


async def test_memory_is_a_mean_over_time_and_a_peak(clock: ManualClock, proc: Path) -> None:
    meter = meter_of(clock, proc)
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    holds(proc, private_kb=100, mapped_kb=500)
    ticket = crowd.begin()
    await samples(meter, clock, 1.0, at_rest=False)
    holds(proc, private_kb=300, mapped_kb=500)
    await samples(meter, clock, 1.0, at_rest=False)
    crowd.end(ticket)
    assert ticket.cost is not None
    assert ticket.cost.peak_bytes.value == 800 * 1024
    assert ticket.cost.mean_bytes.value == pytest.approx(700 * 1024, rel=0.02)


async def test_memory_that_cannot_be_read_says_why(clock: ManualClock, proc: Path) -> None:
    meter = meter_of(clock, proc)
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    ticket = crowd.begin()
    await samples(meter, clock, 1.0, at_rest=False)
    crowd.end(ticket)
    assert ticket.cost is not None
    assert ticket.cost.peak_bytes.note == f"process {PID}: No such file or directory"


# -- with counters


async def test_energy_is_settled_when_the_counter_has_moved(clock: ManualClock, proc: Path) -> None:
    meter = meter_of(clock, proc, watts_of(clock, 100.0))
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    await samples(meter, clock, 1.0, at_rest=True)
    ticket = crowd.begin()
    await samples(meter, clock, 2.0, at_rest=False)
    crowd.end(ticket)
    told: list[Cost] = []
    ticket.then(told.append)
    assert told == []
    await samples(meter, clock, SAMPLE_S, at_rest=False)
    (cost,) = told
    assert joules(cost) == pytest.approx(
        0.0, abs=0.5
    )  # all of it is what the machine takes at rest
    assert cost.energy_by.keys() == {"cpu"}
    assert cost.energy_mwh.method is Method.MEASURED


async def test_before_the_idle_power_is_known_the_energy_says_so(
    clock: ManualClock, proc: Path
) -> None:
    meter = meter_of(clock, proc, watts_of(clock, 100.0))
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    await meter.sample(at_rest=True)
    ticket = crowd.begin()
    await samples(meter, clock, 2.0, at_rest=False)
    crowd.end(ticket)
    await samples(meter, clock, 0.5, at_rest=False)
    assert joules(ticket.cost) == pytest.approx(200.0, rel=0.01)
    assert ticket.cost is not None
    assert "not known yet" in (ticket.cost.energy_mwh.note or "")


async def test_a_short_request_has_its_energy_with_the_word_coarse(
    clock: ManualClock, proc: Path
) -> None:
    meter = meter_of(clock, proc, watts_of(clock, 100.0, update_s=0.1))
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    await samples(meter, clock, 1.0, at_rest=True)
    ticket = crowd.begin()
    await samples(meter, clock, 0.4, at_rest=False)
    crowd.end(ticket)
    await samples(meter, clock, 1.0, at_rest=False)
    assert ticket.cost is not None
    assert ticket.cost.energy_mwh.error_pct == pytest.approx(50.0)
    assert "coarse" in (ticket.cost.energy_mwh.note or "")


async def test_a_counter_that_stands_still_does_not_hold_a_receipt_up_for_ever(
    clock: ManualClock, proc: Path
) -> None:
    still = SteppedCounter(
        course=Course(pieces=((0.0, 0.0),)), clock=clock.monotonic, update_s=0.001
    )
    meter = meter_of(clock, proc, still)
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    await meter.sample(at_rest=True)
    ticket = crowd.begin()
    await samples(meter, clock, 1.0, at_rest=False)
    crowd.end(ticket)
    await samples(meter, clock, 0.5, at_rest=False)
    assert ticket.cost is not None
    assert ticket.cost.energy_mwh.note == "the counter did not change in time"


async def test_receipts_and_the_rest_add_up_to_what_the_counter_says(
    clock: ManualClock, proc: Path
) -> None:
    meter = meter_of(clock, proc, watts_of(clock, 80.0, update_s=0.1))
    one = meter.crowd_of(ScriptedTree(used_s=lambda: clock.monotonic() * 0.4, pid=1, pids=(1,)))
    other = meter.crowd_of(ScriptedTree(used_s=lambda: clock.monotonic() * 1.6, pid=2, pids=(2,)))
    await samples(meter, clock, 3.0, at_rest=True)
    tickets = []
    for number in range(6):
        crowd = one if number % 2 else other
        ticket = crowd.begin()
        await samples(meter, clock, 0.35, at_rest=False)
        tickets.append((crowd, ticket))
        if number > 1:
            earlier, before = tickets[number - 2]
            earlier.end(before)
    for crowd, ticket in tickets[-2:]:
        crowd.end(ticket)
    await samples(meter, clock, 1.0, at_rest=False)
    (sums,) = meter.sums().values()
    receipts = sum(joules(ticket.cost) for _, ticket in tickets)
    assert math.isclose(receipts, sums.attributed, abs_tol=1e-9)
    whole = sums.attributed + sums.idle + sums.resting + sums.unattributed
    assert math.isclose(whole, sums.grown, rel_tol=1e-9)
    assert sums.grown > 300


async def test_closing_settles_whoever_waits(clock: ManualClock, proc: Path) -> None:
    meter = meter_of(clock, proc, watts_of(clock, 80.0))
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    ticket = crowd.begin()
    crowd.end(ticket)
    assert ticket.cost is None
    await meter.close()
    assert ticket.cost is not None
