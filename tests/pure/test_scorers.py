"""The sum of a contender's parts, with energy in it where it has a weight."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from arbiter.inference import Limits
from arbiter.knowledge.energies import Spend
from arbiter.knowledge.profiles import Profile
from arbiter.knowledge.tasks import Weights
from arbiter.refs import ModelName, VersionId
from arbiter.selection.contender import LEAST_SAMPLES, Contender, Seen, Situation
from arbiter.selection.energy import NOTICEABLE, Scale, per_solved
from arbiter.selection.scorers import memory_part, static_score

ANT = Seen(
    contender=Contender(
        name=ModelName("ant"),
        version=VersionId("ant"),
        capabilities=frozenset({"chat"}),
        context=None,
        memory_bytes=250_000_000,
        memory_measured=True,
    ),
    profile=Profile(
        samples=40, successes=38, graded=40.0, quality=32.0, timed=40, latency_ms=40_000
    ),
    spend=Spend(mwh=0.4, answers=40, is_exclusive=True),
)
SCALE = Scale(least_mwh=0.25, usual=0.7)
HOUSE = Situation(budget_bytes=1_000_000_000, weights=Weights())
GREEN = Weights(quality=1.0, latency=1.0, memory=1.0, reliability=1.0, energy=4.0)


def test_each_part_counts_by_its_weight() -> None:
    found = static_score(ANT, Limits(), HOUSE, GREEN, scale=SCALE)
    # quality 32 of 40, 1 s of 10, a quarter of the memory, 38 of 40 came; .5 mWh a solved task
    parts = 0.8 + 0.9 + 0.75 + 0.95 + 4.0 * 0.5
    assert found.score == pytest.approx(parts / 8.0)
    assert found.samples == 40
    assert found.explanation == (
        "quality 0.80 (40 graded), latency 1000 ms, memory 250 MB, reliability 0.95,"
        " energy 0.5 mWh a solved task (40 answers, alone at its model; 2.0 times the least)"
    )


def test_energy_is_not_told_where_it_has_no_weight() -> None:
    found = static_score(ANT, Limits(), HOUSE, replace(GREEN, energy=0.0), scale=SCALE)
    assert found.score == pytest.approx((0.8 + 0.9 + 0.75 + 0.95) / 4.0)
    assert "energy" not in found.explanation


def test_who_has_no_known_energy_is_taken_as_the_others() -> None:
    unknown = structs.replace(ANT, spend=None)
    found = static_score(unknown, Limits(), HOUSE, GREEN, scale=SCALE)
    assert found.score == pytest.approx((0.8 + 0.9 + 0.75 + 0.95 + 4.0 * 0.7) / 8.0)
    assert found.explanation.endswith("energy unknown, taken as the others'")


def test_before_there_are_enough_samples_a_score_says_so() -> None:
    new = structs.replace(ANT, profile=structs.replace(ANT.profile, samples=LEAST_SAMPLES - 1))
    found = static_score(new, Limits(), HOUSE, GREEN, scale=SCALE)
    assert (found.score, found.samples) == (0.5, LEAST_SAMPLES - 1)


def test_a_limit_on_memory_is_in_megabytes() -> None:
    need = 250_000_000
    assert memory_part(need, Limits(max_memory_mb=500), HOUSE) == 0.5
    assert memory_part(need, Limits(), HOUSE) == 0.75


def test_energy_without_a_number_above_nothing_is_unknown() -> None:
    assert per_solved(Spend(mwh=0.0, answers=40, is_exclusive=True), 0.8) is None


@pytest.mark.parametrize(
    ("least_mwh", "usual", "is_near"),
    [
        (4.0, 0.5, True),
        (4.0 * (1 + NOTICEABLE / 2), 0.5, True),
        (4.0 * (1 + 2 * NOTICEABLE), 0.5, False),
        (4.0 * (1 - 2 * NOTICEABLE), 0.5, False),
        (4.0, 0.5 + NOTICEABLE / 2, True),
        (4.0, 0.5 - 2 * NOTICEABLE, False),
    ],
)
def test_a_scale_moves_by_a_part_of_itself(least_mwh: float, usual: float, is_near: bool) -> None:
    scale = Scale(least_mwh=4.0, usual=0.5)
    assert scale.is_near(Scale(least_mwh=least_mwh, usual=usual)) is is_near
    assert not scale.is_near(None)
