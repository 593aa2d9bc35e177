"""Receipts and costs through a house with a real model, and its command line."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.story.houses import MODELS, settings
from tests.story.shell import Shell

from arbiter.app import open_house
from arbiter.clock import SystemClock
from arbiter.cost import NO_COUNTER, Method
from arbiter.errors import NothingCapable, UnknownDecision
from arbiter.hardware.found import Hardware
from arbiter.house import House
from arbiter.inference import GPU, Limits, Sampling
from arbiter.knowledge.energies import LEAST_ALONE
from arbiter.knowledge.receipt import Receipt
from arbiter.refs import GENERAL
from arbiter.studies.standins import Course, SteppedCounter

CLOCK = SystemClock()


def counted() -> Hardware:
    """A machine whose processor takes 40 W, whatever it does."""
    began = CLOCK.monotonic()
    course = Course(pieces=((0.0, 40.0),))
    counter = SteppedCounter(course=course, clock=lambda: CLOCK.monotonic() - began, update_s=0.001)
    return Hardware(counters=(counter,))


@pytest.fixture(name="house")
async def fixture_house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(settings(tmp_path / "data"), hardware=counted()) as house:
        await house.add(MODELS / "sparrow.gguf", "sparrow")
        yield house


async def asked(house: House) -> str:
    answered = await house.ask(
        "Sentiment: the soup felt wonderful", model="sparrow", sampling=Sampling(max_tokens=8)
    )
    return answered.reply.decided.decision


async def settled(house: House, decision: str) -> Receipt:
    """The receipt, once it is settled; samples are taken here instead of waited for."""
    while not (found := await house.receipt(decision)).is_complete:
        await house.meter.sample()
    return found


async def test_an_answers_receipt_has_its_energy_a_moment_later(house: House) -> None:
    found = await settled(house, await asked(house))
    assert found.cpu_ms.method is Method.MEASURED
    assert found.cpu_ms.value is not None
    for _ in range(5):
        if found.energy_mwh.value is not None:
            break
        # a counter that was read once only says so: the first answer may come before its second
        assert found.energy_mwh.note == "nothing to compare with yet"
        found = await settled(house, await asked(house))
    assert found.energy_mwh.value is not None
    assert found.energy_mwh.error_pct is not None
    assert found.energy_by.keys() == {"cpu"}
    assert found.tokens_out.method is Method.ENGINE
    assert found.peak_bytes.value is None  # it was over before two samples were taken


async def test_a_receipt_outlives_the_house(tmp_path: Path) -> None:
    async with open_house(settings(tmp_path / "data"), hardware=counted()) as house:
        await house.add(MODELS / "sparrow.gguf", "sparrow")
        decision = await asked(house)
        before = await settled(house, decision)
    async with open_house(settings(tmp_path / "data"), hardware=Hardware()) as house:
        after = await house.receipt(decision)
    assert after.energy_mwh == before.energy_mwh
    assert after.cpu_ms.value == before.cpu_ms.value
    assert after.load_ms.value == before.load_ms.value


async def test_a_house_that_closes_keeps_what_is_not_settled_yet(tmp_path: Path) -> None:
    async with open_house(settings(tmp_path / "data"), hardware=counted()) as house:
        await house.add(MODELS / "sparrow.gguf", "sparrow")
        decision = await asked(house)
    async with open_house(settings(tmp_path / "data"), hardware=Hardware()) as house:
        assert (await house.receipt(decision)).is_complete


async def test_a_receipt_of_nobodys_decision_is_unknown(house: House) -> None:
    with pytest.raises(UnknownDecision):
        await house.receipt("dec_01jzzzzzzzzzzzzzzzzzzzzzzz")


async def test_the_control_api_tells_receipts_costs_and_the_machine(house: House) -> None:
    decision = await asked(house)
    await settled(house, decision)
    async with house.door() as address, aiohttp.ClientSession() as session:

        async def told(path: str) -> dict[str, Any]:
            async with session.get(f"{address.url}/control/v1{path}") as got:
                found: dict[str, Any] = await got.json()
                assert got.status == 200, found
                return found

        receipt = await told(f"/decisions/{decision}/receipt")
        costs = await told("/costs?by=model&days=1")
        machine = await told("/hardware")
        async with session.get(f"{address.url}/control/v1/costs?by=mood") as got:
            assert got.status == 400
    assert receipt["energy_mwh"]["method"] == "measured"
    assert receipt["decision"] == decision
    (group,) = costs["groups"]
    assert (group["name"], group["requests"]) == ("sparrow", 1)
    assert group["energy_mwh"] == pytest.approx(receipt["energy_mwh"]["value"])
    assert costs["energy"]["stepped"]["grown_j"] > 0
    assert [one["source"] for one in machine["counters"]] == ["scripted"]
    assert {one["engine"] for one in machine["engines"]} >= {"llama_cpp", "ollama", "scripted"}


async def test_a_whole_answer_says_in_a_header_what_it_took(house: House) -> None:
    body = {"model": "sparrow", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
    async with house.door() as address, aiohttp.ClientSession() as session:
        url = f"{address.url}/v1/chat/completions"
        async with session.post(url, json=body) as got:
            said = dict(word.split("=") for word in got.headers["x-arbiter-receipt"].split())
    assert said.keys() == {"wall_ms", "wait_ms", "cpu_ms", "cpu", "tokens_in", "tokens_out"}
    assert said["cpu"] == "measured"


async def test_a_client_that_hangs_up_is_counted_too(house: House) -> None:
    async with house.stream("Reverse: lantern", model="sparrow") as reply:
        async for _ in reply.chunks():
            break
    found = await settled(house, reply.decided.decision)
    assert found.status == "cancelled"
    assert found.cpu_ms.value is not None


async def test_what_answers_take_is_known_after_a_restart_and_until_it_is_forgotten(
    tmp_path: Path,
) -> None:
    plain = {"calibration__enabled": False, "selection__energy": 0.5}
    async with open_house(settings(tmp_path / "data", **plain), hardware=counted()) as house:
        await house.add(MODELS / "sparrow.gguf", "sparrow")
        await house.meter.sample()
        for _ in range(LEAST_ALONE + 2):
            decision = await asked(house)
            await settled(house, decision)
        version = house.registry.versions()[0].version
        before = house.costs.energies.get(version, GENERAL)
        assert before is not None
        assert before.is_exclusive
    async with open_house(settings(tmp_path / "data", **plain), hardware=Hardware()) as house:
        after = house.costs.energies.get(version, GENERAL)
        assert after is not None
        assert after.answers >= before.answers
        assert "energy unknown" not in house.select().reason
        await house.carrier.forget(who="test")
        assert house.costs.energies.get(version, GENERAL) is None
        assert "energy unknown" in house.select().reason


async def test_who_needs_an_accelerator_is_told_that_this_host_has_none(tmp_path: Path) -> None:
    device = tmp_path / "sys" / "bus" / "pci" / "devices" / "0000:00:02.0"
    device.mkdir(parents=True)
    (device / "class").write_text("0x020000", encoding="ascii")
    bare = Hardware(sys=tmp_path / "sys")
    async with open_house(settings(tmp_path / "data"), hardware=bare) as house:
        await house.add(MODELS / "sparrow.gguf", "sparrow")
        with pytest.raises(NothingCapable, match="needs an accelerator that this host has not"):
            house.select(limits=Limits(needs=frozenset({GPU})))


# -- the command line


@pytest.fixture(name="used")
def fixture_used(tmp_path: Path) -> tuple[Shell, str]:
    shell = Shell(tmp_path)
    shell.ok("models", "add", shell.model("yea", "yes"))
    shell.ok("models", "add", shell.model("nay", "no"))
    shell.ok("ask", "well?", "--model", "nay")
    return shell, str(shell.json("ask", "well?", "--model", "yea")["decision"])


def test_a_receipt_is_shown_with_methods_and_reasons(used: tuple[Shell, str]) -> None:
    shell, decision = used
    text = shell.ok("costs", "show", decision)
    assert "the engine has no process of its own" in text
    found = shell.json("costs", "show", decision)
    assert found["tokens_out"] == {
        "value": 1, "method": "engine", "error_pct": None, "note": None,
    }  # fmt: skip
    assert "UnknownDecision" not in shell.refused("costs", "show", "dec_nothing")


def test_costs_are_shown_by_what_is_asked_for_and_as_a_page(used: tuple[Shell, str]) -> None:
    shell, _ = used
    page = shell.folder / "costs.html"
    text = shell.ok("costs", "--by", "alias", "--html", str(page))
    assert "nay" in text
    assert "\u2588" in text
    html = page.read_text(encoding="utf-8")
    assert "<rect" in html
    assert "<script" not in html
    found = shell.json("costs", "--by", "task", "--days", "1")
    assert [(one["name"], one["requests"]) for one in found["groups"]] == [("general", 2)]
    assert found["total"]["energy_mwh"] is None
    assert shell.json("costs", "--task", "sum")["groups"] == []
    shell.refused("costs", "--by", "mood")
    shell.refused("costs", "--html", str(shell.folder / "no" / "costs.html"))


def test_without_answers_costs_say_what_to_do(tmp_path: Path) -> None:
    assert "arbiter ask" in Shell(tmp_path).ok("costs")


def test_the_machine_is_shown_with_what_is_not_known(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    text = shell.ok("hardware")
    assert "not known" in text
    found = shell.json("hardware")
    assert found["memory_bytes"] > 0
    assert json.dumps(found["unknown"])


def test_watts_in_the_settings_make_estimates_that_are_marked(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    config = tmp_path / "a.toml"
    config.write_text("[metering]\ncpu_idle_w = 10\ncpu_full_w = 60\n", encoding="utf-8")
    shell.ok("models", "add", str(MODELS / "sparrow.gguf"), "--name", "sparrow")
    asked_ = shell.json("ask", "hi", "--model", "sparrow", "--config", str(config))
    found = shell.json("costs", "show", str(asked_["decision"]))
    energy = found["energy_mwh"]
    if energy["method"] == "unknown":
        assert energy["note"] != NO_COUNTER  # a counter is here, and it was still to move
    else:
        assert energy["method"] in {"estimated", "measured"}
    assert "about" in shell.ok("costs") or energy["method"] != "estimated"
    shell.refused("costs", "--config", str(_wrong(tmp_path)))


def _wrong(folder: Path) -> Path:
    path = folder / "wrong.toml"
    path.write_text("[metering]\ncpu_idle_w = 10\n", encoding="utf-8")
    return path
