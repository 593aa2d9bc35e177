"""Who is picked, who is dropped and why: values in, a choice out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from arbiter.errors import NothingCapable, NothingThere
from arbiter.inference import Dropped, Limits
from arbiter.knowledge.profiles import NOTHING, Profile
from arbiter.knowledge.rules import Rule
from arbiter.knowledge.speed import NEVER_TIMED, Expected, Speed
from arbiter.knowledge.tasks import Task, Weights
from arbiter.refs import ModelName, TaskName, VersionId
from arbiter.selection import selector as module
from arbiter.selection.bandit import Table
from arbiter.selection.contender import Choice, Contender, Preference, Seen, Situation
from arbiter.selection.filters import drop_reason
from arbiter.selection.scorers import static_score
from arbiter.selection.selector import Selector

SUMS = Task(name=TaskName("sums"))
EVEN = Weights(quality=1, latency=1, memory=1, reliability=1)
HOUSE = Situation(budget_bytes=4_000_000_000, weights=EVEN)
NO_LIMITS = Limits()

# Quality 0.8, success 0.9, 2 s on average.
GOOD = Profile(samples=20, graded=10, quality=8.0, successes=18, timed=18, latency_ms=36_000.0)

STEADY = Speed(timed=41, median_ms=1_500.0, slow_ms=2_300.0, slow_least_ms=2_000.0)
ELSEWHERE = Expected(median_ms=5_000.0, low_ms=4_000.0, high_ms=6_000.0, tasks=2)


def contender(name: str, **changes: object) -> Contender:
    whole = Contender(
        name=ModelName(name),
        version=VersionId(f"sha256:{name[0].encode().hex() * 32}"),
        capabilities=frozenset({"chat"}),
        context=4096,
        memory_bytes=1_000_000_000,
        memory_measured=True,
    )
    return replace(whole, **changes)  # type: ignore[arg-type]  # the tests' own words


def seen(name: str, profile: Profile = GOOD, speed: Speed = NEVER_TIMED, **changes: object) -> Seen:
    return Seen(contender=contender(name, **changes), profile=profile, speed=speed)


def pick(
    contenders: Sequence[Seen],
    *,
    task: Task = SUMS,
    limits: Limits = NO_LIMITS,
    rule: Preference | None = None,
    situation: Situation = HOUSE,
    by: Selector | None = None,
) -> Choice:
    return (by or Selector()).pick(
        contenders, task=task, limits=limits, rule=rule, situation=situation
    )


def prefer(name: str, *, of: Seen | None, why: str = "") -> Preference:
    return Preference(
        rule=Rule(task=SUMS.name, prefer=ModelName(name), why=why),
        version=None if of is None else of.contender.version,
    )


# -- filters

DROPPED = [
    (seen("a", unavailable="no such engine"), NO_LIMITS, "no such engine"),
    (seen("a"), Limits(needs=frozenset({"chat", "vision", "tools"})), "cannot do tools, vision"),
    (seen("a"), Limits(max_memory_mb=999), "needs 1000 MB, the limit is 999 MB"),
    (
        seen("a", memory_measured=False),
        Limits(max_memory_mb=999),
        "is estimated to need 1000 MB, the limit is 999 MB",
    ),
    (
        seen("a", memory_bytes=5_000_000_000),
        NO_LIMITS,
        "needs 5000 MB, the house has 4000 MB",
    ),
    (
        seen("a", speed=STEADY),
        Limits(max_latency_ms=1999),
        "takes up to 2,300 ms in 9 of 10 answers (41 timed), the limit is 1,999 ms",
    ),
    (
        seen("a", speed=replace(STEADY, share=0.75)),
        Limits(max_latency_ms=1999),
        "takes up to 2,300 ms in 75 of 100 answers (41 timed), the limit is 1,999 ms",
    ),
    (
        seen("a"),
        Limits(prompt_chars=36_000),
        (
            "the prompt has about 9,000 tokens (estimated at 4.0 characters each), "
            "its context holds 4,096"
        ),
    ),
    (
        seen("a", speed=Speed(chars_per_token=(3.0, 4.0))),
        Limits(prompt_chars=18_000, answer_tokens=1024),
        (
            "the prompt has about 6,000 tokens (estimated at 3.0 characters each by its earlier "
            "prompts) and the answer may have 1,024, its context holds 4,096"
        ),
    ),
    (
        seen("a"),
        Limits(threshold=0.81),
        "quality 0.80 (10 graded) is below the threshold 0.81",
    ),
]


@pytest.mark.parametrize(("one", "limits", "reason"), DROPPED)
def test_whoever_cannot_serve_is_dropped_with_the_reason(
    one: Seen, limits: Limits, reason: str
) -> None:
    assert drop_reason(one, limits, HOUSE) == reason


def test_the_first_reason_is_the_one_that_is_told() -> None:
    hopeless = seen("a", unavailable="no such engine", memory_bytes=9_000_000_000)
    assert drop_reason(hopeless, Limits(threshold=0.9), HOUSE) == "no such engine"


STRICT = Limits(threshold=0.9, max_latency_ms=1, max_memory_mb=0.001)
KEPT = [
    (seen("a"), NO_LIMITS, HOUSE),
    (seen("a"), Limits(max_memory_mb=1000, max_latency_ms=2000, threshold=0.8), HOUSE),
    (seen("a", NOTHING, memory_bytes=None), STRICT, HOUSE),
    (seen("a", structs.replace(GOOD, graded=9), memory_bytes=None), Limits(threshold=0.99), HOUSE),
    # 9 of 10 take longer so far, which may be bad luck
    (seen("a", speed=STEADY), Limits(max_latency_ms=2000), HOUSE),
    (seen("a", speed=replace(STEADY, timed=9)), Limits(max_latency_ms=1), HOUSE),
    (seen("a", speed=replace(STEADY, slow_least_ms=None)), Limits(max_latency_ms=1), HOUSE),
    (seen("a", speed=Speed(expected=ELSEWHERE)), Limits(max_latency_ms=1), HOUSE),
    (seen("a"), Limits(prompt_chars=32_000), HOUSE),  # near the limit, so its engine may say
    (seen("a", context=None), Limits(prompt_chars=10**9), HOUSE),
    (seen("a", memory_bytes=4_000_000_000), NO_LIMITS, HOUSE),
    (seen("a", memory_bytes=10**12), NO_LIMITS, replace(HOUSE, budget_bytes=None)),
    (seen("a"), Limits(needs=frozenset({"chat"})), HOUSE),
]


@pytest.mark.parametrize(("one", "limits", "situation"), KEPT)
def test_what_is_unknown_or_just_fits_is_held_against_nobody(
    one: Seen, limits: Limits, situation: Situation
) -> None:
    assert drop_reason(one, limits, situation) is None


# -- scores


def score(one: Seen, limits: Limits = NO_LIMITS, weights: Weights = EVEN) -> float:
    return static_score(one, limits, HOUSE, weights).score


@pytest.mark.parametrize("samples", [0, 9])
def test_the_score_is_one_half_under_ten_samples(samples: int) -> None:
    found = static_score(seen("a", structs.replace(GOOD, samples=samples)), NO_LIMITS, HOUSE, EVEN)
    assert found.score == 0.5
    assert found.explanation == f"0.5 until 10 samples, has {samples}"


def test_the_score_counts_from_ten_samples_on() -> None:
    assert score(seen("a", structs.replace(GOOD, samples=10, successes=9))) != 0.5


ONLY = [
    (Weights(quality=1, latency=0, memory=0, reliability=0), 0.8),
    (Weights(quality=0, latency=3, memory=0, reliability=0), 0.8),  # 2 s of 10 s
    (Weights(quality=0, latency=0, memory=1, reliability=0), 0.75),  # 1 GB of 4 GB
    (Weights(quality=0, latency=0, memory=0, reliability=9), 0.9),
    (EVEN, 0.8125),
    (Weights(quality=3, latency=0, memory=0, reliability=1), 0.825),
]


@pytest.mark.parametrize(("weights", "expected"), ONLY)
def test_the_score_is_the_weighted_mean_of_its_parts(weights: Weights, expected: float) -> None:
    assert score(seen("a"), weights=weights) == pytest.approx(expected)


def test_only_the_proportions_of_weights_matter() -> None:
    twice = Weights(quality=0.8, latency=0.6, memory=0.4, reliability=0.2)
    assert score(seen("a"), weights=twice) == pytest.approx(score(seen("a"), weights=Weights()))


LIMITED = [
    (Limits(max_latency_ms=4000), Weights(quality=0, latency=1, memory=0, reliability=0), 0.5),
    (Limits(max_latency_ms=1000), Weights(quality=0, latency=1, memory=0, reliability=0), 0.0),
    (Limits(max_memory_mb=2000), Weights(quality=0, latency=0, memory=1, reliability=0), 0.5),
    (Limits(max_memory_mb=500), Weights(quality=0, latency=0, memory=1, reliability=0), 0.0),
]


@pytest.mark.parametrize(("limits", "weights", "expected"), LIMITED)
def test_a_limit_is_what_a_part_is_measured_by(
    limits: Limits, weights: Weights, expected: float
) -> None:
    assert score(seen("a"), limits, weights) == pytest.approx(expected)


def test_what_nobody_measured_counts_one_half() -> None:
    unmeasured = seen("a", Profile(samples=10, successes=5), memory_bytes=None)
    found = static_score(unmeasured, NO_LIMITS, HOUSE, EVEN)
    assert found.score == 0.5
    assert found.explanation == (
        "quality not graded, latency unknown, memory unknown, reliability 0.50"
    )


def test_memory_counts_one_half_where_nothing_limits_it() -> None:
    weights = Weights(quality=0, latency=0, memory=1, reliability=0)
    free = replace(HOUSE, budget_bytes=None)
    assert static_score(seen("a"), NO_LIMITS, free, weights).score == 0.5


def test_the_explanation_tells_every_part() -> None:
    assert static_score(seen("a", memory_measured=False), NO_LIMITS, HOUSE, EVEN).explanation == (
        "quality 0.80 (10 graded), latency 2000 ms, memory 1000 MB (estimate), reliability 0.90"
    )


# -- the pick

BETTER = structs.replace(GOOD, quality=9.0)
WORSE = structs.replace(GOOD, quality=7.0)


def test_the_best_score_is_picked_and_the_next_is_the_fallback() -> None:
    choice = pick([seen("worse", WORSE), seen("better", BETTER), seen("good")])
    assert [scored.contender.name for scored in choice.scored] == ["better", "good", "worse"]
    assert (choice.alias, choice.primary) == ("better", choice.scored[0])
    assert (choice.fallback, choice.probability) == (choice.scored[1], 1.0)


def test_a_tie_goes_to_the_first_by_name() -> None:
    choice = pick([seen("owl"), seen("heron"), seen("wren")])
    assert [scored.contender.name for scored in choice.scored] == ["heron", "owl", "wren"]


def test_the_reason_tells_the_score_and_who_was_next() -> None:
    assert pick([seen("better", BETTER), seen("good")]).reason == (
        "better scores 0.838 on sums: quality 0.90 (10 graded), latency 2000 ms, memory 1000 MB, "
        "reliability 0.90; next good 0.812"
    )


def test_the_only_one_left_has_no_fallback() -> None:
    choice = pick([seen("a"), seen("broken", unavailable="no engine")])
    assert choice.fallback is None
    assert choice.reason.endswith("; nothing else can serve it")
    assert [drop.reason for drop in choice.dropped] == ["no engine"]


def test_a_tasks_own_weights_win_over_the_houses() -> None:
    frugal = replace(SUMS, weights=Weights(quality=0, latency=0, memory=1, reliability=0))
    small = seen("small", WORSE, memory_bytes=1_000_000)
    assert pick([small, seen("better", BETTER)], task=frugal).alias == "small"


def test_a_rule_wins_over_every_score() -> None:
    worst = seen("worse", WORSE)
    choice = pick([seen("better", BETTER), worst], rule=prefer("fast", of=worst, why="quick"))
    assert (choice.alias, choice.primary.contender.name) == ("fast", "worse")
    assert choice.reason == "rule: sums prefers fast (quick)"
    assert choice.fallback is not None
    assert choice.fallback.contender.name == "better"


def test_a_rule_without_a_why_is_told_without() -> None:
    one = seen("a")
    assert pick([one], rule=prefer("fast", of=one)).reason == "rule: sums prefers fast"


UNABLE = [
    prefer("fast", of=None),
    prefer("fast", of=seen("broken")),
    prefer("fast", of=seen("z")),
]


@pytest.mark.parametrize("rule", UNABLE)
def test_a_rule_that_prefers_who_cannot_serve_is_told_and_not_followed(rule: Preference) -> None:
    choice = pick([seen("good"), seen("broken", unavailable="no engine")], rule=rule)
    assert choice.alias == "good"
    assert choice.reason.endswith("; the rule prefers fast, which cannot serve it now")


def test_nothing_capable_lists_every_contender_with_its_reason() -> None:
    with pytest.raises(NothingCapable) as caught:
        pick([seen("big", memory_bytes=10**10), seen("broken", unavailable="no engine")])
    assert str(caught.value) == (
        "No model can serve task sums. big: needs 10000 MB, the house has 4000 MB; "
        "broken: no engine. Loosen the task's or the request's limits, or add another model."
    )


def test_what_is_only_away_is_told_with_its_servers_and_can_be_tried_again() -> None:
    here = [seen("ant", absent="A: gone."), seen("bee", absent="A: gone"), seen("cat", absent="B")]
    with pytest.raises(NothingThere) as caught:
        pick([*here, seen("broken", unavailable="no engine", absent="A: gone")])
    assert caught.value.message == (
        "Nothing that can serve task sums is there now. ant, bee: A: gone; cat: B."
    )
    assert (caught.value.retryable, caught.value.retry_after_s) == (True, 5)


def test_what_is_away_and_could_not_serve_either_is_not_waited_for() -> None:
    limits = Limits(needs=frozenset({"tools"}))
    with pytest.raises(NothingCapable, match="ant: cannot do tools"):
        pick([seen("ant", absent="A: gone")], limits=limits)


def test_a_house_without_models_says_how_to_add_one() -> None:
    with pytest.raises(NothingCapable, match=r"none is registered\. Add one: arbiter models add"):
        pick([])


# -- properties

NAMES = ("ant", "bee", "cat", "dog", "eel")
PROFILES = st.builds(
    lambda samples, good, ms: Profile(
        samples=samples,
        graded=samples,
        quality=samples * good / 4,
        successes=samples,
        timed=samples,
        latency_ms=samples * ms,
    ),
    samples=st.integers(0, 20),
    good=st.integers(0, 4),
    ms=st.sampled_from([10.0, 1000.0, 9000.0]),
)
LIMITS = st.builds(
    Limits,
    threshold=st.none() | st.sampled_from([0.0, 0.5, 0.9]),
    max_latency_ms=st.none() | st.sampled_from([500.0, 5000.0]),
    max_memory_mb=st.none() | st.sampled_from([500.0, 2000.0]),
)


def outcome(by: Selector, contenders: Sequence[Seen], limits: Limits, task: Task) -> object:
    """A pick as a value, whatever became of it; who was dropped has no order."""
    try:
        choice = pick(contenders, limits=limits, task=task, by=by)
    except NothingCapable as error:
        return sorted(str(error).split(". ")[1].split("; "))
    return replace(choice, dropped=tuple(sorted(choice.dropped, key=named)))


def named(drop: Dropped) -> str:
    return drop.name


@settings(deadline=None)
@given(
    profiles=st.lists(PROFILES, min_size=1, max_size=5),
    limits=LIMITS,
    data=st.data(),
)
def test_the_order_of_contenders_changes_no_pick(
    profiles: list[Profile], limits: Limits, data: st.DataObject
) -> None:
    contenders = [seen(name, profile) for name, profile in zip(NAMES, profiles, strict=False)]
    shuffled = data.draw(st.permutations(contenders))
    assert outcome(Selector(), shuffled, limits, SUMS) == outcome(
        Selector(), contenders, limits, SUMS
    )


CHANGES = st.lists(
    st.tuples(
        st.integers(0, 2), PROFILES, st.booleans(), LIMITS, st.sampled_from(["sums", "tales"])
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(changes=CHANGES)
def test_what_is_kept_between_picks_is_never_stale(
    changes: list[tuple[int, Profile, bool, Limits, str]],
) -> None:
    kept = Selector()
    tasks = {name: Task(name=TaskName(name)) for name in ("sums", "tales")}
    contenders = [seen(name, NOTHING) for name in NAMES[:3]]
    for which, profile, broken, limits, name in changes:
        changed = replace(contenders[which].contender, unavailable="no engine" if broken else None)
        contenders[which] = Seen(contender=changed, profile=profile)
        fresh = outcome(Selector(), contenders, limits, tasks[name])
        assert outcome(kept, contenders, limits, tasks[name]) == fresh
        assert outcome(kept, contenders, limits, tasks[name]) == fresh


def test_a_house_that_changes_is_seen_at_once() -> None:
    kept, one = Selector(), seen("a")
    assert pick([one], by=kept).alias == "a"
    with pytest.raises(NothingCapable):
        pick([one], by=kept, situation=replace(HOUSE, budget_bytes=1))


def test_a_task_that_is_weighed_anew_is_seen_at_once() -> None:
    kept, one = Selector(), seen("a")
    before = pick([one], by=kept).primary.score
    anew = replace(SUMS, weights=Weights(quality=0, latency=0, memory=1, reliability=0))
    assert pick([one], by=kept, task=anew).primary.score == 0.75 != before


def test_what_is_kept_between_picks_is_bounded() -> None:
    kept, one = Selector(), seen("a", unavailable="no engine")
    for number in range(module._CACHE_BOUND + 10):
        kept._judge(one, task=SUMS, limits=Limits(max_latency_ms=number), situation=HOUSE)
    assert len(kept._cache) == 10


def test_callers_who_name_ever_other_limits_leave_no_more_plans_than_a_few() -> None:
    by, contenders = Selector(Table()), [seen("a"), seen("b")]

    def told(most: float) -> Choice:
        return pick(contenders, limits=Limits(max_latency_ms=most), by=by)

    first = told(1000.0)
    for number in range(module._PLANS_BOUND - 1):
        told(2000.0 + number)
    # the very same value: its plan is still there, and was asked for last
    assert told(1000.0) is first
    for number in range(module._PLANS_BOUND):
        told(3000.0 + number)
    assert told(1000.0) is not first
    assert told(1000.0) == first
    assert len(by._plans[SUMS.name]) == module._PLANS_BOUND


def test_tasks_that_nobody_asks_for_any_more_leave_no_plans() -> None:
    by, contenders = Selector(Table()), [seen("a")]
    for number in range(module._TASKS_BOUND + 10):
        pick(contenders, task=Task(name=TaskName(f"task-{number}")), by=by)
    assert len(by._plans) == 10


def test_another_version_in_the_same_place_inherits_no_conversation() -> None:
    by = Selector(Table())
    old, new, other = seen("a"), seen("b"), seen("c")
    keep = old.contender.version

    def held(contenders: Sequence[Seen]) -> Choice:
        return by.pick(
            contenders, task=SUMS, limits=NO_LIMITS, rule=None, situation=HOUSE,
            conversation="talk", held=keep,
        )  # fmt: skip

    assert held([old, other]).primary.contender is old.contender
    drawn = by.pick(
        [new, other], task=SUMS, limits=NO_LIMITS, rule=None, situation=HOUSE, conversation="talk"
    )
    assert held([new, other]).primary.contender is drawn.primary.contender
    assert held([old, other]).primary.contender is old.contender
