"""A swap replayed: pairs from a file or by rule, and five ways to begin with a successor."""

from __future__ import annotations

from typing import Any, cast

import pytest

from arbiter.errors import InvalidField
from arbiter.studies.pairs import KINDS, Pair, made, parse_pairs
from arbiter.studies.pools import Pool, parse_pool
from arbiter.studies.replay import summary
from arbiter.studies.swaps import FIXED, POLICIES, SwapPlan, replay_swaps
from arbiter.studies.world import World

TABLE = """task,n,ant,bee,cat
sum,60,0.9,0.5,0.2
code,30,0.3,0.8,0.4
form,10,0.5,0.5,0.9
list,20,0.6,0.5,0.4
"""

PAIRS = """kind,old,new,task,n,p_old,p_new
better,ant,owl,sum,60,0.9,0.95
better,ant,owl,code,30,0.3,0.9
worse,cat,bee,sum,60,0.2,0.1
worse,cat,bee,code,30,0.4,0.3
"""


def pool() -> Pool:
    return parse_pool(TABLE, source="pool.csv")


def pairs(text: str = PAIRS, others: Pool | None = None) -> tuple[Pair, ...]:
    return parse_pairs(text, source="pairs.csv", others=others or pool())


def made_pair(kind: str, old: str = "ant") -> Pair:
    return next(pair for pair in made(pool(), old=[old]) if pair.kind == kind)


def rates(pair: Pair) -> list[float]:
    """Of the successor, task by task."""
    return [round(row[0], 6) for row in pair.after.rates]


def replayed(*told: Pair, **plan: Any) -> dict[str, Any]:
    found = replay_swaps(told, SwapPlan(**{"requests": 300, "seeds": 3, **plan}))
    return cast("dict[str, Any]", found)


# -- pairs


def test_the_other_versions_of_the_table_stand_beside_a_pair_and_its_own_names_do_not() -> None:
    better, worse = pairs()
    assert better.before.versions == ("ant", "bee", "cat")
    assert better.after.versions == ("owl", "bee", "cat")
    assert worse.before.versions == ("cat", "ant")
    assert worse.after.versions == ("bee", "ant")
    assert worse.after.rates == ((0.1, 0.9), (0.3, 0.3))


def test_the_traffic_of_a_pair_is_that_of_its_file() -> None:
    assert pairs()[0].after.shares == (60 / 90, 30 / 90)


def test_without_a_table_the_old_versions_of_the_other_pairs_stand_beside() -> None:
    better, _ = parse_pairs(PAIRS, source="pairs.csv")
    assert better.before.versions == ("ant", "cat")


def test_a_successor_of_the_same_name_is_another_version() -> None:
    text = "kind,old,new,task,n,p_old,p_new\nequal,ant,ant,sum,60,0.9,0.9\n"
    (same,) = pairs(text)
    assert same.new != same.old
    assert same.after.versions[0] == same.new


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("better,ant,owl,sum,60,0.9", "line 2 has 6 values"),
        ("better,ant,owl,sum,60,0.9,1.5", "line 2: '1.5' is no success rate"),
        ("better,ant,owl,sum,many,0.9,0.5", "line 2: 'many' is no number"),
        ("better,ant,owl,a b,60,0.9,0.5", "line 2: 'a b' is not a task"),
        ("better,,owl,sum,60,0.9,0.5", "line 2 lacks the kind"),
        ("better,ant,owl,walk,60,0.9,0.5", "line 2: the table of the others has no task walk"),
        ("better,ant,owl,sum,0,0.9,0.5", "no task has any traffic"),
    ],
)
def test_a_line_that_is_no_pair_is_refused_with_its_number(line: str, wrong: str) -> None:
    with pytest.raises(InvalidField, match=rf"pairs\.csv.*{wrong}"):
        pairs(f"kind,old,new,task,n,p_old,p_new\n{line}\n")


