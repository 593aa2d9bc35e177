"""The ledger, claims and checked files on the command line."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from tests.story.shell import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A data directory with `yea`, claimed to be trained on something, under `primary`."""
    shell = Shell(tmp_path)
    shell.ok(
        *("models", "add", shell.model("yea", "yes"), "--alias", "primary"),
        *("--trained-on", "reviews", "--trained-on", "tickets", "--base", "a seed"),
        *("--licence", "mit", "--specialization", "moods", "--trainer", "ada"),
        *("--script-commit", "abc123"),
    )
    return shell


def _tamper(shell: Shell, sql: str) -> None:
    connection = apsw.Connection(str(shell.folder / "data" / "arbiter.db"))
    connection.execute(sql)
    connection.close()


def test_the_list_shows_the_newest_first_and_the_head(shell: Shell) -> None:
    found = shell.json("ledger", "list")
    assert [one["kind"] for one in found["entries"]] == [
        "alias.set",
        "provenance.claimed",
        "name.added",
        "version.registered",
    ]
    assert found["head"] == {"seq": 4, "hash": found["entries"][0]["hash"]}
    told = shell.ok("ledger", "list")
    assert "name primary, to " in told
    assert f"head: {found['head']['hash']} (entry 4)" in told


def test_the_list_can_be_of_one_kind_and_short(shell: Shell) -> None:
    found = shell.json("ledger", "list", "--kind", "name", "--limit", "1")
    assert [one["body"]["name"] for one in found["entries"]] == ["yea"]
    assert "Nothing of that" in shell.ok("ledger", "list", "--kind", "rollout")
    assert "The kinds are alias.set" in shell.refused("ledger", "list", "--kind", "lunch")


def test_a_good_ledger_says_how_many_are_good_and_where_it_ends(shell: Shell) -> None:
    head = shell.json("ledger", "list")["head"]["hash"]
    assert shell.ok("ledger", "verify") == f"4 entries are good\nhead: {head}\n"
    assert shell.json("ledger", "verify", "--head", head) == {"good": 4, "head": head, "bad": None}


def test_a_bad_ledger_names_the_first_bad_entry_and_ends_with_1(shell: Shell) -> None:
    _tamper(shell, "UPDATE ledger SET who = 'eve' WHERE seq >= 2")
    told = shell.refused("ledger", "verify")
    assert "1 entry is good" in told
    assert "bad (hash): Entry 2: its hash is not that of what stands in it." in told
    assert '"seq": 2' in shell.refused("ledger", "verify", "--json")


def test_a_ledger_that_was_cut_off_is_told_by_a_head_that_was_written_down(shell: Shell) -> None:
    head = shell.json("ledger", "list")["head"]["hash"]
    _tamper(shell, "DELETE FROM ledger WHERE seq = 4")
    assert "bad (state)" in shell.refused("ledger", "verify")
    assert "bad (head)" in shell.refused("ledger", "verify", "--head", head)
    assert "64 hexadecimal digits" in shell.refused("ledger", "verify", "--head", "latest")


def test_a_body_that_is_no_json_is_shown_as_the_text_it_is(shell: Shell) -> None:
    _tamper(shell, "UPDATE ledger SET body = '{lies' WHERE seq = 4")
    assert "{lies" in shell.ok("ledger", "list")
    assert "bad (not canonical): Entry 4" in shell.refused("ledger", "verify")


def test_claims_are_shown_as_somebodys_word(shell: Shell) -> None:
    told = shell.ok("models", "show", "yea")
    assert "claimed by operator" in told
    assert "  trained_on = reviews, tickets\n" in told
    assert "read from" not in told
    (claimed,) = shell.json("models", "show", "yea")["provenance"]["claimed"]
    assert claimed["claim"] == {
        "trained_on": ["reviews", "tickets"],
        "base": "a seed",
        "licence": "mit",
        "specializations": ["moods"],
        "trainer": "ada",
        "script_commit": "abc123",
    }


def test_a_base_that_is_registered_is_kept_as_the_version_it_is_now(shell: Shell) -> None:
    shell.ok("models", "add", shell.model("nay", "no"), "--base", "yea")
    found = shell.json("models", "show", "nay")["provenance"]["claimed"][0]["claim"]
    assert found == {"base": "yea", "base_version": shell.json("models", "show", "yea")["version"]}


def test_what_a_file_says_is_shown_as_read_from_it(shell: Shell) -> None:
    models = Path(__file__).parents[2] / "src" / "arbiter" / "demo" / "models"
    shell.ok("models", "add", str(models / "sparrow.gguf"))
    assert "read from the file:\n" in shell.ok("models", "show", "sparrow")
    found = shell.json("models", "show", "sparrow")["provenance"]
    assert (found["claimed"], found["read"]["licence"]) == ([], "Apache-2.0")


def test_a_claim_about_a_model_that_is_there_already_is_one_more(shell: Shell) -> None:
    shell.ok("models", "add", str(shell.folder / "yea.json"), "--licence", "gpl-3.0")
    found = shell.json("models", "show", "yea")["provenance"]["claimed"]
    assert [one["claim"]["licence"] for one in found] == ["mit", "gpl-3.0"]


def test_an_empty_claim_is_refused_and_nothing_is_registered(shell: Shell) -> None:
    words = ("models", "add", shell.model("nay", "no"), "--trained-on", " ")
    assert "1 to 1000 letters" in shell.refused(*words)
    assert len(shell.json("models", "list")["models"]) == 1


def test_files_that_are_as_they_were_are_good(shell: Shell) -> None:
    assert "its file is what was registered" in shell.ok("models", "verify")
    (found,) = shell.json("models", "verify", "primary", "yea")["models"]
    assert (found["names"], found["fault"]) == (["primary", "yea"], None)


def test_a_file_that_changed_is_named_and_ends_with_1(shell: Shell) -> None:
    shell.ok("models", "add", shell.model("nay", "no"))
    shell.model("yea", "something else")
    told = shell.refused("models", "verify")
    assert "BAD" in told
    assert "has other content than when it was registered" in told
    assert "nay" in shell.ok("models", "verify", "nay")


def test_a_file_that_is_gone_is_named(shell: Shell) -> None:
    (shell.folder / "yea.json").unlink()
    assert "There is no file" in shell.refused("models", "verify", "yea")


def test_with_no_model_there_is_nothing_to_check(tmp_path: Path) -> None:
    assert "arbiter models add" in Shell(tmp_path).ok("models", "verify")
    assert Shell(tmp_path).ok("ledger", "verify") == "0 entries are good\n"
    assert "Nothing of that" in Shell(tmp_path).ok("ledger", "list")
