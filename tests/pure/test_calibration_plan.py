"""Which graded case is worth running next: first samples for everybody, then the close calls."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from arbiter.refs import TaskName, VersionId
from arbiter.swap.calibration_plan import Stage, Standing, Wish, interval, plan

FIRST = 12


def at(
    version: str,
    task: str = "sums",
    *,
    done: int = 0,
    mean: float = 0.5,
    cases: int = 32,
    graded: int | None = None,
    is_choice: bool = True,
    is_loaded: bool = False,
) -> Standing:
    """A standing whose scores, as many as cases are done unless said otherwise, have this mean."""
    count = done if graded is None else graded
    return Standing(
        version=VersionId(version),
        task=TaskName(task),
        cases=cases,
        done=done,
        graded=count,
        quality=mean * count,
        is_choice=is_choice,
        is_loaded=is_loaded,
    )


def to_run(*standings: Standing) -> list[tuple[str, str, int]]:
    """What is left to run, in order."""
    return [
        (wish.standing.version, wish.standing.task, wish.left)
        for wish in plan(standings, first=FIRST)
        if wish.left
    ]


def stages(*standings: Standing) -> dict[tuple[str, str], Stage]:
    return {
        (wish.standing.version, wish.standing.task): wish.stage
        for wish in plan(standings, first=FIRST)
    }


def test_every_version_gets_its_first_samples_at_every_task_one_version_after_the_other() -> None:
    assert to_run(at("a"), at("a", "tales", done=5), at("b"), at("b", "tales", done=12)) == [
        ("a", "sums", 12),
        ("a", "tales", 7),
        ("b", "sums", 12),
    ]


def test_a_version_that_is_loaded_comes_first() -> None:
    assert to_run(at("a"), at("b", is_loaded=True)) == [("b", "sums", 12), ("a", "sums", 12)]


def test_a_task_with_fewer_cases_is_run_whole() -> None:
    assert to_run(at("a", cases=10)) == [("a", "sums", 10)]


def test_first_samples_come_before_any_close_call() -> None:
    assert [version for version, _, _ in to_run(at("a", done=12), at("b", done=12), at("c"))] == [
        "c",
        "a",
        "b",
    ]


def test_the_best_two_are_run_on_while_their_intervals_overlap() -> None:
    assert to_run(
        at("best", done=12, mean=0.9), at("next", done=12, mean=0.8), at("last", done=12, mean=0.1)
    ) == [("best", "sums", 20), ("next", "sums", 20)]


def test_nothing_is_run_when_one_leads_clearly() -> None:
    assert to_run(at("best", done=12, mean=1.0), at("last", done=12, mean=0.1)) == []


def test_a_version_alone_at_a_task_gets_its_first_samples_and_no_more() -> None:
    assert stages(at("only", done=12)) == {("only", "sums"): Stage.CLEAR}


def test_live_scores_count_for_what_is_clear() -> None:
    clear = at("best", done=12, graded=200, mean=0.9), at("next", done=12, graded=200, mean=0.7)
    assert to_run(*clear) == []


def test_a_version_that_auto_cannot_pick_for_a_task_is_no_rival() -> None:
    assert stages(at("best", done=12), at("blind", done=12, is_choice=False)) == {
        ("best", "sums"): Stage.CLEAR,
        ("blind", "sums"): Stage.CLEAR,
    }


def test_a_rival_of_whom_all_is_known_makes_way_when_the_leader_is_known_too() -> None:
    known = at("best", done=32, mean=0.8), at("known", done=32, mean=0.79)
    assert to_run(*known, at("third", done=12, mean=0.6)) == [("third", "sums", 20)]


def test_the_closest_call_comes_first() -> None:
    wide = at("a", "sums", done=12, mean=0.9), at("b", "sums", done=12, mean=0.6)
    near = at("a", "tales", done=12, mean=0.5), at("b", "tales", done=12, mean=0.5)
    assert [task for _, task, _ in to_run(*wide, *near)] == ["tales", "tales", "sums", "sums"]


def test_a_close_call_says_between_whom() -> None:
    (wish, _) = plan((at("a", done=20, mean=0.9), at("b", done=20, mean=0.8)), first=FIRST)
    assert wish.why == "the best two are close: 0.90 of 20 and 0.80 of 20"


# -- whatever the standings


@st.composite
def standings(draw: st.DrawFn) -> tuple[Standing, ...]:
    cells = draw(
        st.lists(
            st.tuples(st.sampled_from("abcd"), st.sampled_from(["sums", "tales"])),
            unique=True,
            max_size=8,
        )
    )
    found = []
    for version, task in cells:
        cases = draw(st.integers(1, 40))
        done = draw(st.integers(0, cases))
        found.append(
            at(
                version,
                task,
                cases=cases,
                done=done,
                graded=done + draw(st.integers(0, 50)),
                mean=draw(st.floats(0, 1)),
                is_choice=draw(st.booleans()),
                is_loaded=draw(st.booleans()),
            )
        )
    return tuple(found)


@given(standings())
def test_every_standing_has_one_wish_and_what_is_left_comes_first(
    found: tuple[Standing, ...],
) -> None:
    wishes = plan(found, first=FIRST)
    assert sorted(map(_key, found)) == sorted(_key(wish.standing) for wish in wishes)
    left = [wish.left > 0 for wish in wishes]
    assert left == sorted(left, reverse=True)


def _key(standing: Standing) -> tuple[str, str]:
    return standing.version, standing.task


@given(standings())
def test_no_wish_goes_beyond_the_cases_or_takes_back_what_is_done(
    found: tuple[Standing, ...],
) -> None:
    wishes = plan(found, first=FIRST)
    assert all(w.standing.done <= w.upto <= w.standing.cases for w in wishes)


@given(standings(), st.floats(0, 1))
def test_carrying_it_out_ends_with_everybodys_first_samples(
    found: tuple[Standing, ...], score: float
) -> None:
    rounds = sum(one.cases for one in found)
    for _ in range(rounds + 1):
        wish = next((w for w in plan(found, first=FIRST) if w.left), None)
        if wish is None:
            break
        found = tuple(_ran(one, wish, score) for one in found)
    assert all(one.done >= min(FIRST, one.cases) for one in found)
    assert not any(wish.left for wish in plan(found, first=FIRST))


def _ran(one: Standing, wish: Wish, score: float) -> Standing:
    if one != wish.standing:
        return one
    return replace(one, done=one.done + 1, graded=one.graded + 1, quality=one.quality + score)


@given(st.integers(1, 500), st.floats(0, 1))
def test_an_interval_holds_its_mean_and_more_evidence_makes_it_narrower(
    graded: int, mean: float
) -> None:
    low, high = interval(graded, graded * mean)
    assert 0 <= low <= mean + 1e-9
    assert mean - 1e-9 <= high <= 1
    wider, narrower = interval(graded, graded * mean), interval(4 * graded, 4 * graded * mean)
    assert narrower[1] - narrower[0] < wider[1] - wider[0]
