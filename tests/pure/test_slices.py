"""Time slices: a window of time is drawn, counted and repeated as one unit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.pure.records_of_rollouts import Driven, begun, run

from arbiter.config import RolloutSettings
from arbiter.errors import InvalidField
from arbiter.inference import Arm
from arbiter.refs import RolloutId, TaskName
from arbiter.swap.analysis import OTHER, Unit
from arbiter.swap.assignment import unit_key
from arbiter.swap.audit import audit
from arbiter.swap.basis import UnitRow
from arbiter.swap.evidence_rows import Record
from arbiter.swap.metrics import Mode
from arbiter.swap.plan import CLOCK_STEPS, Apart, Plan
from arbiter.swap.planning import plan_of
from arbiter.swap.rollout import Phase, assign
from arbiter.swap.slices import (
    Windows,
    conversation_of,
    drawn_as,
    slice_s,
    slot_at,
    slot_of,
    unit_in,
)
from arbiter.swap.telling import explain
from arbiter.swap.traffic import Track
from arbiter.swap.verbs import abort, pause, resume, retry

LENGTH_S = 10.0
PLAN = replace(
    plan_of(RolloutSettings(), [TaskName("sum")], {"apart": "slices", "slice_s": LENGTH_S}),
    soak_s=10.0,
    expiry_s=1e6,
)
PROMOTED = run(0.5, 0.97, plan=PLAN)
ROLLED_BACK = run(0.95, 0.4, plan=PLAN)


def test_everything_in_a_window_goes_to_the_side_that_its_number_was_drawn_for() -> None:
    windows: dict[int, set[tuple[str, float]]] = {}
    for _, unit, _, arm, chance, *_ in PROMOTED.rows:
        windows.setdefault(slot_of(unit) or 0, set()).add((arm, chance))
    assert len(windows) > 20
    salt = PROMOTED.track.rollout.salt
    for slot, drawn in windows.items():
        ((arm, chance),) = drawn
        assert assign(salt, drawn_as(slot), chance) is Arm(arm)
    assert {chance for drawn in windows.values() for _, chance in drawn} == {0.25, 0.5}


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_windows_are_drawn_with_the_probability_that_is_logged(share: float) -> None:
    taken = sum(assign("salt", drawn_as(slot), share) is Arm.CANDIDATE for slot in range(20_000))
    assert abs(taken / 20_000 - share) < 4 * (share * (1 - share) / 20_000) ** 0.5


def test_a_window_that_has_begun_keeps_its_side_when_the_share_rises() -> None:
    for salt in map(str, range(40)):
        driven = begun(PLAN)
        track = driven.track
        track.rollout = structs.replace(track.rollout, salt=salt)
        before = track.turn()
        track.rollout = structs.replace(track.rollout, index=2)
        assert track.turn() == before
        track.rollout = structs.replace(track.rollout, sliced_s=LENGTH_S)
        slot, arm, chance = track.turn()
        assert (slot, chance) == (1, 0.5)
        assert arm is assign(salt, "slot 1", 0.5)


def test_a_conversation_keeps_its_version_in_a_window_and_may_change_at_the_edge() -> None:
    track = begun(PLAN).track
    arms = set()
    for slot in range(40):
        track.rollout = structs.replace(track.rollout, sliced_s=slot * LENGTH_S)
        drawn = [track.draw("talk") for _ in range(3)]
        assert len({one.arm for one in drawn if one is not None}) == 1
        # its later requests are the work of earlier answers too, whoever answers them
        assert [one.position for one in drawn if one] == [0 if not slot else None, None, None]
        arms.add(track.turn()[1])
    assert arms == {Arm.STABLE, Arm.CANDIDATE}


def test_while_it_is_paused_nobody_has_a_turn_and_no_window_passes() -> None:
    driven = begun(PLAN)
    driven.look(elapsed_s=4.0)
    driven.take(pause(driven.track.rollout, "ada", ""), who="ada")
    driven.look(elapsed_s=1_000.0)
    assert driven.track.draw("a") is None
    driven.take(resume(driven.track.rollout, "ada", ""), who="ada")
    driven.look(elapsed_s=1.0)
    assert driven.track.rollout.sliced_s == 5.0
    drawn = driven.track.draw("a")
    assert drawn is not None
    assert drawn.position is None  # it began when nobody had a turn


@given(st.lists(st.tuples(st.integers(0, 6), st.none() | st.floats(0.0, 1.0))))
def test_a_window_is_one_unit_with_the_mean_of_what_was_graded(
    told: list[tuple[int, float | None]],
) -> None:
    told.sort(key=lambda one: one[0])
    windows, found = Windows(), []
    for slot, score in told:
        unit = None
        if score is not None:
            unit = Unit(task=TaskName("sum"), arm=Arm.STABLE, probability=0.5, score=score)
        one = windows.take(unit_in(slot, "c"), unit)
        found += [] if one is None else [one]
    last = told[-1][0] if told else 0
    by_slot = [[s for t, s in told if t == slot and s is not None] for slot in range(last)]
    expected = [(sum(of) / len(of), len(of)) for of in by_slot if of]
    assert [one.answers for one in found] == [count for _, count in expected]
    assert [one.score for one in found] == pytest.approx([mean for mean, _ in expected])
    assert all(one.task == OTHER for one in found)


def test_conversations_that_are_units_themselves_pass_through_as_they_are() -> None:
    unit = Unit(task=TaskName("sum"), arm=Arm.STABLE, probability=0.5, score=1.0)
    assert Windows().take(unit_key("talk"), unit) is unit
    assert slot_of(unit_key("talk")) is None
    assert conversation_of(unit_key("talk")) == unit_key("talk")


def test_a_window_counts_only_once_a_later_one_is_known() -> None:
    track = PROMOTED.track
    windows = len({slot_of(row[1]) for row in PROMOTED.rows if row[5] is not None})
    assert track.evidence.means.n_old + track.evidence.means.n_new == windows - 1
    graded = sum(row[5] is not None and row[3] == "candidate" for row in PROMOTED.rows)
    assert 0 < graded - track.evidence.n_answers <= LENGTH_S


@pytest.mark.parametrize("cut", [0, 1, 57, 200, 10_000])
def test_after_a_restart_it_goes_on_in_the_same_window_with_the_same_evidence(cut: int) -> None:
    rows = PROMOTED.rows[:cut]
    rollout = structs.replace(PROMOTED.track.rollout, phase=Phase.PROGRESSING, sliced_s=0.0)
    track = Track(rollout, Record(units=tuple(rows)))
    again = Track(rollout)
    for row in rows:
        again.take(row)
    assert track.evidence.log_worse == again.evidence.log_worse
    assert track.evidence.log_not_worse == again.evidence.log_not_worse
    slot, arm, chance = track.turn()
    if rows:
        *_, last = rows
        assert (slot, arm, chance) == (slot_of(last[1]), Arm(last[3]), last[4])
        assert track.rollout.sliced_s >= slot * LENGTH_S
        # what was seen before does not count again
        drawn = track.draw("0")
        assert drawn is not None
        assert drawn.position is None
    else:
        assert slot == 0


@pytest.mark.parametrize(
    ("driven", "phase"), [(PROMOTED, Phase.PROMOTED), (ROLLED_BACK, Phase.ROLLED_BACK)]
)
def test_the_verdict_follows_from_the_rows_again(driven: Driven, phase: Phase) -> None:
    assert driven.track.rollout.phase is phase
    assert audit(driven.recorded).differs is None


def moved(rows: list[UnitRow], at: int, **to: object) -> list[UnitRow]:
    position, unit, task, arm, chance, *rest = rows[at]
    changed = {"unit": unit, "arm": arm, "chance": chance, **to}
    row = (position, changed["unit"], task, changed["arm"], changed["chance"], *rest)
    return [*rows[:at], row, *rows[at + 1 :]]  # type: ignore[list-item]  # the table mixes kinds


def forged() -> list[tuple[list[UnitRow], str]]:
    rows, at = ROLLED_BACK.rows, 45
    unit, arm = rows[at][1], rows[at][3]
    slot, talk = slot_of(unit) or 0, conversation_of(unit)
    flipped = "candidate" if arm == "stable" else "stable"
    return [
        (moved(rows, at, unit=talk), "is no unit of this plan"),
        (moved(rows, at, unit=unit_in(slot - 2, talk)), "was over, or was drawn otherwise"),
        (moved(rows, at, chance=0.5), "was over, or was drawn otherwise"),
        (moved(rows, at, arm=flipped), "was not drawn for it"),
        (rows[:-1], "are not those that it was decided on"),
    ]


@pytest.mark.parametrize(("rows", "word"), forged())
def test_a_row_that_somebody_moved_is_found(rows: list[UnitRow], word: str) -> None:
    recorded = ROLLED_BACK.recorded
    found = audit(replace(recorded, record=replace(recorded.record, units=rows)))
    assert found.differs is not None
    assert word in found.differs


def test_a_window_that_had_not_begun_decides_nothing() -> None:
    recorded = ROLLED_BACK.recorded
    *rest, last = recorded.log
    early = replace(last, basis=replace(last.basis, sliced_s=0.0))
    found = audit(replace(recorded, log=[*rest, early]))
    assert "had not begun" in (found.differs or "")


def test_a_retry_goes_on_in_a_window_that_nobody_knows_yet() -> None:
    driven = begun(PLAN)
    driven.look(elapsed_s=25.0)
    driven.take(abort(driven.track.rollout, "ada", ""), who="ada")
    again = retry(
        driven.track.rollout,
        "ada",
        "",
        anew=RolloutId("rol_" + "1" * 26),
        candidate_units=0,
        is_proved_worse=False,
    )
    assert again.sliced_s == 30.0
    never = begun(PLAN).track.rollout
    blocked = structs.replace(never, phase=Phase.BLOCKED)
    assert retry(
        blocked, "ada", "", anew=again.id, candidate_units=0, is_proved_worse=False
    ).sliced_s == 0.0  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"shadow": 0.1},
        {"holdback": 0.05},
        {"tasks": (TaskName("sum"),)},
        {"slice_s": 0.5},
        {"reliability": replace(PLAN.reliability, mode=Mode.CRITICAL)},
        {"latency": replace(PLAN.latency, mode=Mode.DRY_RUN)},
        {"apart": Apart.NO},
    ],
)
def test_a_plan_that_needs_both_versions_at_once_is_no_plan_of_windows(
    wrong: dict[str, object],
) -> None:
    with pytest.raises(ValueError, match=r"time slices|window|take turns"):
        replace(PLAN, **wrong)  # type: ignore[arg-type]  # the table mixes kinds on purpose


def test_the_settings_for_conversations_are_not_taken_for_windows() -> None:
    settings = RolloutSettings(shadow=0.5, steps=(0.1, 0.2), min_units=50, latency="critical")
    plan = plan_of(settings, [TaskName("sum")], {"apart": "slices"})
    assert (plan.steps, plan.unproven_first_step, plan.min_units) == ((0.25, 0.5), 0.1, 4)
    assert (plan.shadow, plan.holdback, plan.slice_s, plan.tasks) == (0.0, 0.0, None, ())
    told = plan_of(settings, [], {"apart": "slices", "steps": [0.5], "min_units": 9})
    assert (told.steps, told.min_units) == ((0.5,), 9)
    clock = plan_of(settings, [], {"apart": "slices", "schedule": "clock"})
    assert clock.steps == CLOCK_STEPS
    with pytest.raises(InvalidField, match="time slices"):
        plan_of(settings, [], {"apart": "slices", "shadow": 0.2})
    with pytest.raises(InvalidField, match="time slices"):
        plan_of(settings, [], {"apart": "slices", "latency": "critical"})


def test_a_window_is_long_next_to_the_loads() -> None:
    assert slice_s([]) == 900.0
    assert slice_s([30.0, 200.0]) == 4000.0
    assert [slot_at(s, 900.0) for s in (0.0, 899.0, 900.0, 9_000.0)] == [0, 0, 1, 10]


def test_it_is_told_in_windows() -> None:
    track = PROMOTED.track
    told = explain(
        structs.replace(track.rollout, phase=Phase.PROGRESSING),
        track.judgement(),
        tasks=track.evidence.tasks,
        log=PROMOTED.log,
        interval=track.gap.get(),
        turn=(7, Arm.CANDIDATE, 0.25),
    )
    text = " ".join((*told.plan, *told.now, *told.happened, *told.meaning))
    assert "windows of 10 s" in text
    assert "Window 7 is one of the candidate, as 25% of windows are." in text
    assert "graded candidate windows" in text
    assert "half of the verdicts take more than 330 windows" in text
    assert "windows; evidence" in track.judgement().reason
    assert "conversations; evidence" not in text


def test_a_plan_knows_whether_its_units_are_windows() -> None:
    assert PLAN.of_windows
    assert not Plan().of_windows
