"""Commands for a house that runs, and without one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.story.shell import Shell


@pytest.fixture
def running(furnished: Shell) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "arbiter", "up", "--port", "0", "--json", "--data-dir",
         str(furnished.folder / "data")],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        process.terminate()


def test_commands_speak_to_the_house_that_runs(furnished: Shell, running: str) -> None:
    assert furnished.json("status")["running"] is True
    assert "running, pid" in furnished.ok("status")
    assert furnished.json("ask", "well?", "--model", "yea")["answer"] == "yes"
    assert "scripted" in furnished.ok("models", "ps")
    assert "Another Arbiter uses" in furnished.refused("up", "--port", "0")
    port = running.rsplit(":", 1)[1]
    other = Shell(furnished.folder / "other")
    assert port in other.refused("up", "--port", port)


def test_models_are_loaded_pinned_shown_and_unloaded_in_the_house_that_runs(
    furnished: Shell, running: str
) -> None:
    assert running
    loaded = furnished.json("models", "load", "yea")
    assert (loaded["state"], loaded["names"]) == ("ready", ["primary", "yea"])
    assert "yea is loaded" in furnished.ok("models", "load", "yea")
    assert "is pinned until" in furnished.ok("models", "pin", "yea", "--for", "8h")
    assert "is pinned for good" in furnished.ok("models", "pin", "yea")
    shown = furnished.json("models", "ps")
    assert [(one["names"], one["is_pinned"]) for one in shown["instances"]] == [
        (["primary", "yea"], True)
    ]
    assert shown["pins"] == [{"name": "yea", "until": None}]
    assert "for good" in furnished.ok("models", "ps")
    assert "models may have" in furnished.ok("models", "ps")
    assert "arbiter models unpin yea" in furnished.refused("models", "unload", "yea")
    assert "is pinned no more" in furnished.ok("models", "unpin", "yea")
    assert "was not pinned" in furnished.ok("models", "unpin", "yea")
    assert furnished.json("models", "unload", "yea", "--now")["unloaded"] is True
    assert "was not loaded" in furnished.ok("models", "unload", "yea")


def test_a_model_is_loaded_twice_and_one_of_the_two_leaves_alone(
    furnished: Shell, running: str
) -> None:
    assert running
    assert "yea is loaded 2 times" in furnished.ok("models", "load", "yea", "--instances", "2")
    assert "instance 2 of up to 2" in furnished.ok("models", "ps")
    assert furnished.json("models", "unload", "yea", "--number", "2")["unloaded"] is True
    states = [one["state"] for one in furnished.json("models", "ps")["instances"]]
    assert states == ["ready", "cold"]
    furnished.ok("models", "unload", "yea")
    assert [one["most"] for one in furnished.json("models", "ps")["instances"]] == [1]


def test_a_pin_holds_one_of_several_instances_and_what_is_unloaded_is_told_by_its_number(
    furnished: Shell, running: str
) -> None:
    assert running
    furnished.ok("models", "load", "yea", "--instances", "2")
    furnished.ok("models", "pin", "yea", "--until", "2099-01-01T18:00")
    assert "pinned until 2099-01-01 18:00" in furnished.ok("models", "ps")  # as it was written
    shown = furnished.json("models", "ps")["instances"]
    assert [one["is_pinned"] for one in shown] == [True, False]
    assert "instance 2 of yea is unloaded" in furnished.ok(
        "models", "unload", "yea", "--number", "2"
    )
    assert "instance 2 of yea was not loaded" in furnished.ok(
        "models", "unload", "yea", "--number", "2"
    )
    assert "yea is pinned" in furnished.refused("models", "unload", "yea", "--number", "1")


def test_a_house_that_runs_reads_its_settings_again(furnished: Shell, running: str) -> None:
    assert running
    assert "read again: nothing changed" in furnished.ok("reload")
    assert furnished.json("reload")["applied"] == []


def test_without_a_house_that_runs_there_is_nothing_to_read_again(shell: Shell) -> None:
    assert "No house is running" in shell.refused("reload")


def test_without_a_house_that_runs_nothing_is_loaded_and_a_pin_is_kept_for_later(
    furnished: Shell,
) -> None:
    assert "arbiter up" in furnished.refused("models", "load", "yea")
    assert "arbiter up" in furnished.refused("models", "unload", "yea")
    pinned = furnished.json("models", "pin", "yea", "--until", "2099-01-01T00:00:00+00:00")
    assert pinned["pin"] == {"name": "yea", "until": "2099-01-01T00:00:00+00:00"}
    assert "has passed" in furnished.refused("models", "pin", "yea", "--until", "2020-01-01")
    assert "is not a duration" in furnished.refused("models", "pin", "yea", "--for", "soon")
    assert "is no date" in furnished.refused("models", "pin", "yea", "--until", "soon")
    assert "both say" in furnished.refused(
        "models", "pin", "yea", "--until", "2099-01-01", "--for", "8h"
    )
    assert "Known: " in furnished.refused("models", "pin", "heron")
