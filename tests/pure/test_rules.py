"""Rules: what they may say, how they go together, and what they do to a pick, learned or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.errors import InvalidField, NothingCapable, NothingThere
from arbiter.inference import Limits
from arbiter.knowledge.profiles import NOTHING
from arbiter.knowledge.rules import Rule, Ruling, ruling
from arbiter.knowledge.tasks import Task, Weights
from arbiter.refs import GENERAL, ModelName, TaskName, VersionId
from arbiter.selection.bandit import Table
from arbiter.selection.contender import Choice, Contender, Preference, Seen, Situation
from arbiter.selection.ruled import preference_of
from arbiter.selection.selector import Selector

FAST, GOOD, BIG = map(ModelName, ("fast", "good", "big"))
FINE, SUMS = TaskName("sums.long"), TaskName("sums")
LINE = (FINE, SUMS, GENERAL)
POINTED = {
    name: VersionId("sha256:" + letter * 64)
    for name, letter in zip((FAST, GOOD, BIG), "abc", strict=True)
}
HOUSE = Situation(budget_bytes=None, weights=Weights())


def ruled(*rules: Rule) -> Ruling | None:
    return ruling(LINE, {rule.task: rule for rule in rules})


# -- what a rule may say


def test_a_rule_says_something() -> None:
    with pytest.raises(InvalidField, match=r"names nobody\. Give --prefer, --only or --never"):
        Rule(task=SUMS)


def test_a_rule_does_not_both_prefer_and_pin() -> None:
    with pytest.raises(InvalidField, match="not both"):
        Rule(task=SUMS, prefer=FAST, only=GOOD)


@pytest.mark.parametrize("takes", ["prefer", "only"])
def test_a_rule_does_not_ban_whom_it_takes(takes: str) -> None:
    with pytest.raises(InvalidField, match="would take fast and never take it"):
        Rule(task=SUMS, never=(GOOD, FAST), **{takes: FAST})


def test_the_order_of_those_never_taken_is_no_part_of_the_decision() -> None:
    one, other = Rule(task=SUMS, never=(FAST, GOOD)), Rule(task=SUMS, never=(GOOD, FAST, GOOD))
    assert (one, one.digest) == (other, other.digest)


DIFFERENT = [
    Rule(task=SUMS, prefer=FAST),
    Rule(task=SUMS, only=FAST),
    Rule(task=SUMS, never=(FAST,)),
    Rule(task=SUMS, prefer=GOOD, never=(FAST,)),
    Rule(task=SUMS, only=GOOD, never=(FAST,)),
    Rule(task=FINE, only=FAST),
    Rule(task=SUMS, only=FAST, why="so"),
]


def test_rules_that_say_different_things_have_different_digests() -> None:
    assert len({rule.digest for rule in DIFFERENT}) == len(DIFFERENT)


# -- how rules go together


def test_where_there_is_no_rule_nothing_is_said() -> None:
    assert ruled() is None


@pytest.mark.parametrize("above", LINE)
def test_a_rule_holds_for_what_stands_below_it(above: TaskName) -> None:
    rule = Rule(task=above, prefer=FAST)
    assert ruled(rule) == Ruling(takes=rule)


def test_the_nearest_rule_decides_whom_to_take() -> None:
    near = Rule(task=FINE, prefer=FAST)
    assert ruled(near, Rule(task=SUMS, only=GOOD), Rule(task=GENERAL, prefer=BIG)) == Ruling(
        takes=near
    )


def test_nevers_add_up_along_the_line() -> None:
    near, far = Rule(task=FINE, never=(FAST,)), Rule(task=GENERAL, never=(BIG, FAST))
    assert ruled(near, far) == Ruling(never={FAST: near, BIG: far})


def test_a_nearer_rule_that_takes_an_alias_lifts_a_farther_ban() -> None:
    near = Rule(task=FINE, prefer=FAST)
    assert ruled(near, Rule(task=GENERAL, never=(FAST,))) == Ruling(takes=near)


def test_a_nearer_ban_voids_a_farther_preference_or_pin() -> None:
    near = Rule(task=FINE, never=(FAST,))
    assert ruled(near, Rule(task=SUMS, only=FAST)) == Ruling(never={FAST: near})
    # and nobody is pinned by a rule that was out of sight before
    far = Rule(task=GENERAL, only=GOOD)
    assert ruled(near, Rule(task=SUMS, prefer=FAST), far) == Ruling(never={FAST: near})


NAMES = st.sampled_from([FAST, GOOD, BIG])


@st.composite
def a_rule(draw: st.DrawFn, task: TaskName) -> Rule:
    takes = draw(st.none() | NAMES)
    never = tuple(name for name in draw(st.sets(NAMES)) if name != takes)
    if takes is None:
        return Rule(task=task, never=never or (BIG,))
    pins = draw(st.booleans())
    return Rule(
        task=task, prefer=None if pins else takes, only=takes if pins else None, never=never
    )


@given(st.fixed_dictionaries({}, optional={task: a_rule(task) for task in LINE}))
def test_about_each_alias_the_nearest_rule_that_names_it_has_its_way(
    rules: Mapping[TaskName, Rule],
) -> None:
    found = ruling(LINE, rules) or Ruling()
    for alias in (FAST, GOOD, BIG):
        nearest = next((rules[t] for t in LINE if t in rules and alias in rules[t].names), None)
        assert (alias in found.never) == (nearest is not None and alias in nearest.never)
    if found.takes is not None:
        assert found.takes.takes not in found.never


# -- what they do to a pick, by both ways to pick


def seen(name: ModelName, **changes: object) -> Seen:
    contender = Contender(
        name=name,
        version=POINTED[name],
        capabilities=frozenset({"chat"}),
        context=4096,
        memory_bytes=None,
        **changes,  # type: ignore[arg-type]  # the tests' own words
    )
    return Seen(contender=contender, profile=NOTHING)


ALL = [seen(FAST), seen(GOOD), seen(BIG)]


def learned() -> Selector:
    """One whose table has seen that good is good and the others are not."""
    table = Table()
    for name, score in ((FAST, 0.2), (GOOD, 1.0), (BIG, 0.1)):
        for task in LINE:
            for _ in range(40):
                table.update(task, POINTED[name], score)
    return Selector(table)


BOTH = pytest.mark.parametrize("selector", [Selector(), learned()], ids=["static", "learned"])


def pick(
    selector: Selector,
    *rules: Rule,
    contenders: Sequence[Seen] = ALL,
    limits: Limits = Limits(),
    pointed: Mapping[ModelName, VersionId] = POINTED,
    task: TaskName = FINE,
) -> Choice:
    return selector.pick(
        contenders,
        task=Task(name=task),
        limits=limits,
        rule=preference(*rules, pointed=pointed),
        situation=HOUSE,
    )


def preference(*rules: Rule, pointed: Mapping[ModelName, VersionId] = POINTED) -> Preference | None:
    return preference_of(ruled(*rules), FINE, pointed)


def reasons(choice: Choice) -> dict[str, str]:
    return {drop.name: drop.reason for drop in choice.dropped}


@BOTH
def test_only_one_may_answer_and_everybody_else_is_told_why_not(selector: Selector) -> None:
    choice = pick(selector, Rule(task=FINE, only=FAST, why="trusted"))
    assert (choice.alias, choice.fallback, choice.probability) == (FAST, None, 1.0)
    assert choice.reason == "rule: only fast answers sums.long (trusted)"
    assert reasons(choice) == dict.fromkeys((GOOD, BIG), choice.reason)


@BOTH
def test_whom_a_rule_never_takes_is_dropped_with_its_reason(selector: Selector) -> None:
    choice = pick(selector, Rule(task=FINE, never=(GOOD, BIG), why="too sloppy"))
    assert choice.alias == FAST
    assert reasons(choice) == {
        GOOD: "rule: never good (too sloppy)",
        BIG: "rule: never big (too sloppy)",
    }


@BOTH
def test_a_rule_prefers_one_and_leaves_out_another(selector: Selector) -> None:
    choice = pick(selector, Rule(task=FINE, prefer=FAST, never=(BIG,)))
    assert choice.reason == "rule: sums.long prefers fast"
    assert [one.contender.name for one in choice.scored] == [FAST, GOOD]
    assert reasons(choice) == {BIG: "rule: never big"}


@BOTH
def test_the_reason_says_whose_rule_it_was(selector: Selector) -> None:
    choice = pick(
        selector,
        Rule(task=SUMS, prefer=FAST, why="cheap"),
        Rule(task=GENERAL, never=(BIG,), why="slow"),
    )
    assert choice.reason == "rule for sums: sums.long prefers fast (cheap)"
    assert reasons(choice) == {BIG: "rule for all tasks: never big (slow)"}


@BOTH
def test_whoever_is_best_is_left_out_all_the_same(selector: Selector) -> None:
    choice = pick(selector, Rule(task=FINE, never=(GOOD,)))
    assert GOOD not in {one.contender.name for one in choice.scored}


def test_who_is_left_out_has_no_part_in_the_probabilities() -> None:
    choice = pick(learned(), Rule(task=FINE, never=(GOOD,)))
    assert sum(one.probability for one in choice.scored) == pytest.approx(1.0)


@BOTH
def test_a_rule_that_comes_and_goes_is_seen_at_once(selector: Selector) -> None:
    plain = pick(selector).alias
    assert pick(selector, Rule(task=FINE, never=(plain,))).alias != plain
    assert pick(selector, Rule(task=FINE, only=BIG)).alias == BIG
    assert pick(selector).alias == plain


@BOTH
def test_a_pin_that_cannot_serve_says_why_and_what_to_do(selector: Selector) -> None:
    rule = Rule(task=SUMS, only=FAST, why="trusted")
    with pytest.raises(NothingCapable) as caught:
        pick(selector, rule, contenders=[seen(FAST, unavailable="no engine"), *ALL[1:]])
    assert caught.value.sentence == (
        "No model can serve task sums.long. Rule for sums: only fast answers sums.long (trusted), "
        "which cannot: no engine. Loosen the task's or the request's limits, or change the rule: "
        "arbiter rules remove sums."
    )


@BOTH
def test_a_pin_to_a_name_that_is_not_here_says_how_to_set_it(selector: Selector) -> None:
    rule = Rule(task=FINE, only=ModelName("owl"))
    with pytest.raises(NothingCapable, match=r"no model or alias is called owl .* alias set owl"):
        pick(selector, rule)


@BOTH
def test_a_pin_to_a_version_that_is_not_in_use_says_so(selector: Selector) -> None:
    with pytest.raises(NothingCapable, match="what fast points at is not in use now"):
        pick(selector, Rule(task=FINE, only=FAST), contenders=ALL[1:])


@BOTH
def test_a_pin_and_a_ban_of_one_version_by_two_names_answer_nobody(selector: Selector) -> None:
    pointed = {**POINTED, ModelName("role"): POINTED[FAST]}
    rule = Rule(task=FINE, only=FAST, never=(ModelName("role"),))
    with pytest.raises(NothingCapable, match="which cannot: rule: never role"):
        pick(selector, rule, pointed=pointed)


def test_a_pin_that_is_only_away_can_be_tried_again() -> None:
    away = [seen(FAST, absent="its server is gone."), *ALL[1:]]
    with pytest.raises(NothingThere, match=r"which is not there now\. its server is gone\."):
        pick(Selector(), Rule(task=FINE, only=FAST), contenders=away)


@BOTH
def test_when_rules_leave_nobody_the_error_tells_of_them(selector: Selector) -> None:
    with pytest.raises(NothingCapable, match=r"fast: rule: never fast; .* change the rules"):
        pick(selector, Rule(task=FINE, never=(FAST, GOOD, BIG)))


@BOTH
def test_a_ban_of_a_name_that_is_not_here_bans_nobody(selector: Selector) -> None:
    assert pick(selector, Rule(task=FINE, never=(ModelName("owl"),))).dropped == ()


@BOTH
def test_a_preference_for_one_who_may_not_is_told(selector: Selector) -> None:
    pointed = {**POINTED, ModelName("role"): POINTED[FAST]}
    rule = Rule(task=FINE, prefer=ModelName("role"), never=(FAST,))
    choice = pick(selector, rule, pointed=pointed)
    assert choice.reason.endswith("; the rule prefers role, which cannot serve it now")
    assert reasons(choice) == {FAST: "rule: never fast"}


@BOTH
@given(st.fixed_dictionaries({}, optional={task: a_rule(task) for task in LINE}))
def test_whatever_the_rules_say_is_kept_to(
    selector: Selector, rules: Mapping[TaskName, Rule]
) -> None:
    said = ruling(LINE, rules) or Ruling()
    try:
        choice = pick(selector, *rules.values())
    except NothingCapable:
        assert set(said.never) == {FAST, GOOD, BIG}
        return
    left = {one.contender.name for one in choice.scored}
    assert not left & set(said.never)
    assert left | {drop.name for drop in choice.dropped} == {FAST, GOOD, BIG}
    if said.takes is not None:
        assert choice.alias == said.takes.takes
        assert said.takes.only is None or left == {said.takes.only}
