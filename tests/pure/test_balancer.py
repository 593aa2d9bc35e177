"""Which instance a request goes to: whatever the hosts are, the rules hold."""

from __future__ import annotations

from dataclasses import replace
from math import floor
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from arbiter.inference import Chat, Completion, Embedding, Message, Tool, Tools
from arbiter.pool.balancer import (
    ANSWERS,
    LEAST_RAMP,
    TRIAL_SHARE,
    Choice,
    Host,
    Standing,
    choose,
    ramp,
)
from arbiter.pool.traces import LEAST_CHARS, PIECE_CHARS, Traces, beginnings

WEIGHTS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0])


@st.composite
def hosts(draw: st.DrawFn) -> list[Host]:
    return [
        Host(
            id=f"host-{number}",
            outstanding=draw(st.integers(0, 12)),
            slots=draw(st.integers(1, 8)),
            opens_at=draw(st.integers(1, 8)),
            weight=draw(WEIGHTS),
            ramp=draw(st.floats(LEAST_RAMP, 1.0)),
            knows=draw(st.sampled_from([0, 0, 200, 900])),
            standing=draw(st.sampled_from(Standing)),
            failing=draw(st.sampled_from([None, None, "it kept failing: status 500"])),
            is_due=draw(st.booleans()),
        )
        for number in range(draw(st.integers(1, 6)))
    ]


TOSSES = st.floats(0.0, 1.0, exclude_max=True)
BOUNDS = st.floats(0.0, 5.0)


def chosen(all_: list[Host], choice: Choice) -> Host:
    return next(host for host in all_ if host.id == choice.id)


@given(hosts(), BOUNDS, TOSSES)
def test_who_keeps_failing_is_never_asked_while_somebody_who_does_not_is_there(
    all_: list[Host], bound: float, toss: float
) -> None:
    one = chosen(all_, choose(all_, bound=bound, toss=toss))
    if any(host.failing is None for host in all_):
        assert one.failing is None


@given(hosts(), BOUNDS, TOSSES)
def test_who_has_no_weight_is_asked_only_when_nobody_who_is_well_has_any(
    all_: list[Host], bound: float, toss: float
) -> None:
    one = chosen(all_, choose(all_, bound=bound, toss=toss))
    if one.weight == 0 and one.failing is None:
        assert all(host.weight == 0 for host in all_ if host.failing is None)


@given(hosts(), BOUNDS, TOSSES)
def test_nobody_waits_for_a_load_or_a_slot_that_a_sibling_who_is_ready_has_free(
    all_: list[Host], bound: float, toss: float
) -> None:
    one = chosen(all_, choose(all_, bound=bound, toss=toss))
    alike = [host for host in all_ if (host.failing, host.weight == 0) == (None, False)]
    ready = [host for host in alike if host.standing is Standing.READY]
    if ready:
        assert one.standing is Standing.READY
    well = [host for host in ready if not host.is_due]
    if any(host.has_room for host in well) and not one.is_due:
        assert one.has_room


@given(hosts(), BOUNDS, TOSSES)
def test_a_cache_is_followed_within_the_bound_and_never_beyond_it(
    all_: list[Host], bound: float, toss: float
) -> None:
    choice = choose(all_, bound=bound, toss=toss)
    one = chosen(all_, choice)
    alike = [host for host in all_ if host.rank == one.rank and not host.is_due]
    free = [host for host in alike if host.has_room] or alike
    if one.standing is not Standing.READY or one.is_due:
        return
    least = min(host.load for host in free)
    within = [host for host in free if host.knows and host.load <= least + bound]
    if choice.reason.startswith("it has seen"):
        assert one.load <= least + bound
    if within and one.failing is None:
        assert one.knows == max(host.knows for host in within)
    if not within:
        assert one.cost == min(host.cost for host in free)


@given(st.lists(st.sampled_from([1.0, 2.0, 3.0, 5.0]), min_size=2, max_size=5), TOSSES)
def test_nobody_ever_has_less_than_its_weights_share_rounded_down(
    weights: list[float], toss: float
) -> None:
    all_ = [Host(id=str(n), weight=weight, slots=1000) for n, weight in enumerate(weights)]
    for sent in range(1, 80):
        choice = choose(all_, bound=0, toss=toss)
        all_ = [
            replace(host, outstanding=host.outstanding + (host.id == choice.id)) for host in all_
        ]
        for host in all_:
            assert host.outstanding >= floor(sent * host.weight / sum(weights) + 1e-9)


def test_of_several_that_are_idle_each_is_drawn_by_its_weight() -> None:
    dice = Random(7)
    idle = [Host(id="a", weight=1.0), Host(id="b", weight=1.0), Host(id="c", weight=1.0)]
    drawn = [choose(idle, bound=2, toss=dice.random()).id for _ in range(3_000)]
    # a binomial of 3,000 and 1/3 has a standard deviation of 26; five of those
    assert all(abs(drawn.count(id_) - 1_000) < 130 for id_ in "abc")


def test_one_in_ten_requests_tries_who_kept_failing_once_its_pause_is_over() -> None:
    dice = Random(11)
    both = [Host(id="well", slots=4), Host(id="due", slots=4, is_due=True)]
    tried = [choose(both, bound=2, toss=dice.random()).id for _ in range(2_000)].count("due")
    assert abs(tried - 2_000 * TRIAL_SHARE) < 70
    alone = choose([replace(both[1], is_due=True)], bound=2, toss=0.9)
    assert alone.id == "due"


