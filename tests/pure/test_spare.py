"""When hardware that stands idle is told of, and what is said."""

from __future__ import annotations

import pytest

from arbiter.knowledge.cost_sums import Spent
from arbiter.knowledge.spare import LEAST, Suggestion, suggestions


def spent(
    *,
    version: str = "v",
    is_success: bool = True,
    served_ms: float | None = 100.0,
    slot_wait_ms: float | None = 80.0,
    cpu_ms: float | None = 50.0,
    gpu_ms: float | None = None,
    concurrency: float | None = 4.0,
) -> Spent:
    return Spent(
        version=version,
        task="t",
        alias="a",
        caller="c",
        day="d",
        is_success=is_success,
        served_ms=served_ms,
        slot_wait_ms=slot_wait_ms,
        cpu_ms=cpu_ms,
        gpu_ms=gpu_ms,
        concurrency=concurrency,
    )


def said(*given: Spent, threads: int = 16) -> tuple[Suggestion, ...]:
    return suggestions(given, slots=4, threads=threads, server_slots=2)


def test_threads_that_stand_idle_while_requests_wait_are_told_with_the_numbers() -> None:
    (found,) = said(*[spent()] * LEAST)
    assert (found.version, found.setting) == ("v", "pool.slots")
    assert found.why == (
        f"requests waited 80 ms for one of 4 slots (median of {LEAST}; they were served in 100 ms),"
        " while its process used 2.0 of 16 hardware threads: more slots would use them, in larger"
        " batches, for more memory"
    )


def test_an_accelerator_that_stands_idle_is_told_instead_of_threads() -> None:
    (found,) = said(*[spent(gpu_ms=10.0)] * LEAST)
    assert "while it kept its accelerator busy for 40% of that time: more slots" in found.why


@pytest.mark.parametrize(
    ("one", "is_told"),
    [
        (spent(slot_wait_ms=20.0, served_ms=100.0), True),
        (spent(slot_wait_ms=19.9, served_ms=100.0), False),
        (spent(slot_wait_ms=99.0, served_ms=1_000.0), False),
        (spent(slot_wait_ms=100.0, served_ms=1_000.0), True),
        (spent(cpu_ms=279.9), True),
        (spent(cpu_ms=280.0), False),
        (spent(gpu_ms=17.4), True),
        (spent(gpu_ms=17.5), False),
        (spent(gpu_ms=17.4, cpu_ms=9_999.0), True),
        (spent(is_success=False), False),
        (spent(served_ms=None), False),
        (spent(slot_wait_ms=None), False),
        (spent(cpu_ms=None), False),
        (spent(concurrency=None), False),
    ],
)
def test_only_a_wait_that_is_noticed_beside_idle_hardware_is_told(
    one: Spent, is_told: bool
) -> None:
    assert bool(said(*[one] * LEAST)) is is_told


def test_too_few_answers_say_nothing() -> None:
    assert said(*[spent()] * (LEAST - 1)) == ()
    assert said(*[spent()] * (LEAST - 1), spent(cpu_ms=None)) == ()


def test_a_version_is_on_an_accelerator_when_most_of_its_answers_were() -> None:
    half = [spent(gpu_ms=39.0)] * LEAST + [spent()] * LEAST
    assert "hardware threads" in said(*half)[0].why
    assert said(*half, spent(gpu_ms=39.0)) == ()


def test_each_version_is_told_of_by_itself_and_in_order() -> None:
    both = [spent(version="w")] * LEAST + [spent(version="u")] * LEAST
    assert [one.version for one in said(*both)] == ["u", "w"]


def test_who_is_run_by_another_program_has_a_setting_of_its_own() -> None:
    (found,) = suggestions(
        [spent()] * LEAST, slots=4, threads=16, server_slots=2, outside=frozenset({"v"})
    )
    assert found.setting == "pool.server_slots"
    assert "one of 2 slots" in found.why
