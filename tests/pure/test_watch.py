"""After a promotion, as values: who is held back, the alarms, and the record repeated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.pure.records_of_rollouts import PLAN, fresh

from arbiter.inference import Arm
from arbiter.ledger import Kind
from arbiter.refs import DecisionId, TaskName
from arbiter.stats.bets import HARM
from arbiter.stats.drift import HoldbackAlarm
from arbiter.swap.assignment import Assignment
from arbiter.swap.basis import Basis, UnitRow, chained
from arbiter.swap.evidence_rows import unit_row
from arbiter.swap.holdback import Holdback
from arbiter.swap.plan import OnDrift, Plan
from arbiter.swap.records import Entry
from arbiter.swap.rollout import Phase, Rollout, assign
from arbiter.swap.verbs import undo
from arbiter.swap.watch import (
    LEAST_BEFORE,
    Before,
    Sign,
    Since,
    chance_after,
    held_back,
    since_of,
)
from arbiter.swap.watch_audit import Following, differs_since
from arbiter.swap.watch_records import Alarmed, Watched, drift_note

BEFORE = Before(stable=0.9, n_stable=300, candidate=0.9, n_candidate=200)

shares = st.floats(0.001, 0.5)
salts = st.text(max_size=8)


def promoted(plan: Plan = PLAN) -> Rollout:
    return structs.replace(fresh(plan), phase=Phase.PROMOTED, reason="The candidate is not worse.")


# -- the coin


@given(salts, st.text(max_size=8), shares, shares)
def test_who_is_held_back_was_with_the_old_version_at_every_share_before(
    salt: str, unit: str, share: float, weight: float
) -> None:
    if weight <= 1.0 - share and held_back(salt, unit, share):
        assert assign(salt, unit, weight) is Arm.STABLE


def test_the_chance_of_who_was_with_the_old_version_is_that_of_those_who_were() -> None:
    units = [str(number) for number in range(20_000)]
    was_old = [unit for unit in units if assign("s", unit, 0.4) is Arm.STABLE]
    stay = sum(held_back("s", unit, 0.1) for unit in was_old)
    assert stay / len(was_old) == pytest.approx(1.0 - chance_after(0.1, 0.4), abs=0.01)
    assert chance_after(0.5, 0.9) == 0.0


def test_a_share_of_nobody_holds_nobody_back() -> None:
    assert not any(held_back("s", str(number), 0.0) for number in range(1_000))


# -- the alarms


def row(position: int, *, back: bool, score: float | None, chance: float = 0.95) -> UnitRow:
    arm = Arm.HOLDBACK if back else Arm.PROMOTED
    return (position, f"u{position}", "sum", arm.value, chance, score, "answered", 10.0)


def rows(
    p_old: float, p_new: float, count: int, *, seed: int = 1, share: float = 0.3
) -> list[UnitRow]:
    dice, found = Random(seed), []
    for position in range(count):
        back = dice.random() < share
        right = dice.random() < (p_old if back else p_new)
        found.append(row(position, back=back, score=float(right), chance=1.0 - share))
    return found


HALF = replace(PLAN, holdback=0.3)


def test_folding_is_the_alarm_beside_and_nothing_else() -> None:
    found = rows(0.9, 0.7, 300)
    since = since_of(HALF, BEFORE, found)
    mean = (0.9 * 300 + 0.5) / 301
    alarm = HoldbackAlarm(HARM, prior_mean=mean, prior_weight=50.0)
    for one in found:
        alarm.update(one[5] or 0.0, one[3] == Arm.PROMOTED, one[4])
    assert since.log_beside == alarm.log_e
    assert since.needed == 10_000.0


def test_an_alarm_is_heard_at_the_row_that_sets_it_off_and_stays_heard() -> None:
    found = rows(0.9, 0.3, 400)
    alarm = since_of(HALF, BEFORE, found).alarms[Sign.DRIFTED]
    before = since_of(HALF, BEFORE, found[: alarm.until - 1])
    assert Sign.DRIFTED not in before.alarms
    then = since_of(HALF, BEFORE, found[: alarm.until])
    assert then.alarms[Sign.DRIFTED] == alarm
    assert (alarm.log_e, alarm.rows) == (then.log_beside, chained(found[: alarm.until]))
    later = since_of(HALF, BEFORE, [*found, *rows(0.1, 1.0, 400)])
    assert later.log_beside < alarm.log_e
    assert later.alarms[Sign.DRIFTED] == alarm
    assert "it has become worse than the old version" in alarm.sentence
    assert "of 10000." in alarm.sentence


def test_traffic_that_gets_harder_for_both_sets_off_the_alarm_before_alone() -> None:
    since = since_of(HALF, BEFORE, rows(0.5, 0.5, 600))
    assert list(since.alarms) == [Sign.SUSPECTED]
    assert "or its traffic is harder" in since.alarms[Sign.SUSPECTED].sentence


def test_what_nothing_graded_and_what_was_not_drawn_say_nothing_beside() -> None:
    since = Since(HALF, BEFORE)
    since.update(row(0, back=False, score=None))
    since.update(row(1, back=False, score=0.0, chance=1.0))
    assert (since.log_beside, since.new.count, since.old.count) == (0.0, 1, 0)
    assert since.log_before is not None
    assert since.log_before > 0.0


@pytest.mark.parametrize("before", [Before(), replace(BEFORE, n_candidate=LEAST_BEFORE - 1)])
def test_without_a_mean_from_before_there_is_nothing_to_compare_with(before: Before) -> None:
    since = since_of(HALF, before, rows(0.9, 0.0, 300))
    assert (since.reference, since.log_before) == (None, None)
    assert list(since.alarms) == [Sign.DRIFTED]
    assert "Too little was graded before" in " ".join(since.in_words)


def test_what_was_always_right_or_never_is_a_mean_to_bet_on_too() -> None:
    for mean in (0.0, 1.0):
        before = Before(stable=mean, n_stable=1, candidate=mean, n_candidate=LEAST_BEFORE)
        since_of(HALF, before, rows(0.5, 0.5, 20))


@given(st.floats(0.0, 1.0), st.integers(0, 10_000))
def test_what_was_known_before_is_read_back_bit_for_bit(mean: float, count: int) -> None:
    before = Before(stable=mean, n_stable=count)
    assert Before.from_json(before.to_json()) == before


def test_the_words_say_how_it_stands_and_how_often_that_would_be_wrong() -> None:
    told = " ".join(since_of(HALF, BEFORE, rows(0.9, 0.9, 100)).in_words)
    assert "stands at" in told
    assert "of the 10000 that it takes" in told
    assert "once in 10000 graded conversations or less often" in told
    assert "so it only tells" in told
    without = " ".join(Since(replace(PLAN, holdback=0.0), BEFORE).in_words)
    assert "beside" not in without


@pytest.mark.parametrize(
    "change", [{"holdback": -0.1}, {"holdback": 0.6}, {"alpha_drift": 0.0}, {"alpha_drift": 0.9}]
)
def test_a_plan_that_could_not_keep_its_word_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"holdback|alpha"):
        replace(PLAN, **change)  # type: ignore[arg-type]  # the tests' own words


# -- traffic, and its record


@dataclass
class Held:
    """A watched promotion, and everything that is written of it."""

    plan: Plan = HALF
    rows: list[UnitRow] = field(default_factory=list)
    arms: dict[str, tuple[Arm, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rollout = promoted(self.plan)
        self.live = Holdback(self.rollout, BEFORE, arms=self.arms)

    def ask(self, conversation: str, score: float | None, *, is_open: bool = True) -> Arm:
        """One request that ends at once; its row is durable at once."""
        stored = self.begin(conversation, is_open=is_open)
        return stored(score)

    def begin(self, conversation: str, *, is_open: bool = True) -> Callable[[float | None], Arm]:
        """A request on its way; what it gives ends it."""
        drawn = self.live.draw(conversation, is_open=is_open)

        def end(score: float | None) -> Arm:
            told, then = self.live.ended(
                drawn, task=TaskName("sum"), decision=DecisionId("dec"), score=score
            )
            if then is not None:
                values = told[0].parameters
                self.rows.append(unit_row((*values[1:6], *values[7:])))
                then(True)
            return drawn.arm

        return end

    def following(self, alarms: Sequence[Sign] = (), why: str | None = None) -> Following:
        """What is on disk."""
        ordered = sorted(self.rows)
        since = since_of(self.plan, BEFORE, ordered)
        heard = [since.alarms[sign] for sign in alarms]
        return Following(
            watch=Watched(
                rollout=self.rollout.id,
                before=BEFORE,
                left_s=1.0,
                ended_at=None if why is None else "t",
                why=why,
            ),
            units=ordered,
            alarms=[
                Alarmed(sign=a.sign, sentence=a.sentence, basis=a.basis, at="t") for a in heard
            ],
            notes=[
                {
                    **drift_note(self.rollout, a, who="arbiter").body,
                    "kind": Kind.ROLLOUT_DRIFTED.value,
                }
                for a in heard
                if a.sign is Sign.DRIFTED
            ],
        )

    def differs(self, following: Following, log: Sequence[Entry] = ()) -> str | None:
        """What is not as recorded."""
        return differs_since(self.rollout, following, before=BEFORE, began=set(self.arms), log=log)


def asked(count: int = 200, *, right: float = 0.2, seed: int = 3) -> Held:
    held, dice = Held(), Random(seed)
    for number in range(count):
        drawn = held.begin(str(number))
        is_back = held.live.draw(str(number), is_open=True).arm is Arm.HOLDBACK
        drawn(float(dice.random() < (0.9 if is_back else right)))
    return held


def test_what_is_still_on_its_way_holds_back_those_behind_it() -> None:
    held = Held()
    slow = held.begin("slow")
    for number in range(5):
        held.ask(str(number), 1.0)
    assert held.live.since.new.count + held.live.since.old.count == 0
    slow(0.0)
    assert held.live.since.new.count + held.live.since.old.count == 6


def test_only_a_conversations_first_request_counts() -> None:
    held = Held()
    for _ in range(3):
        held.ask("talk", 1.0)
    assert len(held.rows) == 1


def test_a_restart_draws_and_folds_the_same() -> None:
    held = asked()
    again = Holdback(held.rollout, BEFORE, [_stored(one) for one in held.rows], arms={})
    assert again.since.log_beside == held.live.since.log_beside
    assert again.since.alarms == held.live.since.alarms
    for number in range(250):
        one, other = (live.draw(str(number), is_open=True) for live in (held.live, again))
        assert one == other


def _stored(row: UnitRow) -> tuple[str | int | float | None, ...]:
    return (*row, "dec", 0, 0)


def judging(held: Held, count: int) -> list[tuple[DecisionId, Assignment]]:
    """So many answers that are to be judged, durable, and their decisions."""
    found = []
    for number in range(count):
        drawn = held.live.draw(f"j{number}", is_open=True)
        decision = DecisionId(f"dec_{number}")
        told, then = held.live.ended(
            drawn, task=TaskName("chat"), decision=decision, score=None, waits=True
        )
        assert then is not None
        assert (told[0].query, told[0].parameters[-1]) == ("add_after_unit", 1)
        then(True)
        found.append((decision, drawn))
    return found


JUDGED = replace(HALF, judge_share=1.0)


def test_a_coin_chooses_who_is_judged_after_the_promotion_too() -> None:
    for share in (0.0, 0.4, 1.0):
        held = Held(plan=replace(HALF, judge_share=share))
        drawn = [held.live.draw(str(number), is_open=True) for number in range(500)]
        assert sum(one.is_chosen for one in drawn) == pytest.approx(500 * share, abs=50)
        again = held.live.draw("0", is_open=True)
        assert not again.is_chosen  # only a conversation's first request is


def test_what_waits_to_be_judged_holds_back_those_behind_it() -> None:
    held = Held(plan=JUDGED)
    (first, _), (second, _) = judging(held, 2)
    held.ask("ruled", 1.0)
    held.live.judged(second, 1.0)
    assert held.live.since.new.count + held.live.since.old.count == 0
    assert list(held.live.waits) == [first]
    held.live.judged(first, 0.0)
    assert held.live.since.new.count + held.live.since.old.count == 3
    assert (held.live.judged_so_far.judged, held.live.judged_so_far.unjudged) == (2, 0)


def test_what_nobody_judged_in_time_counts_in_neither_arm() -> None:
    held, without = Held(plan=JUDGED), Held(plan=JUDGED)
    asked_ = judging(held, 60)
    assert {drawn.arm for _, drawn in asked_} == {Arm.PROMOTED, Arm.HOLDBACK}
    for decision, _ in asked_:
        held.live.judged(decision, None)
    assert held.live.since.new.count + held.live.since.old.count == 0
    assert (held.live.since.log_beside, held.live.since.log_before) == (
        without.live.since.log_beside,
        without.live.since.log_before,
    )
    assert held.live.judged_so_far.has_stopped


def test_a_restart_waits_for_what_waited_and_knows_what_was_late() -> None:
    held = Held(plan=JUDGED)
    asked_ = judging(held, 4)
    rows = [
        (n, drawn.unit, "chat", drawn.arm.value, drawn.probability, score, None, None, one, *how)
        for n, ((one, drawn), (score, how)) in enumerate(
            zip(asked_, [(1.0, (0, 1)), (None, (0, 1)), (None, (1, 1)), (0.0, (0, 1))], strict=True)
        )
    ]
    again = Holdback(held.rollout, BEFORE, rows, arms={})
    assert list(again.waits) == [asked_[2][0]]
    assert (again.judged_so_far.judged, again.judged_so_far.unjudged) == (1, 1)
    again.judged(asked_[2][0], 1.0)
    assert (again.judged_so_far.judged, again.judged_so_far.unjudged) == (3, 1)
    assert again.draw("new", is_open=True).position == 4


def test_a_conversation_that_the_old_version_cannot_answer_goes_over_and_does_not_come_back() -> (
    None
):
    held = Held()
    back = next(str(number) for number in range(100) if held.ask(str(number), 1.0) is Arm.HOLDBACK)
    assert held.ask(back, 1.0, is_open=False) is Arm.PROMOTED
    assert held.ask(back, 1.0) is Arm.PROMOTED


def test_who_was_with_the_candidate_stays_with_it_even_where_the_coin_says_otherwise() -> None:
    plan = replace(HALF, holdback=0.5)
    arms: dict[str, tuple[Arm, float]] = {}
    held = Held(plan=plan, arms=arms)
    drawn = [held.live.draw(str(number), is_open=True) for number in range(50)]
    arms.update({one.unit: (Arm.CANDIDATE, 0.9) for one in drawn})
    again = Held(plan=plan, arms=arms)
    assert {again.ask(str(number), 1.0) for number in range(50)} == {Arm.PROMOTED}
    assert again.rows == []


def test_a_record_that_nobody_touched_is_as_recorded() -> None:
    held = asked()
    signs = list(held.live.since.alarms)
    assert Sign.DRIFTED in signs
    assert held.differs(held.following(signs)) is None
    assert asked(30, right=0.9).differs(asked(30, right=0.9).following()) is None


def undone(held: Held, why: str | None = None, who: str = "arbiter") -> Entry:
    alarm = held.live.since.alarms[Sign.DRIFTED]
    after, _ = undo(held.rollout, who, alarm.sentence if why is None else why)
    return Entry(
        phase=after.phase,
        step=0,
        weight=0.0,
        units=0,
        who=who,
        reason=after.reason,
        basis=alarm.basis if who == "arbiter" else Basis(),
        at="t",
    )


def test_a_promotion_that_was_taken_back_by_itself_had_to_be() -> None:
    held = asked()
    log = [undone(held)]
    assert held.differs(held.following([Sign.DRIFTED], why=log[0].reason), log) is None
    assert "no alarm" in str(held.differs(held.following([]), log))
    assert "no alarm" in str(held.differs(held.following([Sign.DRIFTED]), [undone(held, "a mood")]))
    by_ada = [undone(held, "a mood", who="ada")]
    assert held.differs(held.following([]), by_ada) is None


def test_whatever_is_changed_in_the_record_is_found() -> None:
    held = asked()
    good = held.following([Sign.DRIFTED])
    at = next(n for n, one in enumerate(good.units) if one[3] == "holdback")

    def with_row(*changes: tuple[int, str | float]) -> Following:
        values: list[str | float | None] = list(good.units[at])
        for index, value in changes:
            values[index] = value
        units = [*good.units[:at], unit_row(tuple(values)), *good.units[at + 1 :]]
        return replace(good, units=units)

    score = good.units[at][5]
    alarm = good.alarms[0]
    cases = {
        "is on the promoted side": with_row((3, "promoted")),
        "a share of 0.6": with_row((4, 0.6)),
        "is on the holdback side": with_row((4, 1.0)),
        "not the one that follows": with_row((5, 1.0 - (score or 0.0))),
        "a score of 7": with_row((5, 7.0)),
        "not the one that": replace(good, units=good.units[1:]),
        "does not follow": replace(good, units=good.units[: alarm.basis.until - 1]),
        "is not the one": replace(good, alarms=[replace(alarm, sentence="It is fine.")]),
        "not what was known": replace(good, watch=replace(good.watch, before=Before())),
        "another alarm than the record": replace(good, notes=[]),
        "another alarm": replace(good, alarms=[]),
    }
    for words, following in cases.items():
        assert words in str(held.differs(following)), words
    retired = {"kind": Kind.ROLLOUT_RETIRED.value, "reason": "a whim"}
    assert "why it is watched no longer" in str(
        held.differs(replace(good, notes=[*good.notes, retired]))
    )
    seen = Held(arms={good.units[at][1]: (Arm.STABLE, 0.4)})
    assert "began before it" in str(seen.differs(good))


def test_a_plan_says_what_follows_an_alarm_in_its_digest() -> None:
    assert PLAN.digest != replace(PLAN, on_drift=OnDrift.ASK).digest
    assert Plan.from_dict(HALF.to_dict()) == HALF
