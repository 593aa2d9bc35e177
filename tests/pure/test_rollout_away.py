"""A rollout while a version's server is away."""

from __future__ import annotations

import pytest
from tests.pure.rollouts import HOUR, NOT_WORSE, at

from arbiter.swap.rollout import Effect, Phase, Rollout, Taken, advance
from arbiter.swap.verbs import abort, pause, promote


def away(rollout: Rollout, why: str | None = "A: gone", **more: object) -> Taken:
    given = {"elapsed_s": HOUR, "candidate_units": 100, "absent": why, **more}
    return advance(rollout, NOT_WORSE, **given)  # type: ignore[arg-type]  # the tests' own words


@pytest.mark.parametrize("tripped", [None, "it failed"])
def test_while_a_version_is_away_it_waits_and_takes_no_step(tripped: str | None) -> None:
    before = at(Phase.PROGRESSING, index=2)
    waiting, effects = away(before, tripped=tripped)
    assert (waiting.phase, waiting.reason, effects) == (Phase.PAUSED, "waiting: A: gone", ())
    assert away(waiting, "B: gone") == (waiting, ())
    assert (waiting.index, waiting.soaked_s, waiting.weight) == (2, 0.0, before.weight)


def test_it_goes_on_by_itself_where_it_was_when_both_are_back() -> None:
    waiting, _ = away(at(Phase.PROGRESSING, index=2))
    on, effects = away(waiting, None)
    assert (on.phase, on.index, effects) == (Phase.PROGRESSING, 2, (Effect.SET_WEIGHT,))


def test_what_a_person_paused_stays_paused_when_a_server_comes_back() -> None:
    waiting, _ = away(at(Phase.PROGRESSING))
    for paused in (at(Phase.PROGRESSING), waiting):
        said, _ = pause(paused, "ada", "waiting: for the weekend")
        assert away(said) == (said, ())
        assert away(said, None)[0].phase is Phase.PAUSED


def test_a_rollout_that_waits_can_be_ended_by_a_person() -> None:
    waiting, _ = away(at(Phase.PROGRESSING))
    assert abort(waiting, "ada", "")[0].phase is Phase.ABORTED
    assert promote(waiting, "ada", "")[0].phase is Phase.PROMOTED