def test_a_task_that_stands_twice_in_a_pair_is_refused() -> None:
    line = "better,ant,owl,sum,60,0.9,0.5\n"
    with pytest.raises(InvalidField, match=r"line 3: sum stands twice"):
        pairs(f"kind,old,new,task,n,p_old,p_new\n{line}{line}")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [("", "is empty"), ("a,b\n1,2\n", "line 1, is not kind"),
     ("kind,old,new,task,n,p_old,p_new\n", "has no pair")],
)  # fmt: skip
def test_a_file_without_pairs_is_refused(text: str, wrong: str) -> None:
    with pytest.raises(InvalidField, match=rf"pairs\.csv.*{wrong}"):
        pairs(text)


def test_a_pair_beside_which_nothing_stands_is_refused() -> None:
    alone = "kind,old,new,task,n,p_old,p_new\nbetter,ant,owl,sum,60,0.9,0.95\n"
    with pytest.raises(InvalidField, match="--others"):
        parse_pairs(alone, source="pairs.csv")


# -- pairs by rule


def test_a_table_gives_a_pair_of_each_kind_for_the_version_that_is_best_over_all() -> None:
    found = parse_pairs(TABLE, source="pool.csv")
    assert tuple(pair.kind for pair in found) == KINDS
    assert {pair.old for pair in found} == {"ant"}
    assert all(pair.before == found[0].before for pair in found)
    assert found[0].after.versions == ("ant-better", "bee", "cat")


def test_the_rules_are_those_that_are_documented() -> None:
    assert rates(made_pair("equal")) == [0.9, 0.3, 0.5, 0.6]
    assert rates(made_pair("better")) == [0.95, 0.35, 0.55, 0.65]
    assert rates(made_pair("mixed")) == [1.0, 0.2, 0.6, 0.5]
    assert rates(made_pair("worse")) == [0.81, 0.27, 0.45, 0.54]
    assert rates(made_pair("broken-format")) == [0.27, 0.09, 0.15, 0.6]


def test_a_hidden_loss_is_where_the_version_was_needed_most() -> None:
    assert rates(made_pair("hidden-loss")) == [0.27, 0.33, 0.53, 0.63]
    assert rates(made_pair("hidden-loss", old="bee")) == [0.53, 0.24, 0.53, 0.53]


def test_a_version_that_the_table_lacks_cannot_be_replaced() -> None:
    with pytest.raises(InvalidField, match="no version owl"):
        parse_pairs(TABLE, source="pool.csv", old=["owl"])


def test_old_versions_are_named_for_a_table_only_and_others_for_pairs_only() -> None:
    with pytest.raises(InvalidField, match="names its old versions itself"):
        parse_pairs(PAIRS, source="pairs.csv", old=["ant"])
    with pytest.raises(InvalidField, match="its own"):
        parse_pairs(TABLE, source="pool.csv", others=pool())


# -- the replay


def test_every_policy_is_told_with_its_error_and_the_best_of_the_fixed_ones() -> None:
    found = replayed(made_pair("equal"))["kinds"]["equal"]
    assert tuple(found["regret"]) == tuple(POLICIES)
    best = found["best"]
    assert best in FIXED
    assert found["regret"][best]["mean"] == min(found["regret"][name]["mean"] for name in FIXED)
    gap = found["regret"]["learned"]["mean"] - found["regret"][best]["mean"]
    assert found["difference"]["mean"] == pytest.approx(gap)
    allowed = 0.1 * found["regret"][best]["mean"] + 2 * found["difference"]["se"]
    assert found["allowed"] == pytest.approx(allowed)
    assert found["is_within"] == (gap <= allowed)


def test_a_seed_gives_the_same_run_again_and_a_pair_does_not_hang_on_its_neighbours() -> None:
    one, other = made_pair("worse"), made_pair("better")
    alone = replayed(one)["kinds"]["worse"]
    assert replayed(other, one)["kinds"]["worse"] == alone


