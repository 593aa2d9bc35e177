"""`arbiter rollout-simulate` as a person uses it: no house, no model."""

from __future__ import annotations

import json

from typer.testing import CliRunner, Result

from arbiter.cli.main import app


def shell(*words: str) -> Result:
    return CliRunner().invoke(app, ["rollout-simulate", *words])


def test_the_document_has_three_rates_a_median_and_the_bad_answers() -> None:
    said = shell("--p-old", ".9", "--p-new", ".3", "--runs", "4", "--requests", "400", "--json")
    assert said.exit_code == 0
    found = json.loads(said.stdout)
    assert list(found) == ["rollback", "promote", "inconclusive", "median_units", "bad_answers"]
    assert found["rollback"] + found["promote"] + found["inconclusive"] == 1.0
    assert found["rollback"] == 1.0


def test_people_read_a_dash_where_nothing_is_known() -> None:
    said = shell("--p-old", ".8", "--p-new", ".8", "--runs", "2", "--requests", "30")
    assert said.exit_code == 0
    assert "inconclusive  1.000 of runs" in said.stdout
    assert "median units  -" in said.stdout
    assert "bad answers   -" in said.stdout


def test_drift_tasks_and_conversations_are_understood() -> None:
    said = shell(
        "--p-old", ".8", "--p-new", ".8", "--runs", "2", "--requests", "60", "--drift", ".9:.7",
        "--tasks", "3", "--unit", "4", "--per-hour", "100", "--schedule", "proved", "--json",
    )  # fmt: skip
    assert json.loads(said.stdout)["inconclusive"] == 1.0


def test_a_share_of_pairs_is_simulated_and_counted() -> None:
    words = ("--p-old", ".9", "--p-new", ".3", "--runs", "4", "--requests", "400", "--shadow", ".5")
    found = json.loads(shell(*words, "--json").stdout)
    assert list(found)[-1] == "median_pairs"
    assert 0 < found["median_pairs"] < found["median_units"]
    said = shell(*words, "--correlation", "0")
    assert "median pairs  " in said.stdout


def test_what_cannot_be_run_is_a_sentence() -> None:
    for words, about in (
        (("--p-old", ".8", "--p-new", ".8", "--drift", ".9-.7"), "Give it as .9:.7."),
        (("--p-old", ".8", "--p-new", ".8", "--drift", "a:b"), "Give it as .9:.7."),
        (
            ("--p-old", ".8", "--p-new", ".8", "--shadow", "2"),
            "--shadow is a share from 0 to 1, not 2. Write 2% or 0.02.",
        ),
        (("--p-old", "8", "--p-new", ".8"), "--p-old is from 0 to 1."),
        (("--p-old", ".8", "--p-new", ".8", "--slice", "9m", "--tasks", "3"), "Leave them out."),
        (("--p-old", ".8", "--p-new", ".8", "--slice", "9m", "--shadow", ".2"), "Leave them out."),
        (("--p-old", ".8", "--p-new", ".8", "--schedule", "hope"), "Schedules are proved, clock."),
    ):
        said = shell(*words)
        assert said.exit_code in {1, 2}
        assert about in " ".join(said.output.split())
        assert "Traceback" not in said.output


def test_where_both_take_turns_a_window_is_the_unit() -> None:
    said = shell(
        "--p-old", ".9", "--p-new", ".2", "--runs", "3", "--requests", "2400", "--per-hour", "40",
        "--slice", "15m",
    )  # fmt: skip
    assert said.exit_code == 0
    assert "rollback      1.000 of runs" in said.stdout
    assert "median windows  " in said.stdout
    assert shell("--p-old", ".9", "--p-new", ".9", "--slice", "soon").exit_code != 0
