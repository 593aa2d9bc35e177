"""What the system says of its power, whatever kind of machine this is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from arbiter.hardware.battery import Battery, look
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


# -- what it holds


def cell(sys: Path, name: str, **files: object) -> None:
    """A folder of power_supply."""
    folder = sys / "class" / "power_supply" / name
    folder.mkdir(parents=True)
    for file, value in files.items():
        (folder / file).write_text(f"{value}\n", encoding="ascii")


def test_a_battery_tells_what_it_holds_and_what_is_drawn(tmp_path: Path) -> None:
    cell(tmp_path, "AC", type="Mains", online=0)
    cell(tmp_path, "hidpp_0", type="Battery", scope="Device", energy_now=1)  # a mouse
    cell(
        tmp_path, "BAT0", type="Battery", status="Discharging",
        energy_now=40_000_000, energy_full=50_000_000, power_now=9_500_000,
    )  # fmt: skip
    assert look(tmp_path) == Battery(
        status="Discharging", energy_mwh=40_000, full_mwh=50_000, power_mw=9_500
    )


def test_charge_with_a_voltage_is_energy_and_two_batteries_add_up(tmp_path: Path) -> None:
    plain = {"type": "Battery", "status": "Charging", "voltage_now": 12_000_000}
    cell(
        tmp_path, "BAT0", **plain, charge_now=2_000_000, charge_full=4_000_000, current_now=500_000
    )
    cell(tmp_path, "BAT1", **plain, energy_now=1_000_000, energy_full=2_000_000, power_now=0)
    found = look(tmp_path)
    assert found is not None
    assert (found.energy_mwh, found.full_mwh, found.power_mw) == (25_000, 50_000, 6_000)


def test_what_a_battery_does_not_tell_is_unknown_with_the_reason(tmp_path: Path) -> None:
    cell(tmp_path, "BAT0", type="Battery", energy_now=1_000)
    found = look(tmp_path)
    assert found is not None
    assert (found.status, found.energy_mwh, found.full_mwh, found.power_mw) == (None, 1, None, None)
    assert found.unknown["power"] == "BAT0 has no power_now, and no current_now with a voltage"


def test_a_machine_without_a_battery_has_none(tmp_path: Path) -> None:
    assert look(tmp_path) is None
    cell(tmp_path, "AC", type="Mains")
    assert look(tmp_path) is None
