"""An estimate from watts that a person gave: a straight line, and its coefficients told."""

from __future__ import annotations

import pytest

from arbiter.metering.estimate import Watts


def test_each_second_of_a_thread_costs_the_same_above_idle() -> None:
    watts = Watts(idle=10.0, full=70.0, threads=12)
    assert [watts.joules(cpu_s) for cpu_s in (0.0, 1.0, 12.0)] == [0.0, 5.0, 60.0]


def test_who_reads_a_figure_is_told_what_it_was_made_of() -> None:
    assert Watts(idle=7.5, full=65.0, threads=8).words == (
        "estimated from 7.5 W idle and 65 W full over 8 threads, as the settings say"
    )


@pytest.mark.parametrize(("idle", "full", "threads"), [(0.0, 0.0, 1), (9.0, 9.0, 1)])
def test_a_processor_may_take_nothing_and_no_more_than_at_rest(
    idle: float, full: float, threads: int
) -> None:
    assert Watts(idle=idle, full=full, threads=threads).joules(5.0) == 0.0


@pytest.mark.parametrize(("idle", "full", "threads"), [(-0.1, 9.0, 1), (9.0, 8.9, 1), (0, 1, 0)])
def test_what_cannot_be_a_processor_is_refused_with_the_reason(
    idle: float, full: float, threads: int
) -> None:
    with pytest.raises(ValueError, match=r"^full is at least idle, and there is a thread$"):
        Watts(idle=idle, full=full, threads=threads)
