"""How fast a version is: what an answer tells, what many add up to, what is expected unseen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from arbiter.inference import (
    Chat,
    Completion,
    Embedding,
    Message,
    Timings,
    Tool,
    ToolCall,
    Tools,
    Usage,
    Work,
    prompt_chars,
)
from arbiter.knowledge import speeds as module
from arbiter.knowledge.speed import NEVER_TIMED, Measured, Timing, expected, timing
from arbiter.knowledge.speeds import (
    BEHIND,
    HALF_LIFE,
    LATEST,
    LEAST_PROMPTS,
    MOST_CELLS,
    OFTEN,
    Speeds,
)
from arbiter.refs import GENERAL, TaskName, VersionId
from arbiter.stats.quantiles import RELATIVE_ERROR

SUMS, CODE, CHAT = (TaskName(name) for name in ("sums", "code", "chat"))
A, B = VersionId("a"), VersionId("b")
CLOSE = RELATIVE_ERROR + 1e-6


def took(ms: float) -> Timing:
    return Timing(latency_ms=ms)


def timed(speeds: Speeds, task: TaskName, times: list[float], version: VersionId = A) -> Speeds:
    for ms in times:
        speeds.add(version, task, took(ms))
    return speeds


# -- what one answer tells

USAGE = Usage(prompt_tokens=200, completion_tokens=41, cached_tokens=0)


def told(
    *,
    latency_ms: float | None = 1000.0,
    wait_ms: float | None = None,
    ttft_ms: float | None = None,
    usage: Usage = USAGE,
    timings: Timings = Timings(),
    prompt_chars: int | None = None,
) -> Timing:
    return timing(
        latency_ms=latency_ms,
        wait_ms=wait_ms,
        ttft_ms=ttft_ms,
        usage=usage,
        timings=timings,
        prompt_chars=prompt_chars,
    )


def test_the_wait_for_a_slot_or_a_load_is_not_the_versions() -> None:
    one = told(latency_ms=5000.0, wait_ms=4000.0, ttft_ms=4100.0)
    assert (one.latency_ms, one.first_ms) == (1000.0, 100.0)


def test_an_answer_in_one_piece_tells_no_time_to_its_first_token() -> None:
    one = told()
    assert (one.latency_ms, one.first_ms, one.tokens_per_s) == (1000.0, None, None)


RATES = [
    (told(timings=Timings(decode_ms=820.0)), 50.0),  # the engine's own stopwatch
    (told(timings=Timings(decode_ms=820.0), ttft_ms=999.0), 50.0),
    (told(ttft_ms=200.0), 50.0),  # 40 more tokens in 800 ms
    (told(ttft_ms=960.0), None),  # all came at once
    (told(ttft_ms=200.0, usage=Usage(completion_tokens=7)), None),
    (told(ttft_ms=200.0, usage=Usage()), None),
    (told(ttft_ms=200.0, latency_ms=None), None),
]


@pytest.mark.parametrize(("one", "rate"), RATES)
def test_tokens_are_timed_by_the_engine_and_else_from_the_first_piece_to_the_last(
    one: Timing, rate: float | None
) -> None:
    assert one.tokens_per_s == rate


PREFILL = Timings(prefill_ms=100.0)
READ = [
    (told(timings=PREFILL), 2000.0),
    (told(timings=PREFILL, usage=replace(USAGE, cached_tokens=150)), 500.0),
    (told(timings=PREFILL, usage=replace(USAGE, cached_tokens=None)), None),
    (told(timings=PREFILL, usage=replace(USAGE, prompt_tokens=None)), None),
    (told(timings=PREFILL, usage=replace(USAGE, cached_tokens=195)), None),
    (told(), None),
]


@pytest.mark.parametrize(("one", "rate"), READ)
def test_how_fast_a_prompt_is_read_is_told_where_it_is_known_how_much_was(
    one: Timing, rate: float | None
) -> None:
    assert one.prompt_tokens_per_s == rate


@pytest.mark.parametrize(
    ("chars", "usage", "ratio"),
    [(800, USAGE, 4.0), (499, USAGE, None), (None, USAGE, None), (800, Usage(), None)],
)
def test_long_prompts_tell_how_many_characters_make_a_token(
    chars: int | None, usage: Usage, ratio: float | None
) -> None:
    assert told(prompt_chars=chars, usage=usage).chars_per_token == ratio


CALL = ToolCall(id="1", name="clock", arguments="{...}")
WORKS: list[tuple[Work, int]] = [
    (
        Chat(
            messages=(Message(role="user", content="four"), Message(role="tool", content="")),
        ),
        4,
    ),
    (Chat(messages=(Message(role="assistant", content="", calls=(CALL,)),)), 5),
    (Chat(messages=(), tools=Tools(offered=(Tool(name="ab", parameters="{}"),))), 4),
    (Completion(prompt="one", suffix="two"), 6),
    (Embedding(inputs=("one", "four")), 7),
]


@pytest.mark.parametrize(("work", "chars"), WORKS)
def test_a_prompt_is_as_long_as_all_that_is_sent(work: Work, chars: int) -> None:
    assert prompt_chars(work) == chars


# -- what many add up to


def test_a_version_that_was_never_timed_is_unknown() -> None:
    speeds = Speeds()
    assert speeds.get(A, SUMS) == NEVER_TIMED
    assert speeds.measured(A, SUMS) == speeds.overall(A) == Measured()


def test_a_speed_is_the_median_and_what_nine_of_ten_keep_to() -> None:
    speed = timed(Speeds(), SUMS, [100.0] * 4 + [200.0] * 4 + [1000.0] * 2).get(A, SUMS)
    assert (speed.timed, speed.share) == (10, 0.9)
    assert speed.median_ms == pytest.approx(200.0, rel=CLOSE)
    assert speed.slow_ms == pytest.approx(1000.0, rel=CLOSE)
    assert speed.slow_least_ms is not None
    assert 180.0 < speed.slow_least_ms < 200.0  # the seventh of ten
    assert speed.expected is None


def test_another_share_can_be_asked_to_keep_to_a_limit() -> None:
    speed = timed(Speeds(share=0.5), SUMS, [100.0] * 6 + [1000.0] * 4).get(A, SUMS)
    assert speed.slow_ms == pytest.approx(100.0, rel=CLOSE)


def test_what_is_told_for_people_has_the_slow_end_of_times_and_of_rates() -> None:
    speeds = Speeds()
    for first, rate in [(90.0, 1.0), *[(50.0, 5.0)] * 8, (90.0, 1.0)]:
        speeds.add(A, SUMS, Timing(first_ms=first, tokens_per_s=rate))
    found = speeds.measured(A, SUMS)
    assert found.latency_ms is found.prompt_tokens_per_s is None
    assert found.first_ms is not None
    assert found.tokens_per_s is not None
    assert found.first_ms.samples == found.tokens_per_s.samples == 10
    assert found.first_ms.median == pytest.approx(50.0, rel=CLOSE)
    assert found.first_ms.slow == pytest.approx(90.0, rel=CLOSE)
    assert found.tokens_per_s.slow == pytest.approx(1.0, rel=CLOSE)
    assert speeds.overall(A) == found


def test_a_value_stays_the_very_same_until_something_was_timed() -> None:
    speeds = timed(timed(Speeds(), SUMS, [100.0]), CODE, [900.0])
    before, other = speeds.get(A, SUMS), speeds.get(A, CODE)
    assert speeds.get(A, SUMS) is before
    timed(speeds, SUMS, [200.0])
    assert speeds.get(A, SUMS) is not before
    assert speeds.get(A, CODE) is other


def test_general_is_all_tasks_together() -> None:
    speeds = timed(timed(Speeds(), SUMS, [100.0] * 3), GENERAL, [900.0] * 2)
    assert speeds.get(A, GENERAL).timed == 5
    assert speeds.get(A, GENERAL).median_ms == pytest.approx(100.0, rel=CLOSE)
    timed(speeds, GENERAL, [900.0] * 2)
    assert speeds.get(A, GENERAL).median_ms == pytest.approx(900.0, rel=CLOSE)
    assert speeds.measured(A, GENERAL).latency_ms is not None


def test_an_answer_that_tells_nothing_is_not_counted() -> None:
    speeds = Speeds()
    speeds.add(A, SUMS, Timing())
    assert speeds.get(A, SUMS) == NEVER_TIMED


def test_a_version_that_became_slower_is_noticed() -> None:
    speeds = timed(Speeds(), SUMS, [100.0] * 1000)
    timed(speeds, SUMS, [400.0] * int(HALF_LIFE))
    assert speeds.get(A, SUMS).median_ms == pytest.approx(400.0, rel=CLOSE)
    assert speeds.get(A, SUMS).timed == LATEST


def test_how_many_characters_make_a_token_is_told_after_enough_prompts_at_any_task() -> None:
    speeds = timed(Speeds(), SUMS, [100.0])
    for number in range(LEAST_PROMPTS):
        assert speeds.get(A, SUMS).chars_per_token is None
        speeds.add(A, CODE, Timing(chars_per_token=3.0 + (number == 0)))
    found = speeds.get(A, SUMS).chars_per_token
    assert found is not None
    assert found == pytest.approx((3.0, 3.0), rel=CLOSE)


def test_of_too_many_cells_the_one_timed_longest_ago_is_given_up() -> None:
    speeds = timed(Speeds(), SUMS, [100.0])
    for number in range(MOST_CELLS):
        speeds.add(B, TaskName(f"task-{number}"), took(50.0))
    assert speeds.get(A, SUMS).timed == 0
    assert speeds.get(A, GENERAL).timed == 1  # the version is still known in general
    assert speeds.get(B, TaskName("task-0")).timed == 1


# -- what is expected


def test_what_was_never_timed_is_expected_from_the_versions_other_tasks() -> None:
    speeds = timed(timed(Speeds(), SUMS, [100.0] * 50), CODE, [400.0])
    speed = speeds.get(A, CHAT)
    assert (speed.timed, speed.median_ms, speed.slow_ms) == (0, None, None)
    assert speed.expected is not None
    assert speed.expected.median_ms == pytest.approx(200.0, rel=CLOSE)
    assert speed.expected.tasks == 2
    assert speed.expected.low_ms < 40.0
    assert speed.expected.high_ms > 1000.0
    assert speeds.get(B, CHAT).expected is None


def test_a_version_timed_at_nothing_in_particular_is_expected_from_that() -> None:
    found = timed(Speeds(), GENERAL, [300.0]).get(A, CHAT).expected
    assert found is not None
    assert found.median_ms == pytest.approx(300.0, rel=CLOSE)
    assert found.tasks == 1


def test_an_expectation_is_worked_out_anew_when_there_is_a_quarter_more() -> None:
    speeds = timed(Speeds(), SUMS, [100.0] * 8)
    before = speeds.get(A, CHAT)
    timed(speeds, CODE, [900.0])
    assert speeds.get(A, CHAT) is before
    timed(speeds, CODE, [900.0])
    assert speeds.get(A, CHAT) is not before


def test_expectations_that_are_kept_are_bounded() -> None:
    speeds = timed(Speeds(), SUMS, [100.0])
    for number in range(MOST_CELLS + 5):
        speeds.get(A, TaskName(f"task-{number}"))
    assert len(speeds._expected) == 5


def test_nothing_is_expected_of_nothing() -> None:
    assert expected([]) is None


@given(medians=st.lists(st.floats(1.0, 1e6), min_size=1, max_size=20))
def test_an_expectation_lies_within_its_interval_and_among_the_medians(
    medians: list[float],
) -> None:
    found = expected(medians)
    assert found is not None
    assert found.low_ms < found.median_ms < found.high_ms
    assert min(medians) * 0.999 <= found.median_ms <= max(medians) * 1.001


def test_tasks_that_agree_make_an_expectation_surer() -> None:
    few, many = expected([100.0]), expected([100.0] * 10)
    assert few is not None
    assert many is not None
    assert many.high_ms < few.high_ms


# -- forgetting


def test_a_task_that_is_forgotten_was_never_timed() -> None:
    speeds = timed(timed(Speeds(), SUMS, [100.0] * 4), CODE, [900.0] * 4)
    timed(speeds, SUMS, [50.0], version=B)
    speeds.get(A, CHAT)
    speeds.forget(task=SUMS)
    assert (speeds.get(A, SUMS).timed, speeds.get(B, SUMS)) == (0, NEVER_TIMED)
    assert speeds.get(A, GENERAL).median_ms == pytest.approx(900.0, rel=CLOSE)
    expectation = speeds.get(A, CHAT).expected
    assert expectation is not None
    assert expectation.median_ms == pytest.approx(900.0, rel=CLOSE)


def test_a_version_that_is_forgotten_leaves_the_others_alone() -> None:
    speeds = timed(timed(Speeds(), SUMS, [100.0]), SUMS, [50.0], version=B)
    speeds.forget(version=A)
    assert speeds.get(A, GENERAL) == NEVER_TIMED
    assert speeds.get(B, SUMS).timed == 1


def test_everything_can_be_forgotten() -> None:
    speeds = timed(timed(Speeds(), SUMS, [100.0]), SUMS, [50.0], version=B)
    speeds.forget()
    assert speeds.get(A, SUMS) == speeds.get(B, SUMS) == NEVER_TIMED
    assert speeds._order == {}


def test_the_most_that_is_behind_a_figure_is_what_a_start_reads() -> None:
    assert 2.0 ** (-LATEST / module.HALF_LIFE) <= 1 / 16


@given(counts=st.integers(1, 3 * OFTEN))
def test_what_is_told_is_a_few_answers_behind_at_most_and_none_while_there_are_few(
    counts: int,
) -> None:
    read, slow = Speeds(), [100.0 + 7.0 * number for number in range(counts)]
    for ms in slow:
        timed(read, SUMS, [ms])
        read.get(A, SUMS)
    # whoever never looked before reads all of it now
    told = [timed(Speeds(), SUMS, slow[:upto]).get(A, SUMS).median_ms
            for upto in range(max(1, counts - BEHIND + 1), counts + 1)]  # fmt: skip
    assert read.get(A, SUMS).median_ms in (told if counts > OFTEN else told[-1:])
