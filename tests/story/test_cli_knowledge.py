"""What was learned, on the command line: taken along, taken in, forgotten, believed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.story.shell import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A data directory with a model, a task that it was run on, a rule and a judgement."""
    shell = Shell(tmp_path)
    shell.ok("models", "add", shell.model("yea", "yes"))
    shell.ok("tasks", "add", "mood", "--cases", shell.cases(), "--grader", "exact")
    shell.ok("rules", "add", "--task", "mood", "--prefer", "yea")
    asked = shell.json("ask", "case 1", "--task", "mood")
    shell.ok("feedback", str(asked["decision"]), "good")
    return shell


@pytest.fixture
def other(tmp_path: Path) -> Shell:
    """Another, empty one."""
    folder = tmp_path / "other"
    folder.mkdir()
    return Shell(folder)


def test_knowledge_goes_from_one_house_to_another(shell: Shell, other: Shell) -> None:
    file = str(shell.folder / "k.jsonl")
    assert shell.ok("knowledge", "export", file) == f"{file}: 18 lines\n"
    assert other.ok("knowledge", "import", file).splitlines() == [
        "new: tasks mood; rules mood; cases run 12; sums of requests 1; judgements 1",
        "here already: 0",
    ]
    ours, theirs = (one.json("knowledge", "digest") for one in (shell, other))
    assert (ours["knowledge"], ours["evidence"]) == (theirs["knowledge"], theirs["evidence"])
    assert ours["house"] != theirs["house"]


def test_an_export_to_standard_output_is_the_file(shell: Shell) -> None:
    lines = shell.ok("knowledge", "export", "-").splitlines()
    assert '"arbiter_knowledge":2' in lines[0]
    assert '"is":"end"' in lines[-1]


def test_an_export_overwrites_nothing(shell: Shell) -> None:
    file = shell.folder / "k.jsonl"
    file.write_text("mine", encoding="utf-8")
    assert "Name a file that is not there yet" in shell.refused("knowledge", "export", str(file))
    assert file.read_text(encoding="utf-8") == "mine"


def test_what_differs_is_told(shell: Shell, other: Shell) -> None:
    file = str(shell.folder / "k.jsonl")
    shell.ok("knowledge", "export", file)
    other.ok("tasks", "add", "mood", "--threshold", "0.5")
    told = other("knowledge", "import", file)
    assert "conflict: task mood is another task here (kept; --prefer theirs" in told.output
    assert "left out, because the task is graded otherwise here: 2" in told.output
    other.ok("knowledge", "import", file, "--prefer", "theirs")
    assert other.json("tasks", "show", "mood")["threshold"] is None


def test_a_file_of_another_kind_is_refused_with_what_to_do(shell: Shell) -> None:
    said = shell.refused("knowledge", "import", shell.cases())
    assert "This is no file of knowledge. arbiter knowledge export FILE writes one." in said


def test_a_reset_says_what_goes_and_asks(shell: Shell) -> None:
    result = shell("knowledge", "reset", stdin="n\n")
    assert result.exit_code == 1
    assert "this goes: 12 cases run, 1 request, 1 judgement" in result.output
    assert shell.json("tasks", "show", "mood")["profiles"]["yea"]["samples"] == 13


def test_a_reset_keeps_a_file_that_brings_it_back(shell: Shell) -> None:
    kept = shell.json("knowledge", "reset", "--task", "mood", "--yes")["kept_in"]
    assert shell.json("tasks", "show", "mood")["profiles"]["yea"]["samples"] == 0
    assert shell.ok("knowledge", "reset") == "there is nothing to forget\n"
    shell.ok("knowledge", "import", kept)
    assert shell.json("tasks", "show", "mood")["profiles"]["yea"]["samples"] == 13


def test_a_reset_of_one_version_can_do_without_a_file(shell: Shell) -> None:
    found = shell.json("knowledge", "reset", "--version", "yea", "--yes", "--no-export")
    assert (found["evidence"]["validations"], found["kept_in"]) == (12, None)
    assert list((shell.folder / "data").glob("*.jsonl")) == []


def test_a_reset_of_what_is_not_there_is_refused(shell: Shell) -> None:
    assert "No model or alias" in shell.refused("knowledge", "reset", "--version", "nay", "--yes")
    refused = shell.refused("knowledge", "reset", "--task", "moood", "--yes")
    assert "No task is called 'moood'. Known tasks: mood." in refused


def test_what_was_learned_of_a_task_that_was_removed_can_still_be_forgotten(shell: Shell) -> None:
    shell.ok("rules", "remove", "mood")
    shell.ok("tasks", "remove", "mood")
    assert shell.json("knowledge", "reset", "--task", "mood", "--yes")["forgotten"]


def test_sources_are_shown_with_their_weight_and_counts(shell: Shell, other: Shell) -> None:
    assert shell.json("knowledge", "sources")["sources"] == [
        {
            "source": "person",
            "caller": "local",
            "weight": 1.0,
            "prior": 1.0,
            "judgements": 1,
            "pairs": 0,
            "agreed": 0,
        }
    ]
    assert "person" in shell.ok("knowledge", "sources")
    assert "Nobody gave feedback yet" in other.ok("knowledge", "sources")
