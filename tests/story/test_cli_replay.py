"""Replays from the command line: no house is needed for those of known rates."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.story.test_cli import Shell

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
    assert "share" in shell.ok(*words)
    assert shell.json(*words)["break"] == {"version": "ant", "to": 0.45, "at": 30}


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
