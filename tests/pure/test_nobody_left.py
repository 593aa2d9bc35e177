"""What is said when nobody can serve: why each cannot, and what to do."""

from __future__ import annotations

import pytest

from arbiter.errors import NothingCapable, NothingThere
from arbiter.inference import Dropped
from arbiter.knowledge.rules import Rule
from arbiter.knowledge.tasks import Task
from arbiter.refs import ModelName, TaskName, VersionId
from arbiter.selection.contender import RETRY_AFTER_S, Preference
from arbiter.selection.ruled import nobody_left, not_followed, ruled_reason

SUMS = Task(name=TaskName("sums"))
FAST, GOOD = ModelName("fast"), ModelName("good")
ONLY_FAST = Rule(task=SUMS.name, only=FAST)
CHANGE = "change the rule: arbiter rules remove sums."


def dropped(name: ModelName, reason: str, *, is_absent: bool = False) -> Dropped:
    return Dropped(name=name, version=VersionId(name), reason=reason, is_absent=is_absent)


def said(*all_: Dropped, preference: Preference | None = None) -> str:
    return str(nobody_left(SUMS, all_, preference))


def pinned(version: VersionId | None) -> Preference:
    return Preference(rule=ONLY_FAST, version=version)


def test_without_a_rule_everybody_is_listed_with_the_reason() -> None:
    assert said(dropped(FAST, "too small"), dropped(GOOD, "no engine")) == (
        "No model can serve task sums. fast: too small; good: no engine. Loosen the task's or the"
        " request's limits, or add another model."
    )
    assert said().startswith("No model can serve task sums: none is registered.")


def test_those_that_are_only_away_are_listed_alone_and_by_their_reason() -> None:
    away = [
        dropped(GOOD, "its server is gone.", is_absent=True),
        dropped(FAST, "its server is gone", is_absent=True),
        dropped(ModelName("big"), "too large"),
    ]
    found = nobody_left(SUMS, away, None)
    assert isinstance(found, NothingThere)
    assert found.retry_after_s == RETRY_AFTER_S
    assert str(found) == (
        "Nothing that can serve task sums is there now. fast, good: its server is gone. The house"
        " goes on looking; try again shortly, or start one of the servers."
    )


def test_a_rule_that_only_bans_is_one_of_the_ways_out() -> None:
    banning = Preference(rule=None, version=None, never={VersionId("fast"): "rule: never fast"})
    assert "change the rules that stand in the way, or add" in said(
        dropped(FAST, "rule: never fast"), preference=banning
    )
    prefers = Preference(rule=Rule(task=SUMS.name, prefer=FAST), version=VersionId("fast"))
    assert "change the rules" not in said(dropped(FAST, "too small"), preference=prefers)


BEGIN = "No model can serve task sums. Rule: only fast answers sums"


@pytest.mark.parametrize(
    ("version", "all_", "sentence"),
    [
        (
            None,
            [],
            (
                f"{BEGIN}, and no model or alias is called fast here."
                f" Set it: arbiter alias set fast MODEL; or {CHANGE}"
            ),
        ),
        (
            VersionId("fast"),
            [dropped(GOOD, "rule: only fast")],
            (
                f"{BEGIN}, and what fast points at is not in use now."
                f" Point it at another model: arbiter alias set fast MODEL; or {CHANGE}"
            ),
        ),
        (
            VersionId("fast"),
            [dropped(FAST, "its server is gone.", is_absent=True)],
            (
                f"{BEGIN}, which is not there now. its server is gone."
                f" The house goes on looking; try again shortly, or {CHANGE}"
            ),
        ),
        (
            VersionId("fast"),
            [dropped(GOOD, "rule: only fast"), dropped(FAST, "too small")],
            (
                f"{BEGIN}, which cannot: too small."
                f" Loosen the task's or the request's limits, or {CHANGE}"
            ),
        ),
    ],
)
def test_a_pin_that_cannot_serve_tells_of_that_one_alone_and_both_ways_out(
    version: VersionId | None, all_: list[Dropped], sentence: str
) -> None:
    assert said(*all_, preference=pinned(version)) == sentence


def test_only_one_that_is_away_is_worth_another_try() -> None:
    away = nobody_left(SUMS, [dropped(FAST, "gone", is_absent=True)], pinned(VersionId("fast")))
    assert isinstance(away, NothingThere)
    assert away.retry_after_s == RETRY_AFTER_S
    other = nobody_left(SUMS, [dropped(FAST, "too small")], pinned(VersionId("fast")))
    assert isinstance(other, NothingCapable)


def test_a_rule_of_a_task_above_is_told_as_its() -> None:
    above = Rule(task=TaskName("maths"), only=FAST, why="trusted")
    assert ruled_reason(above, SUMS.name) == "rule for maths: only fast answers sums (trusted)"


def test_a_reason_ends_as_it_is_where_no_rule_prefers_anybody() -> None:
    assert not_followed(None) == not_followed(Preference(rule=None, version=None)) == ""
