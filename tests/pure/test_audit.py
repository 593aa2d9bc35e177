"""A rollout repeated from its record: as recorded, or the first thing that is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.pure.records_of_rollouts import PLAN, Driven, begun, notes_of, run

from arbiter.swap.analysis import verdict
from arbiter.swap.audit import Recorded, audit
from arbiter.swap.basis import UnitRow
from arbiter.swap.rollout import Phase
from arbiter.swap.shadow import PairRow
from arbiter.swap.tripping import Failure
from arbiter.swap.verbs import abort, pause, promote, resume, undo

PROMOTED = run(0.7, 0.97)
ROLLED_BACK = run(0.95, 0.5)
ASKED_FIRST = run(0.7, 0.97, plan=replace(PLAN, shadow=0.4), is_proved=False)
PAIRED = run(0.7, 0.97, plan=replace(PLAN, shadow=0.4))


def with_rows(recorded: Recorded, rows: list[UnitRow]) -> Recorded:
    return replace(recorded, record=replace(recorded.record, units=rows))


def failing() -> Driven:
    driven = begun()
    for number in range(200):
        driven.ask(number, stable=1.0, candidate=0.0, failure=Failure.LOAD)
        driven.look()
        if driven.track.rollout.phase is not Phase.PROGRESSING:
            return driven
    raise AssertionError("three failures in a row take it out")


def handled() -> Driven:
    """One that people paused, resumed, promoted and took back, and whose server was gone."""
    driven = begun()
    for number in range(40):
        driven.ask(number, stable=1.0, candidate=1.0)
        driven.look()
    for verb, who in ((pause, "ada"), (resume, "bob")):
        driven.take(verb(driven.track.rollout, who, "a reason: with a colon"), who=who)
    driven.look(absent="the server of the candidate is gone (refused)")
    driven.look(absent="the server of the candidate is gone (refused)")
    driven.look()
    driven.take(promote(driven.track.rollout, "ada", ""), who="ada")
    undone, _ = undo(driven.track.rollout, "bob", "it was slow")
    driven.write(undone, "bob")
    driven.track.rollout = undone
    return driven


def aborted() -> Driven:
    driven = begun()
    driven.take(abort(driven.track.rollout, "arbiter", "its server has other content"))
    return driven


@pytest.mark.parametrize(
    ("driven", "phase"),
    [
        (PROMOTED, Phase.PROMOTED),
        (PAIRED, Phase.PROMOTED),
        (ASKED_FIRST, Phase.PROMOTED),
        (ROLLED_BACK, Phase.ROLLED_BACK),
        (failing(), Phase.ROLLED_BACK),
        (handled(), Phase.UNDONE),
        (aborted(), Phase.ABORTED),
        (begun(), Phase.PROGRESSING),
    ],
)
def test_a_record_that_nobody_touched_is_as_recorded(driven: Driven, phase: Phase) -> None:
    assert driven.track.rollout.phase is phase
    found = audit(driven.recorded)
    assert found.differs is None
    assert "As recorded" in found.sentence
    assert found.entries == len(driven.log)
    assert found.judgement == verdict(driven.track.evidence)


def test_conversations_after_the_last_change_are_counted_and_decide_nothing() -> None:
    driven = begun()
    for number in range(8):
        driven.ask(number, stable=1.0, candidate=1.0)
    found = audit(driven.recorded)
    assert (found.differs, found.units, found.later) == (None, 0, 8)
    assert "8 came after the last change" in found.sentence


def changed_score(row: UnitRow) -> UnitRow:
    return (*row[:5], 0.5 if row[5] is None else 1.0 - row[5], *row[6:])


def nudged_score(row: UnitRow) -> UnitRow:
    """So little that no sentence shows it."""
    return (*row[:5], 1e-12 if not row[5] else row[5] - 1e-12, *row[6:])


def changed_arm(row: UnitRow) -> UnitRow:
    other = "stable" if row[3] == "candidate" else "candidate"
    return (*row[:3], other, *row[4:])


def changed_chance(row: UnitRow) -> UnitRow:
    """To another share that the rollout did have."""
    return (*row[:4], 0.2 if row[4] == 0.1 else 0.1, *row[5:])


def changed_task(row: UnitRow) -> UnitRow:
    return (*row[:2], "code" if row[2] == "sum" else "sum", *row[3:])


def changed_ending(row: UnitRow) -> UnitRow:
    return (*row[:6], "crash" if row[6] == "answered" else "answered", row[7])


def nudged_latency(row: UnitRow) -> UnitRow:
    return (*row[:7], 1e-9 if row[7] is None else row[7] + 1e-9)


CHANGES = [
    changed_score,
    nudged_score,
    changed_arm,
    changed_chance,
    changed_task,
    changed_ending,
    nudged_latency,
]


@given(
    st.sampled_from(CHANGES),
    st.sampled_from([PROMOTED, ROLLED_BACK]),
    st.floats(0.0, 1.0, exclude_max=True),
)
def test_any_row_that_was_changed_is_found(
    change: Callable[[UnitRow], UnitRow], driven: Driven, share: float
) -> None:
    rows = list(driven.rows)
    place = int(share * len(rows))
    rows[place] = change(rows[place])
    found = audit(with_rows(driven.recorded, rows))
    assert found.differs is not None
    assert "Not as recorded" in found.sentence


@given(
    st.sampled_from([PROMOTED, ROLLED_BACK]),
    st.floats(0.0, 1.0, exclude_max=True),
    st.floats(0.0, 1.0, exclude_max=True),
)
def test_rows_that_changed_places_or_are_gone_are_found(
    driven: Driven, share: float, ahead: float
) -> None:
    rows = list(driven.rows)
    one = int(share * len(rows))
    other = (one + 1 + int(ahead * (len(rows) - 1))) % len(rows)
    rows[one], rows[other] = (
        (rows[one][0], *rows[other][1:]),
        (rows[other][0], *rows[one][1:]),
    )
    assert audit(with_rows(driven.recorded, rows)).differs is not None
    assert audit(with_rows(driven.recorded, rows[:one] + rows[one + 1 :])).differs is not None


@given(
    st.sampled_from([PROMOTED, ROLLED_BACK]),
    st.floats(0.0, 1.0, exclude_max=True),
    st.integers(0, 5),
)
def test_any_entry_of_the_log_that_was_changed_is_named(
    driven: Driven, share: float, how: int
) -> None:
    place = 1 + int(share * (len(driven.log) - 1))
    old = driven.log[place]
    changed = [
        replace(old, step=5 if old.step != 5 else 4),
        replace(old, phase=Phase.ABORTED),
        replace(old, weight=0.33),
        replace(old, units=old.units + 1),
        replace(old, reason="promoted by eve: trust me"),
        replace(old, who="eve"),
    ]
    log = list(driven.log)
    log[place] = changed[how]
    found = audit(replace(driven.recorded, log=log))
    assert found.differs is not None
    assert found.entries <= len(log)


def test_an_entry_that_was_changed_together_with_the_rollout_is_named_by_its_number() -> None:
    driven = PROMOTED
    log = [*driven.log[:-1], replace(driven.log[-1], phase=Phase.ROLLED_BACK, weight=0.0)]
    stored = driven.recorded.stored
    changed = replace(stored, rollout=structs.replace(stored.rollout, phase=Phase.ROLLED_BACK))
    found = audit(replace(driven.recorded, log=log, stored=changed, notes=notes_of(log)))
    assert found.differs is not None
    assert found.differs.startswith(f"Entry {len(log)} (rolled_back")
    assert "comes to promoted" in found.differs


def test_a_reason_that_only_the_ledger_knows_better_is_found() -> None:
    log = list(PROMOTED.log)
    log[2] = replace(log[2], reason="because")
    found = audit(replace(PROMOTED.recorded, log=log))
    assert found.differs == "Entry 3 is not what the ledger says of it."
    short = audit(replace(PROMOTED.recorded, notes=PROMOTED.recorded.notes[:-1]))
    assert short.differs is not None
    assert "the ledger" in short.differs


def test_a_plan_that_was_exchanged_is_found() -> None:
    stored = PROMOTED.recorded.stored
    plan = replace(stored.rollout.plan, alpha_promote=0.5)
    found = audit(
        replace(
            PROMOTED.recorded,
            stored=replace(stored, rollout=structs.replace(stored.rollout, plan=plan)),
        )
    )
    assert found.differs == "The plan is not the one that the rollout began with."


def test_a_promotion_before_its_time_is_found() -> None:
    driven = run(0.7, 0.97, plan=replace(PLAN, min_steps=5))
    assert driven.track.rollout.phase is Phase.PROMOTED
    log = list(driven.log)
    log[-1] = replace(log[-1], basis=replace(log[-1].basis, soaked_s=0.0, elapsed_s=1.0))
    found = audit(replace(driven.recorded, log=log))
    assert found.differs is not None
    assert "comes to progressing" in found.differs


def test_a_log_without_a_beginning_is_no_log() -> None:
    found = audit(replace(PROMOTED.recorded, log=()))
    assert found.differs == "The log is empty: not even the beginning is in it."
    assert audit(replace(PROMOTED.recorded, log=PROMOTED.log[1:])).differs is not None


def with_pairs(recorded: Recorded, pairs: list[PairRow]) -> Recorded:
    return replace(recorded, record=replace(recorded.record, pairs=pairs))


PAIR_CHANGES: list[Callable[[PairRow], PairRow]] = [
    lambda row: row._replace(old=1.0 - row.old),
    lambda row: row._replace(new=row.new / 2 + 0.1),
    lambda row: row._replace(new=1.5),
    lambda row: row._replace(share=0.5),
    lambda row: row._replace(unit=row.unit[::-1]),
    lambda row: row._replace(task="(other)"),
    lambda row: row._replace(arm="stable" if row.arm == "candidate" else "candidate"),
]


@given(st.sampled_from(PAIR_CHANGES), st.floats(0.0, 1.0, exclude_max=True))
def test_any_pair_that_was_changed_is_found(
    change: Callable[[PairRow], PairRow], share: float
) -> None:
    pairs = list(PAIRED.pairs)
    place = int(share * len(pairs))
    pairs[place] = change(pairs[place])
    found = audit(with_pairs(PAIRED.recorded, pairs))
    assert found.differs is not None


@given(st.floats(0.0, 1.0, exclude_max=True))
def test_a_pair_that_is_gone_is_found(share: float) -> None:
    pairs = list(PAIRED.pairs)
    del pairs[int(share * len(pairs))]
    assert audit(with_pairs(PAIRED.recorded, pairs)).differs is not None


def test_a_conversation_that_counts_as_a_pair_and_by_itself_is_found() -> None:
    pair = PAIRED.pairs[-1]
    rows = [(*row[:5], pair.old, *row[6:]) if row[1] == pair.unit else row for row in PAIRED.rows]
    found = audit(with_rows(PAIRED.recorded, rows))
    assert found.differs == (
        f"The pair at position {pair.position} has a score as a conversation too, and counts once."
    )


def test_an_unproven_candidate_is_asked_before_it_answers_and_that_is_repeated() -> None:
    assert [entry.weight for entry in ASKED_FIRST.log[1:4]] == [0.0, 0.05, 0.1]
    answered = ASKED_FIRST.log[2].basis
    before = [row for row in ASKED_FIRST.rows if row[0] < answered.until]
    assert before == []
    assert [pair for pair in ASKED_FIRST.pairs if pair.position < answered.pairs_until]


def test_pairs_are_counted_in_what_it_says() -> None:
    found = audit(PAIRED.recorded)
    assert found.pairs == len(PAIRED.pairs)
    assert f"and {len(PAIRED.pairs)} pairs" in found.sentence
