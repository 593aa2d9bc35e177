"""What the system says of its power, whatever kind of machine this is."""

from __future__ import annotations

from arbiter.metering.battery import on_battery


def test_this_machine_says_whether_it_runs_on_its_battery_or_that_it_cannot_say() -> None:
    assert on_battery() in {True, False, None}
