"""What facts about a machine mean, and that every finding that is bad says what mends it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.doctor.facts import ConfigThere, EngineThere, Facts, Folder, Port, ServerThere
from arbiter.doctor.findings import (
    Finding,
    State,
    examine,
    is_below,
    numbers,
    read_known_bad,
)
from arbiter.doctor.instances import complaints
from arbiter.doctor.meters import Meters, look_at_meters, meter_findings
from arbiter.hardware.found import find_hardware
from arbiter.hardware.reading import Accelerator
from arbiter.metering.process import ProcessReader

KNOWN = read_known_bad((files("arbiter.doctor") / "known_bad.toml").read_text("utf-8"))
TODAY = KNOWN.dated
WELL = Facts(
    data_dir=Folder(path="/data", free_bytes=10**12, database_bytes=4096),
    port=Port(where="127.0.0.1:8017", is_free=True),
    sqlite="3.54.1",
    packages={"starlette": "1.0.1", "torch": "2.13.0+cpu"},
    engines=(EngineThere(name="llama_cpp", loads_files=True, reason=None),),
    servers=(ServerThere(url="http://127.0.0.1:11434", kind="ollama", version="0.17.1"),),
    strays=(),
    ahead_s=-5.0,
    meters=Meters(counters=("package-0 (rapl)",)),
)


def bad(facts: Facts, today: date = TODAY) -> list[Finding]:
    return [one for one in examine(facts, KNOWN, today=today) if one.state is not State.OK]


def test_a_machine_that_is_well_has_nothing_to_mend() -> None:
    assert bad(WELL) == []


def test_that_no_package_is_known_to_be_bad_is_said_with_the_tables_date() -> None:
    (said,) = [one for one in examine(WELL, KNOWN, today=TODAY) if one.about == "packages"]
    assert str(KNOWN.dated) in said.sentence
    worse = replace(WELL, packages={"starlette": "1.0.0"})
    assert "packages" not in {one.about for one in examine(worse, KNOWN, today=TODAY)}


DENIED = Meters(missing={"rapl": "package-0: only root may read it"})


def unread(maker: str, **why: str) -> Meters:
    """A device that is on the bus, and that a reader does not see."""
    return Meters(makers=(maker,), unseen=why)


CARD = Accelerator(key="0000:03:00.0", name=None, source="drm", unknown={"energy": "none"})


def told(meters: Meters) -> dict[str, str]:
    """What is said of them, by what it is about."""
    return {one.about: one.sentence for one in meter_findings(meters)}


def test_a_machine_without_a_counter_is_told_what_may_be_done_instead() -> None:
    said = told(Meters(missing={"rapl": "a virtual machine hides it"}))
    assert "cpu_idle_w" in said["energy by rapl"]
    assert bad(replace(WELL, meters=Meters(missing={"rapl": "not there"}))) == []
    counted = told(Meters(counters=("GPU-7 (nvml)",), missing={"rapl": "not there"}))
    assert counted["energy"] == "It is counted: GPU-7 (nvml)."
    assert "cpu_idle_w" not in counted["energy by rapl"]


def test_a_card_that_its_driver_tells_of_is_read_without_the_makers_library() -> None:
    meters = Meters(makers=("AMD",), unseen={"amd": "not installed"}, accelerators=(CARD,))
    assert told(meters)["accelerator 0000:03:00.0"] == "It is read by drm, but for energy: none."
    assert bad(replace(WELL, meters=meters)) == []
    seen = replace(CARD, name="Radeon", unknown={}, source="amdsmi")
    said = told(Meters(makers=None, accelerators=(seen,)))
    assert said["accelerator Radeon"] == "It is read by amdsmi."


def test_this_machine_can_be_looked_at() -> None:
    found = look_at_meters(find_hardware(), ProcessReader())
    assert found.no_cpu is None
    assert found.no_memory is None
    assert list(meter_findings(found))


SLOW = {"instances": [{"names": ["wren"], "slow": "late", "ailing": "it is slow: late"}]}
SHORT = {"instances": [{"names": ["wren"], "too_little_bytes": {"host": 10**9}}]}

CONFIG = ConfigThere(path="/etc/arbiter.toml", mode=0o600, holds_keys=True)


def test_a_file_without_keys_may_be_read_by_others() -> None:
    assert bad(replace(WELL, config=CONFIG)) == []
    assert bad(replace(WELL, config=replace(CONFIG, mode=0o644, holds_keys=False))) == []


FOLDER, NO_LLAMA = WELL.data_dir, EngineThere(name="x", loads_files=True, reason="not installed")


@pytest.mark.security("S-39", "S-38")
@pytest.mark.parametrize(
    ("change", "state", "about", "mend"),
    [
        ({"data_dir": replace(FOLDER, is_writable=False)}, "fail", "data", "chown"),
        ({"data_dir": replace(FOLDER, mode=0o755)}, "warn", "data", "chmod 700"),
        ({"data_dir": replace(FOLDER, damage="page 3")}, "fail", "database", "import"),
        ({"data_dir": replace(FOLDER, free_bytes=10**6)}, "warn", "disk", "Make room"),
        ({"port": Port(where="h:1", is_free=False)}, "fail", "port", "--port"),
        ({"config": replace(CONFIG, mode=0o644)}, "warn", "config", "chmod 600"),
        ({"names": 0, "servers": ()}, "warn", "models", "models add"),
        ({"lacks": {"otel": "Traces are to be sent to x"}}, "warn", "extra otel", "[otel]"),
        ({"sqlite": "3.40.1"}, "fail", "sqlite", "apsw"),
        ({"engines": (NO_LLAMA,)}, "warn", "engines", "llama"),
        ({"packages": {"starlette": "1.0.0"}}, "fail", "package starlette", "starlette>=1.0.1"),
        ({"packages": {"litellm": "1.82.8"}}, "fail", "package litellm", "litellm!=1.82.7,!="),
        ({"packages": {"torch": "2.9.1+cpu"}}, "fail", "package torch", "torch>=2.10"),
        (
            {"servers": (ServerThere(url="http://x:1", kind="ollama", version="0.17.0-rc1"),)},
            "fail", "server http://x:1", "0.17.1",
        ),
        (
            {"servers": (ServerThere(url="http://x:1", kind="llama-server", version="b8000"),)},
            "fail", "server http://x:1", "b8146",
        ),
        ({"strays": ("/site/evil.pth",)}, "warn", "start of Python", "/site/evil.pth"),
        ({"ahead_s": 3600.0}, "warn", "clock", "timedatectl"),
        ({"meters": Meters(no_cpu="hidden")}, "warn", "CPU time", "hidepid"),
        ({"meters": Meters(no_memory="hidden")}, "warn", "memory of processes", "hidepid"),
        ({"meters": DENIED}, "warn", "energy by rapl", "chmod g+r"),
        ({"meters": unread("NVIDIA", nvidia="x is not installed.")}, "warn",
         "accelerator of NVIDIA", "arbiter-house[nvidia]"),
        ({"meters": unread("NVIDIA", nvidia="NVML: Driver Not Loaded")}, "warn",
         "accelerator of NVIDIA", "NVIDIA's driver"),
        ({"meters": unread("Intel", drm="no card")}, "warn", "accelerator of Intel", "driver"),
        ({"meters": unread("Apple", apple="it is not installed.")}, "warn",
         "accelerator of Apple", "arbiter-house[apple]"),
        ({"complaints": complaints(SLOW)}, "warn", "model wren", "arbiter models unload wren"),
        ({"complaints": complaints(SHORT)}, "warn", "model wren", "pool.context"),
    ],
)  # fmt: skip
def test_each_fault_is_found_once_and_says_what_mends_it(
    change: dict[str, object], state: str, about: str, mend: str
) -> None:
    (found,) = bad(replace(WELL, **change))  # type: ignore[arg-type]  # the table mixes kinds
    assert (found.state.value, found.about) == (state, about)
    assert found.mend is not None
    assert mend in found.mend


@pytest.mark.parametrize(
    ("version", "is_fine"),
    [
        ("3.51.3", True), ("3.54.1", True), ("3.50.7", True), ("3.44.6", True),
        ("3.51.2", False), ("3.50.6", False), ("3.45.0", False), ("3.44.5", False),
    ],
)  # fmt: skip
def test_the_branches_of_sqlite_that_are_mended_are_known(version: str, is_fine: bool) -> None:
    assert bool(bad(replace(WELL, sqlite=version))) is not is_fine


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"ailing": "it kept failing: engine_error"}, "auto asks others for now: it kept failing"),
        ({"probe": "a probe: it wrote nothing"}, "Its latest probe failed (a probe: it wrote"),
        ({"state": "failed", "last_error": "It died."}, "It is not loaded: It died."),
        ({"short": "ab12", "slow": "late", "probe": "x", "ailing": "y"}, "It has become slow"),
    ],
)
def test_what_ails_a_loaded_model_is_told(entry: dict[str, object], sentence: str) -> None:
    found = complaints({"instances": [entry]})
    assert found[0].sentence.startswith(sentence)


def test_of_several_instances_the_one_that_is_ill_is_named() -> None:
    entry = {"names": ["wren"], "most": 2, "number": 2, "state": "failed", "last_error": "It died."}
    assert complaints({"instances": [entry]})[0].model == "wren (instance 2)"
    assert complaints({"instances": [{**entry, "most": 1}]})[0].model == "wren (instance 2)"


@pytest.mark.parametrize(
    "told", [{}, {"instances": None}, {"instances": "x"}, {"instances": [1, {"names": ["a"]}]}]
)
def test_of_a_house_that_tells_nothing_nothing_is_said(told: dict[str, object]) -> None:
    assert complaints(told) == ()


def test_a_house_that_runs_has_its_port_and_what_is_not_there_yet_is_no_fault() -> None:
    running = Port(where="http://127.0.0.1:8017", is_free=False, house=True)
    assert bad(replace(WELL, port=running)) == []
    assert bad(replace(WELL, data_dir=Folder(path="/new", is_missing=True))) == []


@pytest.mark.security("S-39")
def test_a_table_of_bad_versions_that_is_old_says_so() -> None:
    (found,) = bad(WELL, date(TODAY.year + 1, TODAY.month, TODAY.day))
    assert "365 days old" in found.sentence or "366 days old" in found.sentence


@pytest.mark.parametrize(
    ("kind", "version"), [("vllm", None), ("llama-server", "b1-1a2b3c"), ("llama-server", "b9000")]
)
def test_a_server_whose_version_says_nothing_bad_is_not_accused(
    kind: str, version: str | None
) -> None:
    there = ServerThere(url="http://x:1", kind=kind, version=version)
    assert bad(replace(WELL, servers=(there,))) == []


@given(st.lists(st.integers(0, 99), min_size=1, max_size=4), st.integers(0, 3))
def test_versions_are_compared_by_their_numbers(parts: list[int], place: int) -> None:
    version = ".".join(map(str, parts))
    assert not is_below(version, version)
    assert numbers(version) == tuple(parts)
    more = [*parts, *[0] * (4 - len(parts))]
    more[place] += 1
    assert is_below(version, ".".join(map(str, more)))
    assert not is_below(".".join(map(str, more)), version)


@pytest.mark.security("S-39")
def test_every_row_of_the_table_names_its_source() -> None:
    for one in (*KNOWN.packages, *KNOWN.servers):
        assert one.source.startswith(("CVE-", "MAL-"))
        assert numbers(one.below) or one.exactly
