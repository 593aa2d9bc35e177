"""A task's plan among many contenders: what is learned elsewhere reaches them a few at a time."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from tests.pure.contending import HOUSE, contenders

from arbiter.inference import Limits
from arbiter.knowledge.profiles import NOTHING, Profile
from arbiter.knowledge.speed import Timing
from arbiter.knowledge.speeds import Speeds
from arbiter.knowledge.tasks import Task, Weights
from arbiter.refs import TaskName, VersionId
from arbiter.selection.bandit import Table
from arbiter.selection.contender import Choice, Contender, Seen, Situation
from arbiter.selection.plan import FEW
from arbiter.selection.selector import Selector

SUMS, TALES = Task(name=TaskName("sums")), Task(name=TaskName("tales"))
MANY = 2 * FEW


def pick(by: Selector, among: Sequence[Seen], conversation: str | None = None) -> Choice:
    return by.pick(
        among, task=SUMS, limits=Limits(), rule=None, situation=HOUSE, conversation=conversation
    )


def chances(choice: Choice) -> dict[str, float]:
    return {one.contender.name: one.probability for one in choice.scored if one.probability > 0.0}


def scores(choice: Choice) -> dict[str, float]:
    return {one.contender.name: one.score for one in choice.scored}


def learned(count: int) -> Table:
    """A table that knows little of anybody at one task, and a little more at another."""
    dice, table = Random(2), Table()
    for number in range(count):
        for task, scores in ((SUMS, 2), (TALES, 12)):
            for _ in range(scores):
                score = float(dice.random() < 0.9 - 0.02 * number)
                table.update(task.name, VersionId(f"v{number:02}"), score)
    return table


@pytest.mark.parametrize("count", [FEW, MANY])
def test_what_is_learned_elsewhere_reaches_everybody_after_some_picks(count: int) -> None:
    table, among = learned(count), contenders(count)
    kept = Selector(table)
    before = chances(pick(kept, among))
    for _ in range(80):
        table.update(TALES.name, VersionId("v00"), 0.0)
        table.update(TALES.name, VersionId("v09"), 1.0)
    for _ in range(2 * count):
        pick(kept, among)
    after = pick(kept, among)
    fresh = pick(Selector(table), among)
    assert chances(fresh) != before
    assert chances(after) == pytest.approx(chances(fresh), abs=0.05)


@pytest.mark.parametrize("count", [FEW, MANY])
def test_own_evidence_counts_at_once(count: int) -> None:
    table, among = learned(count), contenders(count)
    kept = Selector(table)
    pick(kept, among)
    last = among[-1].contender
    for score in (1.0, 0.0):
        for _ in range(60):
            table.update(SUMS.name, last.version, score)
        among[-1] = Seen(contender=last, profile=NOTHING)
        found = chances(pick(kept, among))
        assert found.get(last.name, 0.0) > 0.7 if score else last.name not in found


@pytest.mark.parametrize("count", [FEW, MANY])
def test_what_is_neglected_for_long_is_tried_again_though_nothing_was_learned_of_it(
    count: int,
) -> None:
    table, among = Table(watchful=False), contenders(count)
    for number, one in enumerate(among):
        for _ in range(10 if number else 40):
            table.update(SUMS.name, one.contender.version, {0: 0.6, 1: 0.5}.get(number, 0.2))
    kept, first = Selector(table), among[0].contender
    assert chances(pick(kept, among)) == {"m00": 1.0}
    for _ in range(5_000):
        table.update(SUMS.name, first.version, 0.6)
        among[0] = Seen(contender=first, profile=NOTHING)
        kept.refresh(SUMS.name, among)
        pick(kept, among)
    fresh = chances(pick(Selector(table), among))
    assert fresh["m01"] > 0.2
    assert chances(pick(kept, among)) == pytest.approx(fresh, abs=0.05)


def timed(one: Contender, *milliseconds: float) -> Seen:
    """A contender whose answers took this long."""
    speeds = Speeds()
    for each in milliseconds:
        speeds.add(one.version, SUMS.name, Timing(latency_ms=each))
    return Seen(contender=one, profile=NOTHING, speed=speeds.get(one.version, SUMS.name))


def test_an_answer_that_took_what_they_always_take_moves_nothing() -> None:
    table, hasty = learned(3), Situation(budget_bytes=None, weights=Weights())
    among = [timed(one.contender, *[700.0] * 50) for one in contenders(3)]
    selector = Selector(table)
    task, limits = SUMS, Limits()

    def picked() -> Choice:
        return selector.pick(among, task=task, limits=limits, rule=None, situation=hasty)

    first = picked()
    among[0] = timed(among[0].contender, *[700.0] * 50, 705.0)
    assert picked() is first
    among[0] = timed(among[0].contender, *[700.0] * 50, *[9_000.0] * 60)
    assert scores(picked())["m00"] < scores(first)["m00"]


def test_one_more_answer_like_the_others_is_not_looked_at_and_a_failure_is() -> None:
    table, hasty = learned(3), Situation(budget_bytes=None, weights=Weights())
    well = Profile(samples=200, successes=200)
    among = [Seen(contender=one.contender, profile=well) for one in contenders(3)]
    selector = Selector(table)

    def after(samples: int, successes: int) -> Choice:
        profile = Profile(samples=samples, successes=successes)
        among[0] = Seen(contender=among[0].contender, profile=profile)
        return selector.pick(among, task=SUMS, limits=Limits(), rule=None, situation=hasty)

    first = after(200, 200)
    assert after(210, 210) is first
    assert scores(after(230, 210))["m00"] < scores(first)["m00"]


def test_a_score_moves_a_contender_however_little() -> None:
    table, among = learned(3), contenders(3)
    selector = Selector(table)
    for _ in range(5_000):
        table.update(SUMS.name, among[0].contender.version, 1.0)
    first = pick(selector, among)
    table.update(SUMS.name, among[0].contender.version, 1.0)
    among[0] = Seen(contender=among[0].contender, profile=NOTHING)
    after = pick(selector, among)
    assert after.primary.samples == first.primary.samples + 1


def test_what_is_worked_out_between_requests_is_what_the_next_one_would_have_found() -> None:
    table, among = learned(4), contenders(4)
    kept, other = Selector(table), Selector(table)
    pick(kept, among)
    pick(other, among)
    for _ in range(30):
        table.update(SUMS.name, among[0].contender.version, 0.0)
    among[0] = Seen(contender=among[0].contender, profile=NOTHING)
    kept.refresh(SUMS.name, among)
    assert pick(kept, among) == pick(other, among) == pick(Selector(table), among)


def test_nothing_is_worked_out_for_contenders_that_the_plan_is_not_about() -> None:
    table, among = learned(4), contenders(4)
    kept = Selector(table)
    first = pick(kept, among)
    kept.refresh(SUMS.name, among[:2])
    kept.refresh(TALES.name, among)
    assert pick(kept, among) is first


def test_whoever_has_a_conversation_keeps_it_while_within_reach_and_no_longer() -> None:
    table, among = learned(2), contenders(2)
    by = Selector(table)

    def held(number: int) -> str:
        return by.pick(
            among, task=SUMS, limits=Limits(), rule=None, situation=HOUSE, conversation="talk",
            held=VersionId(f"v{number:02}"),
        ).alias  # fmt: skip

    reached = chances(pick(by, among))
    for number in range(2):
        name = f"m{number:02}"
        assert (held(number) == name) or name not in reached


def test_few_are_told_and_all_who_could_serve_are_named() -> None:
    among = contenders(MANY)
    choice = pick(Selector(learned(MANY)), among)
    told = {one.contender.version for one in choice.scored}
    assert len(told) < FEW
    assert told.isdisjoint(choice.rest)
    assert told | set(choice.rest) == {one.contender.version for one in among}
    assert sum(one.probability for one in choice.scored) == pytest.approx(1.0)
    assert choice.fallback is choice.scored[1]
    assert choice.alias == choice.primary.contender.name
    assert f"{choice.alias} is worth" in choice.reason
    assert "next " in choice.reason


def test_the_only_one_is_told_to_be_that() -> None:
    choice = pick(Selector(Table()), contenders(1))
    assert choice.probability == 1.0
    assert choice.fallback is None
    assert choice.would_change is None
    assert choice.reason.endswith("; nothing else can serve it")