def test_whoever_forgets_everything_loses_more_than_whoever_starts_with_a_successor_alone() -> None:
    lost = replayed(made_pair("equal"), requests=600, seeds=5)["kinds"]["equal"]["regret"]
    assert lost["reset-slot"]["mean"] < lost["forget-all"]["mean"]


def test_after_a_version_that_breaks_whoever_inherits_or_forgets_all_loses_more() -> None:
    """A leader breaks everywhere, and two cases a task are all that warns of it.

    With eight cases nobody loses anything by what is inherited: they say it all.
    """
    table = """task,n,ant,bee,cat
sum,60,0.9,0.7,0.2
code,30,0.9,0.8,0.4
form,10,0.9,0.6,0.8
list,20,0.8,0.5,0.7
"""
    broken = """kind,old,new,task,n,p_old,p_new
broken,ant,owl,sum,60,0.9,0.27
broken,ant,owl,code,30,0.9,0.27
broken,ant,owl,form,10,0.9,0.27
broken,ant,owl,list,20,0.8,0.24
"""
    pair = pairs(broken, parse_pool(table, source="pool.csv"))
    runs = [
        replayed(*pair, requests=600, seeds=1, first=seed, cases=2)["kinds"]["broken"]["regret"]
        for seed in range(32)
    ]
    for policy in ("inherit-all", "cap-2", "forget-all"):
        more = summary([run[policy]["mean"] - run["learned"]["mean"] for run in runs])
        assert more["mean"] is not None
        assert more["se"] is not None
        assert more["mean"] > 3.0 * more["se"], policy


def test_without_cases_and_without_feedback_what_is_inherited_is_all_that_is_known() -> None:
    """Bee is best at code and stays so: who inherits its record never tries another there."""
    lost = replayed(made_pair("equal", old="bee"), feedback=0.0, cases=0, calibration=200)
    regret = lost["kinds"]["equal"]["regret"]
    assert regret["inherit-all"]["mean"] < 1.0 < regret["reset-slot"]["mean"]


def test_a_predecessors_scores_are_given_as_often_as_the_policy_says() -> None:
    pair = made_pair("equal")
    heard = [(0, 0, 1.0)] * 9 + [(0, 0, 0.0)] * 3

    def count(policy: str) -> float:
        world = POLICIES[policy](heard, pair)
        assert world.table is not None
        return world.table.get(world.tasks[0], world.contenders[0].version).samples

    assert {name: count(name) for name in POLICIES} == {
        "learned": 0.0,
        "inherit-all": 12.0,
        "cap-2": 2.0,
        "reset-slot": 0.0,
        "forget-all": 0.0,
    }


def test_pairs_of_a_kind_are_averaged_within_a_seed() -> None:
    both = replayed(made_pair("worse"), made_pair("worse", old="bee"))["kinds"]["worse"]
    each = [one["regret"]["cap-2"]["mean"] for one in both["pairs"]]
    assert both["regret"]["cap-2"]["mean"] == pytest.approx(sum(each) / 2)
    assert [one["old"] for one in both["pairs"]] == ["ant", "bee"]


def test_the_successor_is_run_on_as_many_cases_as_the_others_were_unless_told() -> None:
    assert SwapPlan(calibration=5).successor_cases == 5
    assert SwapPlan(calibration=5, cases=0).successor_cases == 0
    with pytest.raises(InvalidField, match="--cases"):
        SwapPlan(cases=-1)


def test_a_run_tells_how_far_it_is() -> None:
    told: list[tuple[int, int]] = []
    plan = SwapPlan(requests=20, seeds=2)
    replay_swaps(pairs(), plan, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_world_that_forgot_knows_nothing_of_anybody() -> None:
    world: World = POLICIES["forget-all"]([(0, 1, 1.0)] * 9, made_pair("equal"))
    assert world.table is not None
    assert world.table.get(world.tasks[0], world.contenders[1].version).samples == 0.0
