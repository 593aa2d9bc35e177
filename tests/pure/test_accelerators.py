"""A need for an accelerator, against what this host is known to have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from arbiter.engines.base import Place
from arbiter.hardware.bus import makers
from arbiter.hardware.drm import Cards
from arbiter.hardware.found import Hardware
from arbiter.inference import GPU, Limits
from arbiter.knowledge.profiles import NOTHING
from arbiter.knowledge.tasks import Weights
from arbiter.pool.accelerators import NONE_HERE, ONLY_A_SCRIPT, Accelerators, accelerators_of
from arbiter.refs import ModelName, VersionId
from arbiter.selection.contender import Contender, Seen, Situation
from arbiter.selection.filters import drop_reason
from arbiter.studies.standins import write_card

NONE = Accelerators(is_known=True)
ONE = Accelerators(names=("Radeon",), memory_bytes=8_000_000_000, is_known=True)
NEEDS = Limits(needs=frozenset({GPU}))
HERE = Place(engine="ollama", url="http://127.0.0.1:11434", model="owl")
THERE = Place(engine="ollama", url="http://192.168.1.7:11434", model="owl")
CONTENDER = Contender(
    name=ModelName("owl"),
    version=VersionId("owl"),
    capabilities=frozenset({"chat"}),
    context=None,
    memory_bytes=9_000_000_000,
)


def dropped(one: Contender, limits: Limits = NEEDS, bytes_: int | None = None) -> str | None:
    """Why it is."""
    situation = Situation(budget_bytes=None, weights=Weights(), accelerator_bytes=bytes_)
    return drop_reason(Seen(contender=one, profile=NOTHING), limits, situation)


def test_a_host_without_an_accelerator_drops_who_is_to_run_on_one() -> None:
    assert NONE.lacking(format_="gguf", places=()) == NONE_HERE
    assert NONE.lacking(format_="served", places=(HERE,)) == NONE_HERE
    lacks = replace(CONTENDER, no_accelerator=NONE_HERE)
    assert dropped(lacks) == "needs an accelerator that this host has not"
    assert dropped(lacks, Limits()) is None


def test_what_another_machine_has_is_not_known_here() -> None:
    assert NONE.lacking(format_="served", places=(THERE,)) is None
    assert NONE.lacking(format_="served", places=(HERE, THERE)) is None


def test_what_may_be_there_and_cannot_be_read_is_held_against_nobody() -> None:
    assert Accelerators(is_known=False).lacking(format_="gguf", places=()) is None
    assert ONE.lacking(format_="gguf", places=()) is None


def test_a_script_runs_on_no_accelerator() -> None:
    assert ONE.lacking(format_="script", places=()) == ONLY_A_SCRIPT


def test_a_model_larger_than_the_accelerators_is_not_run_on_them() -> None:
    assert dropped(CONTENDER, bytes_=ONE.memory_bytes) == (
        "is estimated to need 9000 MB, the accelerators of this host have 8000 MB"
    )
    assert dropped(replace(CONTENDER, memory_measured=True), bytes_=8 * 10**9) == (
        "needs 9000 MB, the accelerators of this host have 8000 MB"
    )
    assert dropped(CONTENDER, bytes_=9_000_000_000) is None
    assert dropped(CONTENDER, bytes_=None) is None
    assert dropped(CONTENDER, Limits(), bytes_=1) is None
    assert dropped(replace(CONTENDER, memory_bytes=None), bytes_=1) is None
    assert dropped(replace(CONTENDER, is_outside=True), bytes_=1) is None


def test_an_accelerator_is_no_ability_of_a_model() -> None:
    both = Limits(needs=frozenset({GPU, "tools"}))
    assert dropped(CONTENDER, both) == "cannot do tools"


# -- looking


def device(sys: Path, name: str, *, kind: str, vendor: str) -> None:
    """A device on the bus."""
    folder = sys / "bus" / "pci" / "devices" / name
    folder.mkdir(parents=True)
    (folder / "class").write_text(kind + "\n", encoding="ascii")
    (folder / "vendor").write_text(vendor + "\n", encoding="ascii")


def test_the_bus_tells_who_made_the_graphics_devices(tmp_path: Path) -> None:
    device(tmp_path, "0000:00:02.0", kind="0x030000", vendor="0x1234")  # of a virtual machine
    device(tmp_path, "0000:01:00.0", kind="0x030200", vendor="0x10de")
    device(tmp_path, "0000:02:00.0", kind="0x030200", vendor="0x10de")
    device(tmp_path, "0000:03:00.0", kind="0x020000", vendor="0x8086")  # a network card
    assert makers(tmp_path, system="Linux") == ("NVIDIA",)


def test_without_a_bus_nothing_is_known(tmp_path: Path) -> None:
    assert makers(tmp_path, system="Linux") is None
    assert accelerators_of(Hardware(sys=tmp_path)) == Accelerators()


def test_a_device_that_no_reader_sees_may_be_an_accelerator(tmp_path: Path) -> None:
    device(tmp_path, "0000:00:02.0", kind="0x030000", vendor="0x1234")
    assert accelerators_of(Hardware(sys=tmp_path)) == NONE
    device(tmp_path, "0000:01:00.0", kind="0x030200", vendor="0x10de")
    assert not accelerators_of(Hardware(sys=tmp_path)).is_known


@pytest.mark.parametrize("driver", ["amdgpu"])
def test_what_is_read_is_counted_with_its_memory(tmp_path: Path, driver: str) -> None:
    write_card(tmp_path, address="0000:03:00.0", driver=driver)
    cards = Cards(sys=tmp_path, proc=tmp_path)
    found = accelerators_of(Hardware(accelerators={"drm": cards}, sys=tmp_path))
    assert found.is_known
    assert len(found.names) == 1
    assert found.memory_bytes == cards.look()[0].memory_bytes
