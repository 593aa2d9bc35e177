"""The command line as a person uses it, with no house running and with one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from arbiter.cli.main import app


@dataclass
class Shell:
    """Runs commands on one data directory."""

    folder: Path

    def __call__(self, *words: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(
            app, list(words), env={"ARBITER_DATA_DIR": str(self.folder / "data")}, input=stdin
        )

    def ok(self, *words: str) -> str:
        """What a command that goes well prints."""
        result = self(*words)
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    def json(self, *words: str) -> dict[str, Any]:
        """The document that a command prints with ``--json``."""
        found: dict[str, Any] = json.loads(self.ok(*words, "--json"))
        return found

    def refused(self, *words: str) -> str:
        """What a command says that cannot go well."""
        result = self(*words)
        assert result.exit_code in {1, 2}, result.output
        assert "Traceback" not in result.output
        return " ".join(result.output.split())

    def model(self, title: str, reply: str) -> str:
        """A scripted model file."""
        path = self.folder / f"{title}.json"
        script = {"arbiter_script": 1, "name": title, "capabilities": ["chat"], "default": reply}
        path.write_text(json.dumps(script), encoding="utf-8")
        return str(path)

    def cases(self, count: int = 12, expected: object = "yes") -> str:
        """A file of cases."""
        path = self.folder / "cases.jsonl"
        lines = [json.dumps({"prompt": f"case {n}", "expected": expected}) for n in range(count)]
        path.write_text("\n".join(lines), encoding="utf-8")
        return str(path)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def furnished(shell: Shell) -> Shell:
    shell.ok("tasks", "add", "agree", "--cases", shell.cases(), "--grader", "exact")
    shell.ok("models", "add", shell.model("yea", "yes"), "--alias", "primary")
    shell.ok("models", "add", shell.model("nay", "no"), "--predecessor", "yea")
    return shell


def test_an_empty_house_says_what_to_do_next(shell: Shell) -> None:
    assert "arbiter models add" in shell.ok("models", "list")
    assert "arbiter tasks add" in shell.ok("tasks", "list")
    assert "arbiter models add" in shell.ok("alias", "list")
    assert "arbiter rules add" in shell.ok("rules", "list")
    assert "arbiter swap" in shell.ok("rollouts")
    assert "models load when" in shell.ok("models", "ps")
    assert "arbiter models add" in shell.refused("ask", "hello")


def test_a_registered_model_shows_how_it_did_at_the_task(furnished: Shell) -> None:
    assert "1.00" in furnished.ok("models", "show", "yea")
    assert furnished.json("models", "show", "nay")["profiles"]["agree"]["quality"] == 0.0
    listed = furnished.json("models", "list")["models"]
    assert [one["names"] for one in listed] == [["primary", "yea"], ["nay"]]
    assert listed[1]["predecessor"] == listed[0]["version"]
    assert "yea" in furnished.ok("models", "list")
    assert "primary" in furnished.ok("tasks", "show", "agree")
    assert "exact" in furnished.ok("tasks", "list")


def test_a_model_shows_how_its_times_are_spread(furnished: Shell) -> None:
    furnished.ok("ask", "is it so?", "--model", "yea")
    shown = furnished.ok("models", "show", "yea")
    assert "first token p50" in shown
    assert "all together" in shown
    found = furnished.json("models", "show", "yea")
    latency = found["profiles"]["agree"]["speed"]["latency_ms"]
    assert latency["samples"] > 0
    assert 0.0 < latency["p50"] <= latency["p90"]
    assert found["speed"]["latency_ms"]["samples"] == latency["samples"] + 1
    assert "latency p50" in furnished.ok("tasks", "show", "agree")
    assert "latency p50" in furnished.ok("tasks", "show", "general")


def test_an_answer_says_who_gave_it_and_why_tells_the_rest(furnished: Shell) -> None:
    found = furnished.json("ask", "is it so?", "--task", "agree")
    assert (found["answer"], found["alias"]) == ("yes", "primary")
    told = furnished.ok("why", found["decision"])
    assert "primary is worth" in told
    assert "outcome: success" in told
    assert furnished.ok("feedback", found["decision"], "good") == "stored\n"
    assert furnished.ok("feedback", found["decision"], "1.0") == "known already\n"
    assert "feedback from person: 1.00" in furnished.ok("why", found["decision"])
    assert furnished.json("why", found["decision"])["feedback"][0]["score"] == 1.0


def test_a_question_may_come_from_stdin_with_every_option(furnished: Shell) -> None:
    result = furnished(
        *("ask", "-", "--model", "nay", "--system", "be brief", "--max-tokens", "5"),
        *("--temperature", "0", "--seed", "1", "--needs", "chat", "--max-latency-ms", "9000"),
        stdin="what?",
    )
    assert result.exit_code == 0
    assert result.stdout.strip() == "no"


def test_select_shows_everybody_and_why_they_were_dropped(furnished: Shell) -> None:
    assert "primary: primary is worth" in furnished.ok("select", "agree")
    told = furnished.ok("select", "agree", "--threshold", "0.5")
    assert "below the threshold 0.50" in told
    found = furnished.json("select", "agree", "--needs", "chat")
    assert [one["name"] for one in found["scores"]] == ["primary", "nay"]


def test_a_rule_wins_and_can_be_taken_back(furnished: Shell) -> None:
    furnished.ok("rules", "add", "--task", "agree", "--prefer", "nay", "--why", "contrary")
    assert "contrary" in furnished.ok("rules", "list")
    assert furnished.json("select", "agree")["pick"] == "nay"
    assert "Remove it first" in furnished.refused("models", "remove", "nay")
    assert "Remove it first" in furnished.refused("tasks", "remove", "agree")
    furnished.ok("rules", "remove", "agree")
    assert furnished.json("rules", "list")["rules"] == []
    furnished.ok("models", "remove", "nay")
    furnished.ok("tasks", "remove", "agree")
    assert furnished.json("tasks", "list")["tasks"] == []


def test_rules_say_whom_to_take_alone_and_whom_never_to_take(furnished: Shell) -> None:
    told = furnished.ok("rules", "add", "--never", "yea", "--why", "too kind")
    assert told == "every task goes never to yea\n"
    dropped = furnished.json("select", "agree")["dropped"]
    assert [one["reason"] for one in dropped] == ["rule for all tasks: never yea (too kind)"]
    told = furnished.ok("rules", "add", "--task", "agree", "--only", "primary", "--never", "nay")
    assert told == "agree goes to primary or to nobody, and never to nay\n"
    # yea is banned for all tasks, and is what primary points at
    assert "which cannot: rule for all tasks: never yea" in furnished.refused("select", "agree")
    told = furnished.ok("rules", "add", "--prefer", "primary")
    assert told.endswith("before: every task goes never to yea\n")
    assert furnished.json("select", "agree")["reason"] == "rule: only primary answers agree"
    assert "nay" in furnished.ok("rules", "list")
    assert "names nay" in furnished.refused("models", "remove", "nay")
    every = furnished.json("rules", "list")["rules"]
    assert [(one["task"], one["prefer"], one["only"], one["never"]) for one in every] == [
        ("agree", None, "primary", ["nay"]),
        ("general", "primary", None, []),
    ]
    for words, why in (
        ((), "names nobody"),
        (("--prefer", "nay", "--only", "yea"), "not both"),
        (("--never", "ghost"), "No model or alias"),
        (("--only", "nay", "--never", "nay"), "Name it once"),
    ):
        assert why in furnished.refused("rules", "add", *words)


def test_a_finer_kind_of_a_task_takes_after_its_parent(furnished: Shell) -> None:
    furnished.ok("tasks", "add", "agree.now", "--parent", "agree", "--threshold", "0.9")
    told = furnished.ok("tasks", "show", "agree.now")
    assert "a finer kind of agree, and from there: grader exact\n" in told
    assert furnished.ok("tasks", "list").count("exact") == 2
    _, fine = furnished.json("tasks", "list")["tasks"]
    assert (fine["parent"], fine["grader"], fine["threshold"]) == ("agree", None, 0.9)
    assert fine["in_force"]["grader"]["kind"] == "exact"
    furnished.ok("tasks", "add", "agree.odd", "--parent", "agree")
    refused = furnished.refused("tasks", "remove", "agree")
    assert "the parent of agree.now, agree.odd. Remove those first" in refused
    for wrong, why in (("agree.now", "its own parent"), ("mood", "arbiter tasks add mood")):
        assert why in furnished.refused("tasks", "add", "agree.now", "--parent", wrong)


def test_an_alias_moves_and_remembers_where_it_pointed(furnished: Shell) -> None:
    assert "nay" in furnished.ok("alias", "set", "fast", "nay")
    assert "yea" in furnished.ok("alias", "set", "fast", "yea")
    assert len(furnished.json("alias", "history", "fast")["moves"]) == 2
    assert "set by hand" in furnished.ok("alias", "history", "fast")
    assert "fast" in furnished.ok("alias", "list")


def test_a_swap_to_a_worse_model_is_blocked_before_traffic(furnished: Shell) -> None:
    told = furnished.ok("swap", "primary", "nay", "--soak", "1s", "--steps", "10,50")
    assert "blocked" in told
    assert "agree: 0.00 against 1.00" in told
    listed = furnished.json("rollouts")["rollouts"]
    assert listed[0]["phase"] == "blocked"
    assert "blocked" in furnished.ok("rollouts")
    assert "blocked" in furnished.ok("rollouts", "show", listed[0]["rollout"], "--watch")
    assert "blocked" in furnished.refused("rollouts", "abort", listed[0]["rollout"])


def test_a_check_shows_what_validation_says_and_starts_nothing(furnished: Shell) -> None:
    told = furnished("swap", "primary", "nay", "--check").output
    assert "primary to nay: block" in told
    assert "block     agree: 0.00 against 1.00" in told
    assert "No traffic would reach it." in told
    assert "at most 5% are blocked" in told
    furnished.ok("models", "add", furnished.model("aye", "yes "), "--no-calibrate")
    assert "It would start at 5% of conversations." in furnished.ok(
        "swap", "primary", "aye", "--check"
    )
    found = furnished.json("swap", "primary", "aye", "--check", "--steps", "8,50")
    assert (found["advice"], found["starts_at"]) == ("unproven", 0.05)
    assert [one["about"] for one in found["findings"]] == [
        "context",
        "capabilities",
        "memory",
        "quality",
    ]
    assert furnished.json("rollouts")["rollouts"] == []


def test_kept_apart_recorded_cases_alone_decide(furnished: Shell) -> None:
    furnished.ok("models", "add", furnished.model("aye", "yes "), "--no-calibrate")
    told = furnished.ok("swap", "primary", "aye", "--apart", "replay")
    assert "Recorded cases alone were to decide, and they do not." in told
    assert "blocked" in told


def test_in_turns_it_is_told_in_windows_and_how_long_that_takes(furnished: Shell) -> None:
    furnished.ok("models", "add", furnished.model("aye", "yes "), "--no-calibrate")
    told = furnished.ok("swap", "primary", "aye", "--apart", "slices", "--slice", "30m")
    assert "Window 0 is one of the " in told
    assert "half of the verdicts take more than 330 windows (165 h) if it is as good" in told
    rollout = furnished.json("rollouts")["rollouts"][0]["rollout"]
    plan = furnished.json("rollouts", "show", rollout)["plan"]
    assert (plan["apart"], plan["slice_s"], plan["steps"]) == ("slices", 1800.0, [0.25, 0.5])
    assert "windows of 30 min" in furnished.ok("rollouts", "show", rollout, "--explain")
    furnished.ok("rollouts", "abort", rollout)
    again = furnished.json("rollouts", "retry", rollout)
    assert (again["continues"], again["phase"]) == (rollout, "progressing")
    assert "As recorded" in furnished.ok("rollouts", "verify", again["rollout"])


def test_a_swap_can_be_paused_promoted_and_undone(furnished: Shell) -> None:
    furnished.ok("models", "add", furnished.model("aye", "yes "), "--no-calibrate")
    result = furnished(
        "swap", "primary", "aye", "--min-units", "5", "--margin", "0.1", "--shadow", "0",
        "--why", "it knows more",
    )  # fmt: skip
    assert "arbiter up" in result.output
    rollout = furnished.json("rollouts")["rollouts"][0]["rollout"]
    assert f"{rollout}: primary from" in result.output
    assert "progressing, 5% of conversations" in furnished.ok("rollouts", "show", rollout)
    begun = furnished.ok("rollouts", "show", rollout, "--explain")
    assert "validating on stored cases: it knows more" in begun
    assert "paused" in furnished.ok("rollouts", "pause", rollout, "--why", "<script>")
    assert "progressing" in furnished.ok("rollouts", "resume", rollout)
    assert "stepped by operator: now" in furnished.ok("rollouts", "step", rollout, "--why", "now")
    assert furnished.json("rollouts", "step", rollout)["step"] == 2
    furnished.ok("rollouts", "abort", rollout, "--why", "not yet")
    again = furnished.json("rollouts", "retry", rollout)
    assert again["continues"] == rollout
    first, rollout = rollout, again["rollout"]
    assert again["phase"] == "progressing"
    assert "dry_run   reliability" in furnished.ok("rollouts", "show", rollout)
    assert furnished.json("rollouts", "promote", rollout)["phase"] == "promoted"
    assert "As recorded: 7 entries" in furnished.ok("rollouts", "verify", first)
    assert furnished.json("rollouts", "verify", rollout)["as_recorded"] is True
    out = furnished.folder / "report.html"
    assert "is written" in furnished.ok("rollouts", "report", first, "--out", str(out))
    assert "<td>paused by operator: &lt;script&gt;</td>" in out.read_text(encoding="utf-8")
    gone = furnished.folder / "nowhere" / "report.html"
    assert "cannot be written" in furnished.refused("rollouts", "report", first, "--out", str(gone))
    told = furnished.ok("rollouts", "show", first, "--explain")
    assert "paused, 5%, by operator, after 0 graded" in told
    assert "The plan" in told
    explained = furnished.json("rollouts", "show", first, "--explain")["explained"]
    assert "paused by operator: <script>" in " ".join(explained["happened"])
    until = furnished.json("models", "show", "yea")["kept_until"]
    assert f"retired, kept until {until[:10]}" in furnished.ok("models", "list")
    assert f"kept_until      {until[:10]}" in furnished.ok("models", "show", "yea")
    assert f"yea is kept until {until[:10]}" in furnished.ok("rollouts", "show", rollout)
    assert "  It is promoted.\n" in furnished.ok("rollouts", "show", rollout, "--explain")
    told = furnished.ok("rollouts", "show", rollout)
    assert "promoted, 100% of conversations" in told  # nobody is held back: it is not in memory
    assert " promoted by operator" in told
    explained = furnished.json("rollouts", "show", rollout, "--explain")["explained"]
    assert ": promoted, by operator, after" in " ".join(explained["happened"])
    listed = furnished.json("rollouts")["rollouts"]
    assert (listed[0]["phase"], listed[0]["holdback"]) == ("promoted", 0.05)
    assert "95% or more" in " ".join(furnished.ok("rollouts").split())
    undone = furnished("swap", "primary", "--undo").output
    assert "is yea again" in undone
    assert "it is loaded when it is first asked" in undone
    assert furnished.json("rollouts", "show", rollout)["kept_until"] is None
    assert "nothing to undo" in furnished.refused("swap", "primary", "--undo")


def test_a_share_may_be_written_as_one_or_in_percent(furnished: Shell) -> None:
    furnished.ok("models", "add", furnished.model("aye", "yes "), "--no-calibrate")
    furnished(
        "swap", "primary", "aye", "--steps", "10%,25,50%", "--holdback", "7%", "--judge", "30%",
        "--shadow", ".4", "--margin", "8%",
    )  # fmt: skip
    rollout = furnished.json("rollouts")["rollouts"][0]["rollout"]
    plan = furnished.json("rollouts", "show", rollout)["plan"]
    assert plan["steps"] == [0.1, 0.25, 0.5]
    assert [plan[one] for one in ("holdback", "judge_share", "shadow", "margin")] == [
        0.07, 0.3, 0.4, 0.08,
    ]  # fmt: skip
    for words, about in (
        (("--judge", "5"), "--judge is a share from 0 to 1, not 5. Write 5% or 0.05."),
        (("--holdback", ".5"), "may be a share or a percentage. Write 50% or 0.5%."),
        (("--steps", "10,.5"), "--steps .5 may be a share or a percentage."),
        (("--shadow", "half"), "is no share. Write it as 5% or 50%."),
        (("--margin", "-1"), "is no share."),
    ):
        refused = " ".join(furnished.refused("swap", "primary", "aye", *words).split())
        assert about in refused


def test_a_promotion_says_for_how_long_it_is_watched_and_how_the_alarms_stand(
    furnished: Shell,
) -> None:
    furnished.ok("models", "add", furnished.model("aye", "yes "), "--no-calibrate")
    furnished("swap", "primary", "aye", "--margin", "0.1", "--holdback", "10")
    rollout = furnished.json("rollouts")["rollouts"][0]["rollout"]
    furnished.ok("rollouts", "promote", rollout)
    found = furnished.json("rollouts", "show", rollout)
    assert found["plan"]["holdback"] == 0.1
    watch = found["watch"]
    assert (watch["state"], watch["held_back"], watch["alarms"]) == ("quiet", False, [])
    for words in (("show", rollout), ("show", rollout, "--explain")):
        told = furnished.ok("rollouts", *words)
        assert "more of an open house" in told
        assert "nobody is held back now: the old version is not in memory" in told
        assert "Too little was graded before the promotion" in told
    furnished("swap", "primary", "--undo", "--why", "taste")
    assert "undone by operator: taste" in furnished.ok("rollouts", "show", rollout)
    watch = furnished.json("rollouts", "show", rollout)["watch"]
    assert watch["why"] == "undone by operator: taste"
    assert furnished.json("rollouts", "verify", rollout)["as_recorded"] is True


def test_a_task_takes_options_files_and_weights(shell: Shell) -> None:
    schema = shell.folder / "schema.json"
    schema.write_text('{"type": "object"}', encoding="utf-8")
    shell.ok(
        *("tasks", "add", "json", "--grader", "json-schema"),
        *("--grader-option", f"schema=@{schema}", "--weights", "quality=1,latency=0"),
        *("--needs", "chat,completion", "--max-memory-mb", "500", "--max-latency-ms", "900"),
    )
    (found,) = shell.json("tasks", "list")["tasks"]
    assert found["grader"] == {"kind": "json-schema", "options": {"schema": {"type": "object"}}}
    assert found["needs"] == ["chat", "completion"]
    assert found["weights"]["quality"] == 1.0


def test_graded_cases_in_idle_time_are_shown_with_what_is_left(furnished: Shell) -> None:
    furnished.ok("models", "add", furnished.model("aye", "yes "), "--no-calibrate")
    shown = furnished.json("models", "calibration")
    (aye,) = [one for one in shown["entries"] if one["model"] == "aye"]
    assert (aye["done"], aye["left"], aye["stage"]) == (0, shown["left"], "first")
    assert "it goes on while a house is up" in furnished.ok("models", "calibration")


def test_kept_requests_are_counted_harvested_and_forgotten(furnished: Shell) -> None:
    config = furnished.folder / "keep.toml"
    config.write_text("[privacy]\nstore_prompts = true\n", encoding="utf-8")
    keep = ("--config", str(config))
    assert "requests are not kept" in furnished.ok("prompts", "list")
    assert "store_prompts = true" in furnished.refused("tasks", "harvest", "agree")
    asked = furnished.json("ask", "is it so?", "--model", "yea", "--task", "agree", *keep)
    furnished.ok("feedback", asked["decision"], "good")
    assert "requests of tasks are kept" in furnished.ok("prompts", "list", *keep)
    told = furnished.ok("tasks", "harvest", "agree", "--dry-run")
    assert "is it so?" in told
    assert "nothing was changed" in told
    assert "its digest changes" in furnished.ok("tasks", "harvest", "agree")
    assert "1 left out: a case with this prompt" in furnished.ok("tasks", "harvest", "agree")
    assert "1 requests are forgotten" in furnished.ok("prompts", "forget", "--task", "agree")
    assert furnished.json("prompts", "list")["tasks"] == []


def test_a_choice_has_the_labels_that_its_cases_expect(shell: Shell) -> None:
    path = Path(shell.cases())
    more = [json.dumps({"prompt": f"other {n}", "expected": "no"}) for n in range(3)]
    path.write_text(path.read_text(encoding="utf-8") + "\n" + "\n".join(more), encoding="utf-8")
    shell.ok("tasks", "add", "pick", "--cases", str(path), "--grader", "choice")
    (found,) = shell.json("tasks", "list")["tasks"]
    assert found["grader"]["options"] == {"labels": ["no", "yes"]}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("models", "add", "nowhere.gguf"), "There is no file"),
        (("models", "add", "nowhere.gguf", "--chat-template", "gone"), "gone cannot be read"),
        (("models", "show", "ghost"), "Known: nay, primary, yea"),
        (("models", "remove", "ghost"), "No model or alias is called"),
        (("ask", "hi", "--model", "ghost"), "Known: nay, primary, yea"),
        (("ask", "hi", "--task", "ghost"), "Known tasks: agree"),
        (("why", "dec_nothing"), "No decision has this id"),
        (("feedback", "dec_nothing", "lovely"), "Say good, bad, or a number"),
        (("feedback", "dec_nothing", "7"), "from 0 (bad) to 1 (good)"),
        (("tasks", "add", "new", "--cases", "gone.jsonl"), "gone.jsonl cannot be read"),
        (("tasks", "add", "new", "--grader", "vibes"), "The graders are exact"),
        (("tasks", "add", "new", "--grader", "exact", "--grader-option", "x"), "NAME=VALUE"),
        (("tasks", "remove", "ghost"), "No task is called"),
        (("rules", "add", "--task", "agree", "--prefer", "ghost"), "No model or alias"),
        (("rules", "remove", "agree"), "No rule stands"),
        (("swap", "primary"), "arbiter swap ALIAS MODEL"),
        (("swap", "primary", "yea"), "already"),
        (("swap", "primary", "yea", "--check"), "already"),
        (("swap", "primary", "nay", "--apart", "maybe"), "replay"),
        (("swap", "primary", "nay", "--slice", "30m"), "apart is slices"),
        (("swap", "primary", "nay", "--apart", "slices", "--shadow", "0.2"), "In time slices"),
        (("swap", "primary", "nay", "--soak", "soon"), "Write it as 30s"),
        (("swap", "primary", "nay", "--steps", "few"), "Write percents"),
        (("swap", "primary", "nay", "--steps", "60,90"), "does not hold"),
        (("rollouts", "show", "rol_nothing"), "No rollout is called"),
        (("rollouts", "verify", "rol_nothing"), "No rollout is called"),
        (("alias", "set", "auto", "yea"), "reserved"),
        (("up", "--port", "99999"), "door.port"),
        (("up", "--host", "0.0.0.0"), "there is no key"),
        (("up", "--config", "gone.toml"), "cannot be read"),
        (("frobnicate",), "No such command"),
    ],
)
def test_a_mistake_gets_a_sentence_and_changes_nothing(
    furnished: Shell, words: tuple[str, ...], told: str
) -> None:
    before = furnished.json("status")["knowledge"]
    assert told in furnished.refused(*words)
    assert furnished.json("status")["knowledge"] == before


def test_small_things(shell: Shell) -> None:
    assert shell.ok("--version").strip() == "0.1.0"
    assert "No key was made" in shell.ok("keys")
    assert "ak_" in shell.ok("keys", "add", "laptop")
    made = shell.json("keys", "add", "critic", "--scope", "feedback")
    assert made["key"].startswith("ak_")
    assert "laptop" in shell.ok("keys")
    assert "critic is revoked" in shell.ok("keys", "revoke", made["id"])
    assert "No key that is good" in shell.refused("keys", "revoke", made["id"])
    assert "The scopes are" in shell.refused("keys", "add", "x", "--scope", "root")
    assert "opened for this command" in shell.ok("status")


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


def test_models_of_a_llama_swap_configuration_come_under_their_names(shell: Shell) -> None:
    model = shell.model("yea", "yes")
    text = f"""
models:
  tiny: {{cmd: 'llama-server -m {model} --jinja', aliases: [small]}}
  gone: {{cmd: 'llama-server -m nowhere.gguf'}}
  cloud: {{cmd: 'llama-server -hf a/b'}}
"""
    file = shell.folder / "swap.yaml"
    file.write_text(text, encoding="utf-8")
    would = shell.json("import", str(file), "--dry-run")["models"]
    assert [one["state"] for one in would] == ["found", "found", "skipped"]
    assert would[0]["left"] == ["jinja"]
    assert shell.json("models", "list")["models"] == []
    told = shell("import", str(file), "--no-calibrate")
    assert told.exit_code == 1
    assert "registered: tiny (small)" in told.output
    assert "failed: gone" in told.output
    assert "not taken: jinja" in told.output
    assert shell.json("models", "show", "small")["names"] == ["small", "tiny"]
    assert "known here" in shell.refused("import", str(model))


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