def test_the_last_one_is_asked_however_often_it_failed() -> None:
    choice = choose([Host(id="a", failing="it kept failing: status 500")], bound=2, toss=0.5)
    assert choice.reason == "nobody else is left, though it kept failing: status 500"


@given(
    st.floats(0, 100), st.floats(0, 100), st.integers(0, 40), st.integers(0, 40), st.floats(0, 60)
)
def test_a_slow_start_only_ever_goes_on(
    earlier: float, more: float, answered: int, further: int, window_s: float
) -> None:
    before = ramp(earlier, answered, window_s=window_s)
    after = ramp(earlier + more, answered + further, window_s=window_s)
    assert LEAST_RAMP <= before <= after <= 1.0
    assert ramp(earlier, ANSWERS, window_s=window_s) == 1.0
    assert ramp(window_s, 0, window_s=window_s) == 1.0


def test_who_is_new_gets_its_share_little_by_little() -> None:
    def share(come: float) -> int:
        all_ = [Host(id="old", slots=100), Host(id="new", slots=100, ramp=come)]
        for _ in range(40):
            choice = choose(all_, bound=0, toss=0.5)
            all_ = [
                replace(one, outstanding=one.outstanding + (one.id == choice.id)) for one in all_
            ]
        return all_[1].outstanding

    shares = [share(come) for come in (0.1, 0.25, 0.5, 1.0)]
    assert shares == [3, 8, 13, 20]


def test_one_more_is_loaded_only_when_everybody_who_is_ready_has_work() -> None:
    away = Host(id="b", standing=Standing.AWAY)
    busy = Host(id="a", outstanding=4, slots=4, opens_at=4)
    assert choose([busy, away], bound=2, toss=0.5) == Choice(
        id="a", reason="it has the least to do: 4 of 4", opens="b"
    )
    idle = replace(busy, outstanding=3)
    assert choose([idle, away], bound=2, toss=0.5).opens is None
    assert choose([busy, away], bound=2, toss=0.5, may_open=False).opens is None
    assert choose([busy, replace(away, weight=0.0)], bound=2, toss=0.5).opens is None
    assert choose([busy, replace(away, failing="gone")], bound=2, toss=0.5).opens is None
    loading = Host(id="c", standing=Standing.LOADING)
    assert choose([busy, away, loading], bound=2, toss=0.5).opens is None


def test_nobody_ready_means_that_the_one_that_will_be_soonest_is_waited_for() -> None:
    all_ = [Host(id=one.name, standing=one) for one in reversed(Standing) if one]
    choice = choose(all_, bound=2, toss=0.5)
    assert (choice.id, choice.reason) == ("LOADING", "nobody is ready; it is loading")


def talk(*said: str, tools: Tools | None = None) -> Chat:
    roles = ("user", "assistant")
    turns = [Message(role=roles[n % 2], content=text) for n, text in enumerate(said)]  # type: ignore[arg-type]
    return Chat(messages=tuple(turns), tools=tools)


LONG = "Tell me all that you know of herons. " * 5


def test_the_next_turn_of_a_conversation_is_known_where_the_turns_before_it_went() -> None:
    traces = Traces()
    traces.note(beginnings(talk(LONG)), "a")
    traces.note(beginnings(talk(LONG, "They fish.", "And owls?")), "b")
    assert traces.known(beginnings(talk(LONG, "They fish.", "And owls?", "At night."))) == {
        "b": len(LONG) + 19,
        "a": len(LONG),
    }
    assert traces.known(beginnings(talk(LONG + "!"))) == {}


def test_other_tools_are_another_beginning() -> None:
    traces = Traces()
    traces.note(beginnings(talk(LONG, tools=Tools(offered=(Tool(name="look"),)))), "a")
    assert traces.known(beginnings(talk(LONG))) == {}


def test_what_is_read_again_in_no_time_binds_nobody() -> None:
    assert beginnings(talk("x" * (LEAST_CHARS - 1))) == ()
    assert beginnings(Completion(prompt="x" * (PIECE_CHARS - 1))) == ()
    assert beginnings(Embedding(inputs=("x" * 5_000,))) == ()
    assert beginnings(None) == ()


def test_a_text_that_is_no_unicode_has_a_beginning_too() -> None:
    assert len(beginnings(talk("\ud800" * LEAST_CHARS))) == 1


def test_an_instance_that_is_loaded_anew_has_seen_nothing() -> None:
    traces = Traces()
    for who in "ab":
        traces.note(beginnings(talk(LONG)), who)
    traces.forget("a")
    assert traces.known(beginnings(talk(LONG))) == {"b": len(LONG)}
    traces.forget("b")
    assert len(traces) == 0


def test_no_more_is_remembered_than_the_bound_says() -> None:
    traces = Traces(most=3)
    for number in range(10):
        traces.note(beginnings(talk(f"{number}{LONG}")), "a")
    assert len(traces) == 3
    assert traces.known(beginnings(talk(f"9{LONG}"))) == {"a": len(LONG) + 1}
    assert traces.known(beginnings(talk(f"0{LONG}"))) == {}
