"""What a plan tells: who is left, who is not and why, in which words, and what a rule changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs
from tests.pure.contending import HOUSE, contenders
from tests.pure.test_plan import SUMS, learned, pick

from arbiter.errors import NothingCapable
from arbiter.inference import Limits
from arbiter.knowledge.profiles import NOTHING
from arbiter.knowledge.rules import Rule
from arbiter.knowledge.speed import Speed
from arbiter.knowledge.tasks import Task, Weights
from arbiter.refs import ModelName, TaskName, VersionId
from arbiter.selection.bandit import Table
from arbiter.selection.contender import Choice, Preference, Seen, Situation
from arbiter.selection.plan import FRONT, TOLD, Plan
from arbiter.selection.selector import Selector

NO_LIMITS = Limits()
QUICK = Situation(
    budget_bytes=None, weights=Weights(quality=0.0, latency=1.0, memory=0.0, reliability=0.0)
)


def plan(table: Table, *, limits: Limits = NO_LIMITS, situation: Situation = HOUSE) -> Plan:
    return Plan(table, task=SUMS, limits=limits, situation=situation)


def looked(table: Table, among: list[Seen], rule: Preference | None = None) -> Plan:
    found = plan(table)
    found.look(among, rule)
    return found


def surely(count: int, best: int = 0) -> Table:
    """A table that is sure of one of them."""
    table = Table()
    for number in range(count):
        for _ in range(80):
            table.update(SUMS.name, VersionId(f"v{number:02}"), 1.0 if number == best else 0.1)
    return table


def names(choice: Choice) -> list[str]:
    return [str(one.contender.name) for one in choice.scored]


def test_the_reason_has_the_best_two_with_their_scores_and_the_chance_of_the_second() -> None:
    choice = pick(Selector(learned(2)), contenders(2))
    best, second = choice.scored
    assert choice.reason == (
        f"{best.contender.name} is worth {best.score:.3f} on sums: {best.explanation}; "
        f"next {second.contender.name} {second.score:.3f}, "
        f"picked {second.probability:.0%} of the time"
    )
    assert choice.would_change is not None
    assert (choice.alias, choice.probability) == (best.contender.name, best.probability)
    assert not choice.by_rule


def test_the_reason_of_the_only_one_says_that() -> None:
    choice = pick(Selector(learned(1)), contenders(1))
    assert choice.reason.endswith("; nothing else can serve it")
    assert (choice.fallback, choice.would_change, choice.rest) == (None, None, ())


def test_of_those_that_are_never_picked_four_are_told() -> None:
    choice = pick(Selector(surely(FRONT)), contenders(FRONT))
    assert choice.probability == 1.0
    assert len(choice.scored) == 1 + TOLD
    assert len(choice.rest) == FRONT - 1 - TOLD
    assert not set(choice.rest) & {one.contender.version for one in choice.scored}


def test_whoever_is_picked_stands_first_and_the_others_by_their_chance_and_their_score() -> None:
    table, among = learned(6), contenders(6)
    found = looked(table, among)
    for number in range(12):
        choice = found.pick(f"talk {number}")
        others = choice.scored[1:]
        assert list(others) == sorted(
            others, key=lambda one: (-one.probability, -one.score, one.contender.name)
        )
        assert choice.fallback is choice.scored[1]


def test_the_same_draw_is_the_same_choice_until_something_changes() -> None:
    table, among = learned(3), contenders(3)
    found = looked(table, among)
    first = found.pick(None)
    found.look(among)
    assert found.pick(None) is first
    table.update(SUMS.name, among[0].contender.version, 0.0)
    among[0] = structs.replace(among[0])
    found.look(among)
    assert found.pick(None) is not first


def test_without_a_conversation_the_likeliest_is_taken() -> None:
    choice = looked(learned(4), contenders(4)).pick(None)
    assert choice.probability == max(one.probability for one in choice.scored)


def test_whoever_cannot_serve_is_dropped_in_the_order_of_contenders_with_the_reason() -> None:
    among = contenders(4)
    for at in (2, 0):
        less = replace(among[at].contender, capabilities=frozenset())
        among[at] = structs.replace(among[at], contender=less)
    found = plan(learned(4), limits=Limits(needs=frozenset({"chat"})))
    found.look(among)
    choice = found.pick(None)
    assert [one.name for one in choice.dropped] == ["m00", "m02"]
    assert all("chat" in one.reason for one in choice.dropped)
    assert sorted(names(choice)) == ["m01", "m03"]
    assert choice.rest == ()


def test_whoever_can_serve_again_is_no_longer_dropped() -> None:
    among, table = contenders(2), surely(2, best=1)
    able = among[1]
    among[1] = structs.replace(able, contender=replace(able.contender, absent="its server is gone"))
    found = looked(table, among)
    (dropped,) = found.pick(None).dropped
    assert (dropped.reason, dropped.is_absent) == ("its server is gone", True)
    assert found.pick(None).alias == "m00"
    among[1] = able
    found.look(among)
    assert found.pick(None).dropped == ()
    assert found.pick(None).alias == "m01"


def test_whoever_is_dropped_for_something_else_is_not_said_to_be_absent() -> None:
    among = contenders(2)
    less = replace(among[1].contender, capabilities=frozenset(), absent="its server is gone")
    among[1] = structs.replace(among[1], contender=less)
    found = plan(learned(2), limits=Limits(needs=frozenset({"chat"})))
    found.look(among)
    (dropped,) = found.pick(None).dropped
    assert not dropped.is_absent
    assert dropped.version == VersionId("v01")


def test_nobody_left_is_an_error_that_names_all_of_them() -> None:
    found = plan(learned(2), limits=Limits(needs=frozenset({"tools"})))
    found.look(contenders(2))
    with pytest.raises(NothingCapable) as raised:
        found.pick(None)
    assert "m00" in str(raised.value.sentence) or "m00" in str(raised.value)


def test_a_held_version_keeps_its_conversation_and_one_that_is_out_of_reach_does_not() -> None:
    found = looked(surely(3), contenders(3))
    assert found.pick("talk", VersionId("v01")).alias == "m00"
    found = looked(learned(3), contenders(3))
    within = [one for one in found.pick(None).scored if one.probability > 0.0]
    for one in within:
        assert found.pick("talk", one.contender.version).alias == one.contender.name


def test_a_rule_takes_its_version_surely_and_leaves_the_others_behind_it() -> None:
    rule = Preference(
        rule=Rule(task=SUMS.name, prefer=ModelName("fast"), why="quick"), version=VersionId("v02")
    )
    found = looked(surely(4), contenders(4), rule)
    choice = found.pick("talk")
    assert (choice.alias, choice.probability, choice.by_rule) == ("fast", 1.0, True)
    assert choice.primary.contender.version == "v02"
    assert choice.primary.probability == 0.0, "the evidence would not have picked it"
    assert choice.scored[0] is choice.primary
    assert choice.fallback is choice.scored[1]
    assert names(choice).count("m02") == 1
    assert choice.fallback.contender.version == "v00"
    assert "v02" not in choice.rest
    assert choice.would_change is not None
    assert choice.would_change.startswith("no answers would, as long as fast can serve")


def test_of_whom_a_rule_takes_words_and_numbers_tell_the_same_chance() -> None:
    rule = Preference(rule=Rule(task=SUMS.name, prefer=ModelName("fast")), version=VersionId("v02"))
    told = looked(surely(4), contenders(4), rule).pick("talk").considered
    assert [one.chance for one in told] == [1.0, 0.0, 0.0, 0.0]
    assert "picked 100% of the time" in told[0].explanation
    assert all("picked 0% of the time" in one.explanation for one in told[1:])


def test_a_rule_whose_version_is_away_is_not_followed_and_says_so() -> None:
    rule = Preference(
        rule=Rule(task=SUMS.name, prefer=ModelName("fast"), why="quick"), version=VersionId("v09")
    )
    plainly = looked(surely(3), contenders(3)).pick(None)
    choice = looked(surely(3), contenders(3), rule).pick(None)
    assert not choice.by_rule
    assert choice.alias == plainly.alias
    assert choice.reason.startswith(plainly.reason)
    assert len(choice.reason) > len(plainly.reason)


def test_another_rule_is_another_plan() -> None:
    table, among = surely(3), contenders(3)
    found = looked(table, among)
    assert found.pick(None).alias == "m00"
    never = Preference(rule=None, version=None, never={VersionId("v00"): "a rule says so"})
    found.look(among, never)
    assert found.pick(None).alias != "m00"
    assert [one.reason for one in found.pick(None).dropped] == ["a rule says so"]
    found.look_again(among)
    assert found.pick(None).alias != "m00", "what the rules say stays between two requests"
    found.look(among)
    assert found.pick(None).alias == "m00"


def test_other_contenders_are_another_plan_and_the_same_in_another_order_too() -> None:
    table, among = surely(4), contenders(4)
    found = looked(table, among)
    found.look(among[1:])
    assert VersionId("v00") not in {one.contender.version for one in found.pick(None).scored}
    found.look(among[::-1])
    assert found.pick(None).alias == "m00"


def test_a_plan_is_about_one_very_task_and_situation() -> None:
    found = plan(Table())
    assert found.is_about(SUMS, HOUSE)
    assert not found.is_about(Task(name=SUMS.name), HOUSE)
    assert not found.is_about(SUMS, QUICK)


def test_a_task_has_weights_of_its_own_before_those_of_the_house() -> None:
    slow, quick = Speed(timed=50, median_ms=9000.0), Speed(timed=50, median_ms=100.0)
    one, other = contenders(2)
    among = [structs.replace(one, speed=slow), structs.replace(other, speed=quick)]
    table = surely(2)
    own = Task(name=SUMS.name, weights=QUICK.weights)
    by_house = Plan(table, task=SUMS, limits=NO_LIMITS, situation=HOUSE)
    by_task = Plan(table, task=own, limits=NO_LIMITS, situation=HOUSE)
    for each in (by_house, by_task):
        each.look(among)
    assert by_house.pick(None).alias == "m00"
    assert by_task.pick(None).alias == "m01"


def scores(found: Plan) -> dict[str, float]:
    return {str(one.contender.name): one.score for one in found.pick(None).scored}


def test_whoever_was_never_timed_is_taken_to_be_as_quick_as_the_others_are_now() -> None:
    among = contenders(3)
    speeds = [Speed(timed=50, median_ms=ms) for ms in (500.0, 3000.0)]
    among[0], among[1] = (
        structs.replace(one, speed=speed) for one, speed in zip(among, speeds, strict=False)
    )
    found = plan(Table(), situation=QUICK)
    found.look(among)
    before = scores(found)
    assert before["m02"] == pytest.approx((before["m00"] + before["m01"]) / 2)
    among[0] = structs.replace(among[0], speed=Speed(timed=60, median_ms=2500.0))
    found.look(among)
    after = scores(found)
    assert after["m00"] < before["m00"]
    assert after["m02"] == pytest.approx((after["m00"] + after["m01"]) / 2)
    among[0] = structs.replace(among[0], contender=replace(among[0].contender, absent="gone"))
    found.look(among)
    alone = scores(found)
    assert alone["m02"] == pytest.approx(alone["m01"])


def test_where_nobody_was_timed_all_are_taken_to_be_middling() -> None:
    found = plan(Table(), situation=QUICK)
    found.look(contenders(2))
    assert set(scores(found).values()) == {0.5}


def test_what_is_noticed_of_the_only_contender_reaches_the_words_that_are_told() -> None:
    table, among = learned(1), contenders(1)
    found = looked(table, among)
    before = found.pick(None)
    for _ in range(20):
        table.update(SUMS.name, VersionId("v00"), 1.0)
    among[0] = Seen(contender=among[0].contender, profile=NOTHING)
    found.look(among)
    after = found.pick(None)
    assert after.primary.score > before.primary.score
    assert after.primary.samples == before.primary.samples + 20
    assert before.reason != after.reason


def test_a_plan_of_a_task_that_nobody_knows_gives_everybody_a_part() -> None:
    unknown = Task(name=TaskName("new"))
    found = Plan(Table(), task=unknown, limits=NO_LIMITS, situation=HOUSE)
    found.look(contenders(3))
    choice = found.pick("talk")
    assert sum(one.probability for one in choice.scored) == pytest.approx(1.0)
    assert min(one.probability for one in choice.scored) > 0.2
