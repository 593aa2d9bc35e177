"""The production selector over a pool whose rates are known."""

from __future__ import annotations

import pytest

from arbiter.errors import InvalidField
from arbiter.studies.pools import Pool, parse_pool
from arbiter.studies.replay import Break, Plan, replay, replay_break

S5 = """\
task,n,codegemma-7b,gemma-2-9b-it,llama-3.1-8b-instruct,mistral-7b-instruct-v0.3,qwen2.5-7b-instruct
agentverse-logicgrid,200,0.01,0.315,0.075,0.115,0.01
agentverse-mgsm,250,0.116,0.764,0.86,0.32,0.896
arc_challenge,500,0.518,0.682,0.752,0.742,0.858
commongen,200,0.267,0.6118,0.7105,0.4903,0.5978
commonsense_qa,500,0.39,0.744,0.734,0.672,0.856
gpqa,498,0.0442,0.1888,0.1305,0.1466,0.0562
gsm8k,550,0.56,0.8218,0.8473,0.4327,0.8236
human_eval,214,0.4579,0.0888,0.5514,0.0654,0.6916
math,504,0.1429,0.1885,0.3492,0.0496,0.3056
mbpp,548,0.5712,0.5785,0.6387,0.0639,0.6934
mmlu,548,0.1624,0.812,0.6989,0.4489,0.1588
natural_qa,550,0.1909,0.4109,0.4691,0.4164,0.3436
openbook_qa,496,0.4435,0.7702,0.7359,0.6895,0.8165
trivia_qa,550,0.0945,0.1891,0.1855,0.1982,0.1509
"""
"""Accuracy of five small open models on 14 tasks, from ulab-uiuc/LLMRouter (MIT)."""

TABLE = """task,n,ant,bee,cat
sum,60,0.9,0.5,0.2
code,30,0.3,0.8,0.4
form,10,0.5,0.5,0.9
"""

NONE = {"mean": 0.0, "se": 0.0}


def pool() -> Pool:
    return parse_pool(TABLE, source="pool.csv")


def regret(strategy: str) -> float:
    plan = Plan(strategy=strategy, requests=2000, calibration=8, seeds=4)
    found = replay(parse_pool(S5, source="s5.csv"), plan)["regret"]
    assert isinstance(found, dict)
    return float(found["mean"])


def test_what_learns_loses_less_than_the_static_rule_and_than_chance() -> None:
    chance = parse_pool(S5, source="s5.csv").random_regret * 2000
    assert regret("learned") < regret("static") < chance


def test_a_seed_gives_the_same_run_again() -> None:
    assert regret("learned") == regret("learned")


def test_a_version_that_breaks_loses_its_traffic() -> None:
    plan = Plan(requests=600, feedback=0.5, seeds=3)
    found = replay_break(pool(), plan, Break(version="ant", to=0.1, at=400))
    share, of_traffic = found["share"], found["share_of_traffic"]
    assert isinstance(share, dict)
    assert isinstance(of_traffic, dict)
    assert share["1000"]["mean"] < 0.2
    assert of_traffic["1000"] < 0.2


def test_cases_are_run_again_when_a_version_breaks_and_are_counted() -> None:
    plan = Plan(requests=600, feedback=0.5, seeds=3)
    found = replay_break(pool(), plan, Break(version="ant", to=0.1, at=400))["run_again"]
    assert isinstance(found, dict)
    assert found["times"]["mean"] >= 1.0
    assert found["cases"]["mean"] == found["times"]["mean"] * 3 * 8


def test_without_cases_none_are_run_again() -> None:
    plan = Plan(requests=600, feedback=0.5, calibration=0, seeds=2)
    found = replay_break(pool(), plan, Break(version="ant", to=0.1, at=400))["run_again"]
    assert isinstance(found, dict)
    assert [found[what] for what in ("times", "cases", "falls")] == [NONE] * 3


def test_the_static_rule_suspects_nobody() -> None:
    plan = Plan(strategy="static", requests=300, feedback=0.5, seeds=2)
    found = replay(pool(), plan)["run_again"]
    assert isinstance(found, dict)
    assert [found[what] for what in ("times", "cases", "falls")] == [NONE] * 3


def test_runs_are_numbered_and_those_of_other_numbers_are_others() -> None:
    def runs(first: int, seeds: int) -> float:
        plan = Plan(requests=300, seeds=seeds, first=first)
        found = replay(pool(), plan)["regret"]
        assert isinstance(found, dict)
        return float(found["mean"])

    assert runs(4, 2) == pytest.approx((runs(4, 1) + runs(5, 1)) / 2)
    assert runs(4, 1) != runs(5, 1)


def test_a_version_that_was_no_pick_anywhere_has_no_share_to_lose() -> None:
    plan = Plan(requests=600, feedback=0.5, seeds=1)
    found = replay_break(pool(), plan, Break(version="ant", to=1.0, at=400))
    assert found["share"] == found["share_of_traffic"] == {"500": None, "1000": None}


@pytest.mark.parametrize(
    "text",
    ["", "task,n\n", "task,n,ant\nsum,60,1.5\n", "task,n,ant\nsum,-1,0.5\n", "a,b,c\n1,2,3\n"],
)
def test_a_table_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidField, match=r"pool\.csv"):
        parse_pool(text, source="pool.csv")


def test_a_plan_that_cannot_be_run_is_refused() -> None:
    with pytest.raises(InvalidField, match="no strategy"):
        Plan(strategy="luck")
    with pytest.raises(InvalidField, match="--feedback"):
        Plan(feedback=2.0)
