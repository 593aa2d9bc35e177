"""What another strategy would have earned, from logs whose making is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random
from typing import Any, cast

import pytest

from arbiter.errors import InvalidField, TooLittleEvidence
from arbiter.refs import ModelName
from arbiter.studies.hindsight import in_hindsight
from arbiter.studies.log import Decision, Log, Result, parse_log

RATES = {"sum": {"ant": 0.9, "bee": 0.5}, "code": {"ant": 0.3, "bee": 0.8}}


def line(**fields: object) -> str:
    whole = {"task": "sum", "picked": "ant", "chances": {"ant": 0.7, "bee": 0.3}, "score": 1}
    return json.dumps({key: value for key, value in {**whole, **fields}.items() if value != "-"})


def parsed(*lines: str) -> Log:
    return parse_log("\n".join(lines), source="log.jsonl")


def drawn(count: int, chances: Mapping[str, float], seed: int = 1) -> Log:
    """A log of a house that picks with these chances, every answer judged."""
    dice = Random(seed)
    lines = []
    for number in range(count):
        task = ("sum", "code")[number % 2]
        (picked,) = dice.choices(list(chances), list(chances.values()))
        score = int(dice.random() < RATES[task][picked])
        lines.append(line(task=task, picked=picked, chances=dict(chances), score=score))
    return parsed(*lines)


def estimate(log: Log, strategy: str) -> dict[str, Any]:
    return cast("dict[str, Any]", in_hindsight(log, strategy))


# -- the file


def test_a_line_is_a_decision_with_the_chances_of_everybody() -> None:
    (one,) = parsed(line(latency_ms=12.5)).entries
    assert isinstance(one, Decision)
    assert (one.picked, one.propensity, list(one.among)) == ("ant", 0.7, ["ant", "bee"])
    assert one.result == Result(task=one.result.task, version=one.result.version, score=1.0,
                                latency_ms=12.5)  # fmt: skip


def test_the_chance_of_the_pick_alone_will_do() -> None:
    (one,) = parsed(line(chances="-", probability=0.7, among=["ant", "bee"], score=None)).entries
    assert isinstance(one, Decision)
    assert one.chances is None
    assert one.propensity == 0.7
    assert one.result.score is None


def test_a_line_may_be_a_graded_case() -> None:
    (one,) = parsed('{"case": "ant", "task": "sum", "score": 0.5}').entries
    assert isinstance(one, Result)
    assert one.score == 0.5


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("{", "no JSON"),
        ("[]", "no JSON object"),
        (line(colour="red"), "no field 'colour'"),
        (line(case="ant"), "neither a decision nor a case"),
        (line(picked="-"), "neither a decision nor a case"),
        (line(task=3), "task is a text"),
        (line(task="a b"), "'a b' is not a task"),
        (line(picked="no body"), "is not a model"),
        (line(score=2), "score is a number from 0 to 1"),
        (line(score=True), "score is a number from 0 to 1"),
        (line(latency_ms=-1), "latency_ms is a number from 0 up"),
        (line(chances={"ant": 0.7, "bee": 0.7}), "sum to 1"),
        (line(chances={"ant": None}), "sum to 1"),
        (line(chances=["ant"]), "chances is an object"),
        (line(probability=0.7), "chances is an object"),
        (line(chances={"bee": 1}), "not among those"),
        (line(chances={"ant": 0, "bee": 1}), "probability above 0"),
        (line(chances="-"), "a decision has chances"),
        (line(chances="-", among=["ant"]), "probability above 0"),
        ('{"case": "ant", "task": "sum"}', "a case has a score"),
    ],
)
def test_a_line_that_is_none_is_refused_with_its_number(wrong: str, said: str) -> None:
    with pytest.raises(InvalidField, match=rf"log\.jsonl, line 3: .*{said}"):
        parsed(line(), "", wrong)


def test_an_empty_log_is_refused() -> None:
    with pytest.raises(InvalidField, match=r"log\.jsonl is empty"):
        parsed("", " ")


# -- what would have been


@pytest.mark.parametrize("name", ["doubly_robust", "baseline", "self_normalised"])
def test_a_model_that_is_always_picked_earns_about_its_rate(name: str) -> None:
    found = estimate(drawn(4000, {"ant": 0.5, "bee": 0.5}), "always:ant")["estimates"][name]
    assert found["mean"] == pytest.approx(0.6, abs=3 * found["se"])
    assert found["se"] < 0.02


def test_doubly_robust_estimates_are_unbiased_over_logs() -> None:
    gaps = []
    for seed in range(60):
        told = estimate(drawn(300, {"ant": 0.6, "bee": 0.4}, seed), "always:bee")["estimates"]
        gaps.append((told["doubly_robust"]["mean"] - 0.65) / told["doubly_robust"]["se"])
    # the mean of 60 standard normal values lies within three of its errors
    assert abs(sum(gaps) / 60) < 3 / 60**0.5


def test_what_learns_is_worth_more_than_what_the_house_did_by_chance() -> None:
    found = estimate(drawn(2000, {"ant": 0.5, "bee": 0.5}), "learned")
    low, _ = found["difference"]["interval"]
    assert low > 0.05


def test_the_static_rule_finds_the_better_model_of_a_task_too() -> None:
    found = estimate(drawn(2000, {"ant": 0.5, "bee": 0.5}), "static")
    assert found["difference"]["interval"][0] > 0.0


def test_a_house_that_always_did_the_same_is_judged_at_what_it_earned() -> None:
    found = estimate(drawn(200, {"ant": 1.0, "bee": 0.0}), "always:ant")
    assert found["effective_sample"] == pytest.approx(200)
    for one in found["estimates"].values():
        assert one["mean"] == pytest.approx(found["earned"]["mean"])
    assert found["difference"] == {"mean": 0.0, "se": 0.0, "interval": [0.0, 0.0]}


def test_what_the_house_never_did_is_not_guessed_at() -> None:
    with pytest.raises(TooLittleEvidence, match="would never have picked") as refused:
        in_hindsight(drawn(500, {"ant": 1.0, "bee": 0.0}), "always:bee")
    assert "500 (" in str(refused.value)


def test_too_few_decisions_are_refused_with_how_many_they_are_worth() -> None:
    with pytest.raises(TooLittleEvidence, match=r"worth 49\.0 decisions .* and 50"):
        in_hindsight(drawn(49, {"ant": 1.0, "bee": 0.0}), "always:ant")


def test_uneven_chances_make_a_long_log_worth_little() -> None:
    found = estimate(drawn(1000, {"ant": 0.9, "bee": 0.1}), "always:bee")
    assert found["effective_sample"] < 150
    assert found["largest_weight"] == pytest.approx(10.0)


def test_answers_that_nobody_judged_are_counted_and_left_out() -> None:
    judged = [line(score=n % 2) for n in range(100)]
    found = estimate(parsed(*judged, line(score=None), line(score="-")), "always:ant")
    assert found["used"] == 100
    assert found["left_out"] == {"nobody judged the answer": 2}
    assert found["decisions"] == 102


def test_a_model_that_could_not_serve_is_not_credited() -> None:
    lines = [line(score=n % 2) for n in range(100)]
    without = line(picked="cat", chances={"cat": 0.5, "bee": 0.5})
    found = estimate(parsed(*lines, without), "always:ant")
    assert found["left_out"] == {"the strategy's model could not serve": 1}


def test_a_log_without_everybodys_chances_says_so() -> None:
    lines = [
        line(chances="-", probability=0.5, among=["ant", "bee"], score=n % 2) for n in range(100)
    ]
    assert estimate(parsed(*lines), "always:ant")["is_support_known"] is False
    assert estimate(drawn(200, {"ant": 0.5, "bee": 0.5}), "static")["is_support_known"] is True


def test_graded_cases_are_evidence_before_the_first_decision() -> None:
    """Twelve cases tell the static rule whom to pick; without them it takes the first by name."""
    cases = [
        json.dumps({"case": name, "task": task, "score": score})
        for task, right in (("sum", "bee"), ("code", "bee"))
        for name in ("ant", "bee")
        for score in [int(name == right)] * 12
    ]
    lines = [
        line(picked=name, chances={"ant": 0.5, "bee": 0.5}, score=int(name == "bee"))
        for name in ("ant", "bee") * 60
    ]
    assert estimate(parsed(*cases, *lines), "static")["estimates"]["baseline"]["mean"] == 1.0


def test_a_strategy_that_is_none_is_refused() -> None:
    for wrong in ("luck", "always:no body"):
        with pytest.raises(InvalidField):
            in_hindsight(drawn(10, {"ant": 1.0, "bee": 0.0}), wrong)


def test_a_pick_without_a_chance_may_be_made_when_nothing_is_known_of_others() -> None:
    (one,) = parsed(line(chances="-", probability=0.7, among=["ant", "bee"])).entries
    assert isinstance(one, Decision)
    assert one.may_pick(ModelName("bee"))


def test_a_model_that_the_log_never_names_is_refused_with_those_that_it_names() -> None:
    with pytest.raises(InvalidField, match=r"picked a model called owl\.") as found:
        in_hindsight(drawn(60, {"ant": 0.5, "bee": 0.5}), "always:owl")
    assert found.value.hint is not None
    assert "ant, bee" in found.value.hint
    with pytest.raises(TooLittleEvidence):
        in_hindsight(Log(source="a house where nothing happened", entries=()), "always:owl")
