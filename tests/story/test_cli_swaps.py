"""Swaps on the command line."""

from __future__ import annotations

from tests.story.shell import Shell


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
