"""Replays from the command line: no house is needed for those of known rates."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.story.shell import Shell

TABLE = "task,n,ant,bee\nsum,60,0.9,0.5\ncode,30,0.3,0.8\n"
PAIRS = "kind,old,new,task,n,p_old,p_new\nworse,ant,owl,sum,60,0.9,0.6\n"
QUICK = ("--requests", "40", "--seeds", "2")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "pool.csv").write_text(TABLE, encoding="utf-8")
    (tmp_path / "pairs.csv").write_text(PAIRS, encoding="utf-8")
    return Shell(tmp_path)


def file(shell: Shell, name: str) -> str:
    return str(shell.folder / name)


def test_a_replay_tells_its_regret_for_people_and_as_json(shell: Shell) -> None:
    assert "regret" in shell.ok("replay", file(shell, "pool.csv"), *QUICK)
    found = shell.json("replay", file(shell, "pool.csv"), *QUICK, "--strategy", "static")
    assert found["strategy"] == "static"
    assert found["regret"]["mean"] > 0


def test_a_version_is_broken_in_the_midst_of_a_replay(shell: Shell) -> None:
    words = ("replay", file(shell, "pool.csv"), "--break", "ant", "--at", "30", "--seeds", "2")
    assert "share at +500" in shell.ok(*words)
    assert shell.json(*words)["break"] == {"version": "ant", "to": 0.45, "at": 30}


def test_what_says_how_a_version_breaks_is_refused_where_none_does(shell: Shell) -> None:
    pool = file(shell, "pool.csv")
    assert "--break names none" in shell.refused("replay", pool, *QUICK, "--to", "0.3")
    assert "--break names none" in shell.refused("replay", pool, *QUICK, "--at", "30")
    log = shell.folder / "log.jsonl"
    log.write_text('{"task": "sum", "picked": "ant", "score": 1}\n', encoding="utf-8")
    refused = shell.refused("replay", "--log", str(log), "--break", "ant")
    assert "--break breaks a version of a table" in refused


def test_a_swap_is_replayed_for_pairs_of_a_file_and_for_pairs_by_rule(shell: Shell) -> None:
    others = ("--others", file(shell, "pool.csv"))
    shown = shell.ok("replay-swap", file(shell, "pairs.csv"), *others, *QUICK)
    assert "learned - best" in shown
    assert "2 runs" in shown
    found = shell.json("replay-swap", file(shell, "pairs.csv"), *others, *QUICK)
    assert list(found["kinds"]) == ["worse"]
    made = shell.json("replay-swap", file(shell, "pool.csv"), "--old", "bee", *QUICK)
    assert made["kinds"]["equal"]["pairs"][0]["old"] == "bee"


def test_a_replay_of_a_wrong_file_says_which_and_where(shell: Shell) -> None:
    wrong = shell.folder / "wrong.csv"
    wrong.write_text(TABLE.replace("0.8", "8"), encoding="utf-8")
    assert "wrong.csv, line 3: '8' is no success rate" in shell.refused("replay", str(wrong))
    refused = shell.refused("replay-swap", file(shell, "pairs.csv"), "--others", str(wrong))
    assert "wrong.csv, line 3" in refused
    assert "cannot be read" in shell.refused("replay-swap", file(shell, "none.csv"))


def test_a_log_of_decisions_is_replayed_from_a_file(shell: Shell) -> None:
    log = shell.folder / "log.jsonl"
    lines = [
        '{"task": "sum", "picked": "ant", "chances": {"ant": 0.5, "bee": 0.5}, "score": 1}',
        '{"task": "sum", "picked": "bee", "chances": {"ant": 0.5, "bee": 0.5}, "score": 0}',
    ]
    log.write_text("\n".join(lines * 60), encoding="utf-8")
    shown = shell.ok("replay", "--log", str(log), "--strategy", "always:ant")
    assert "120 of 120 decisions" in shown
    found = shell.json("replay", "--log", str(log), "--strategy", "always:ant")
    assert found["estimates"]["self_normalised"]["mean"] == 1.0
    log.write_text(lines[0], encoding="utf-8")
    assert "50 are needed" in shell.refused("replay", "--log", str(log))


def test_a_log_without_the_chances_of_others_is_replayed_with_a_warning(shell: Shell) -> None:
    log = shell.folder / "log.jsonl"
    line = '{"task": "a", "picked": "b", "probability": 0.5, "among": ["b", "c"], "score": 1}\n'
    log.write_text(line * 120 + line.replace("1}", "null}"), encoding="utf-8")
    shown = shell.ok("replay", "--log", str(log), "--strategy", "always:b")
    assert "1 left out: nobody judged the answer" in shown
    assert "does not say whom else" in shown


def test_a_log_is_that_of_a_house_when_a_data_directory_is_named(shell: Shell) -> None:
    shell.ok("status")
    refused = shell.refused("replay", "--log", str(shell.folder / "data"))
    assert "says too little of learned" in refused
    assert "0 could be used" in refused
    assert "cannot be read" in shell.refused("replay", "--log", str(shell.folder))


def test_a_name_with_colons_is_no_picture(shell: Shell) -> None:
    """What was said of always:cat: had a cat in it."""
    log = shell.folder / "log.jsonl"
    line = '{"task": "a", "picked": "b", "chances": {"b": 0.5, "cat": 0.5}, "score": 1}\n'
    log.write_text(line, encoding="utf-8")
    assert "always:cat: it" in shell.refused(
        "replay", "--log", str(log), "--strategy", "always:cat"
    )


def test_a_replay_is_of_a_table_or_of_a_log(shell: Shell) -> None:
    assert "Name a table, or a log" in shell.refused("replay")
    both = ("replay", file(shell, "pool.csv"), "--log", str(shell.folder))
    assert "Name a table, or a log" in shell.refused(*both)
