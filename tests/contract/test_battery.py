"""What the system says of its power, whatever kind of machine this is."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from arbiter.metering.battery import Power, on_battery


@dataclass
class Said:
    """A battery, and whether the machine is plugged in."""

    power_plugged: bool | None


@pytest.mark.parametrize(
    ("said", "on"), [(Said(False), True), (Said(True), False), (Said(None), None), (None, False)]
)
def test_a_machine_is_on_its_battery_when_it_has_one_and_is_not_plugged_in(
    said: Power | None, on: bool | None
) -> None:
    assert on_battery(lambda: said) is on


def test_a_system_that_fails_to_say_leaves_it_unknown() -> None:
    def fails() -> Power | None:
        raise OSError("no such file")

    assert on_battery(fails) is None


def test_this_machine_can_be_asked() -> None:
    assert on_battery() in {True, False, None}
