"""What of an instance's history is kept, compared with what, and read back from the record."""

from __future__ import annotations

from arbiter.inference import Usage
from arbiter.knowledge.speed import Timing
from arbiter.pool.pace import BACK, SETTLED, Change, Pace, remembered
from arbiter.storage.database import Row

SHORT = Usage(prompt_tokens=100)
FAST, LATE = Timing(first_ms=400.0), Timing(first_ms=4_000.0)


def remembering(usage: Usage = SHORT, crowd: float = 1.0) -> Pace:
    pace = Pace()
    for _ in range(80):
        pace.remember(FAST, usage, crowd)
    return pace


def heard(pace: Pace, one: Timing, times: int, usage: Usage = SHORT) -> set[Change]:
    return {found for _ in range(times) if (found := pace.add(one, usage, 1.0)) is not None}


def test_what_is_remembered_is_what_later_answers_are_compared_with() -> None:
    assert heard(remembering(), LATE, 8) == {Change.SLOW}


def test_loaded_in_the_same_way_again_it_keeps_its_history() -> None:
    pace = remembering()
    pace.runs("here 4096 4 None")
    pace.runs("here 4096 4 None")
    assert heard(pace, LATE, 8) == {Change.SLOW}


def test_loaded_elsewhere_it_is_slow_no_more() -> None:
    pace = remembering()
    pace.runs("here 4096 4 None")
    heard(pace, LATE, 8)
    pace.runs("there 4096 4 None")
    assert pace.why is None
    assert heard(pace, LATE, 40) == set()


def test_only_prompts_of_about_the_same_length_are_compared() -> None:
    # sizes are powers of four: 100 and 140 tokens are alike, 100 and 400 are not
    assert heard(remembering(), LATE, 8, Usage(prompt_tokens=120)) == {Change.SLOW}
    assert heard(remembering(), LATE, 8, Usage(prompt_tokens=400)) == set()
    writing = Pace()
    for _ in range(80):
        writing.remember(Timing(tokens_per_s=50.0), SHORT, 1.0)
    assert heard(writing, Timing(tokens_per_s=5.0), 8, Usage(prompt_tokens=400)) == set()
    assert heard(writing, Timing(tokens_per_s=5.0), 8) == {Change.SLOW}


def test_only_answers_among_about_as_many_others_are_compared() -> None:
    assert heard(remembering(crowd=2.0), LATE, 8) == set()


def test_what_is_slow_is_not_learned_as_its_usual_speed() -> None:
    pace = remembering()
    assert heard(pace, LATE, SETTLED // 2) == {Change.SLOW}
    assert heard(pace, FAST, BACK) == {Change.WELL}
    assert heard(pace, LATE, 8) == {Change.SLOW}


def test_it_settles_after_exactly_so_many_slow_answers_each_time() -> None:
    pace = remembering()
    for _ in range(2):
        while pace.why is None:
            pace.add(LATE, SHORT, 1.0)
        found = [pace.add(LATE, SHORT, 1.0) for _ in range(SETTLED + 1)]
        assert Change.SETTLED not in found[:-1]
        assert found[-1] is Change.SETTLED
        for _ in range(80):
            pace.remember(FAST, SHORT, 1.0)


def test_what_was_slow_for_a_while_and_well_again_has_its_whole_time_anew() -> None:
    pace = remembering()
    heard(pace, LATE, SETTLED // 2)
    heard(pace, FAST, BACK)
    while pace.why is None:
        pace.add(LATE, SHORT, 1.0)
    assert Change.SETTLED not in heard(pace, LATE, SETTLED)
    assert heard(pace, LATE, 1) == {Change.SETTLED}


def row(*told: float | None, crowd: float | None = 2.0) -> Row:
    return ("sha256:a", *told, crowd)


def test_a_row_of_the_record_is_timed_as_the_answer_was() -> None:
    told = row(2_000.0, 100.0, 500.0, 100, 50, 20, 320.0, 1_000.0)
    ((version, one, usage, crowd),) = remembered([told])
    assert (version, crowd) == ("sha256:a", 2.0)
    assert usage == Usage(prompt_tokens=100, completion_tokens=50, cached_tokens=20)
    # the wait is taken off; 80 tokens were read in 320 ms, and 50 written in a second
    assert (one.latency_ms, one.first_ms) == (1_900.0, 400.0)
    assert (one.prompt_tokens_per_s, one.tokens_per_s) == (250.0, 50.0)


def test_what_a_row_does_not_tell_is_unknown_and_alone_is_among_one() -> None:
    told = row(2_000.0, None, None, None, None, None, None, None, crowd=None)
    ((_, one, usage, crowd),) = remembered([told])
    assert (one, usage, crowd) == (Timing(latency_ms=2_000.0), Usage(), 1.0)
