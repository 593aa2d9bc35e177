"""Who is asked among several that are alike, due or in the know, and what is said of it."""

from __future__ import annotations

import pytest

from arbiter.pool.balancer import ANSWERS, TRIAL_SHARE, Choice, Host, Standing, choose, ramp


def at(toss: float, *hosts: Host, bound: float = 2.0) -> str:
    return choose(hosts, bound=bound, toss=toss).id


def test_the_toss_falls_into_one_share_after_the_other() -> None:
    # one request at three times the weight costs as much as one at a third of it
    alike = (
        Host(id="a", weight=1.0, slots=9),
        Host(id="b", weight=3.0, outstanding=2, slots=9),
        Host(id="c", weight=1.0, slots=9),
    )
    tosses = {0.0: "a", 0.19: "a", 0.21: "b", 0.79: "b", 0.81: "c", 0.999: "c", 1.0: "c"}
    assert {toss: at(toss, *alike) for toss in tosses} == tosses


def test_those_without_a_weight_are_drawn_evenly_when_nobody_else_is_left() -> None:
    alike = (Host(id="a", weight=0.0), Host(id="b", weight=0.0))
    assert [at(toss, *alike) for toss in (0.0, 0.49, 0.51, 0.99)] == ["a", "a", "b", "b"]


def test_of_several_that_are_due_the_one_with_least_to_do_is_tried() -> None:
    due = (
        Host(id="busy", is_due=True, outstanding=3, slots=9),
        Host(id="idle", is_due=True, outstanding=1, slots=9),
        Host(id="well", slots=9),
    )
    assert at(TRIAL_SHARE / 2, *due) == "idle"
    assert at(TRIAL_SHARE, *due) == "well"


def test_a_trial_says_that_it_is_one_and_loads_another_if_all_are_busy() -> None:
    due = Host(id="due", is_due=True, outstanding=1, slots=1, opens_at=1)
    away = Host(id="away", standing=Standing.AWAY)
    assert choose([due, away], bound=2.0, toss=0.5) == Choice(
        id="due", reason="it kept failing, and is tried again", opens="away"
    )


def test_whoever_has_seen_most_of_a_prompt_is_asked_first() -> None:
    knowing = (
        Host(id="little", knows=100, slots=9),
        Host(id="much", knows=900, outstanding=1, slots=9),
    )
    assert at(0.5, *knowing) == "much"


def test_among_busy_ones_only_how_much_busier_counts() -> None:
    knows = Host(id="knows", knows=900, outstanding=7, slots=9)
    other = Host(id="other", outstanding=5, slots=9)
    assert at(0.5, knows, other, bound=2.0) == "knows"
    assert at(0.5, knows, other, bound=1.5) == "other"


@pytest.mark.parametrize(
    ("since_s", "answered", "window_s", "come"),
    [
        (0.25, 0, 0.5, 0.5),
        (0.0, 0, 0.0, 1.0),
        (0.0, ANSWERS // 2, 100.0, 0.5),
        (0.0, ANSWERS, 100.0, 1.0),
        (0.0, 1, 100.0, 0.1),
        (50.0, 2, 100.0, 0.5),
    ],
)
def test_a_slow_start_goes_by_time_or_requests_whichever_is_further(
    since_s: float, answered: int, window_s: float, come: float
) -> None:
    assert ramp(since_s, answered, window_s=window_s) == come
