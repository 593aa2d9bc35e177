"""The command line as a person uses it, with no house running and with one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.story.shell import Shell


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


def test_what_is_not_named_of_a_task_stays_as_it_was(furnished: Shell) -> None:
    before = furnished.json("tasks", "show", "agree")
    told = furnished.ok("tasks", "add", "agree", "--threshold", "0.5", "--needs", "chat")
    assert told.endswith("  as before: cases, grader (--anew keeps nothing)\n")
    told = furnished.ok("tasks", "add", "agree", "--weights", "quality=2")
    assert "as before: needs, threshold, cases, grader" in told
    after = furnished.json("tasks", "show", "agree")
    assert after["case_list"] == before["case_list"] != []
    assert (after["grader"], after["threshold"]) == (before["grader"], 0.5)
    assert (after["needs"], after["weights"]["quality"]) == (["chat"], 2.0)
    assert after["profiles"] == before["profiles"], "no case is run again"
    told = furnished.ok("tasks", "add", "agree", "--grader", "contains")
    assert "still count; to forget them: arbiter knowledge reset --task agree" in told
    assert furnished.ok("tasks", "add", "agree", "--anew") == "task agree: 0 cases\n"
    assert furnished.json("tasks", "show", "agree")["threshold"] is None


def test_options_of_no_grader_are_refused(shell: Shell) -> None:
    refused = shell.refused("tasks", "add", "new", "--grader-option", "tolerance=0.1")
    assert "--grader-option belongs to a --grader" in refused


def test_an_alias_moves_and_remembers_where_it_pointed(furnished: Shell) -> None:
    assert "nay" in furnished.ok("alias", "set", "fast", "nay")
    assert "yea" in furnished.ok("alias", "set", "fast", "yea")
    assert len(furnished.json("alias", "history", "fast")["moves"]) == 2
    assert "set by hand" in furnished.ok("alias", "history", "fast")
    assert "fast" in furnished.ok("alias", "list")


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
        (("swap", "primary", "nay", "--steps", "few"), "is no share. Write it as 5% or 50%."),
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
    assert "tiny has all that it was made for" in told.output
    assert shell.json("models", "show", "small")["names"] == ["small", "tiny"]
    assert "known here" in shell.refused("import", str(model))
