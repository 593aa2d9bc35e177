"""What a successor takes over, held against the same sums worked out by brute force."""

from __future__ import annotations

from math import exp, fsum, lgamma, log

import pytest

from arbiter.selection.succession import FOLLOWS, SHIFT, WORTH, Bond, Kin, bond, succeed
from arbiter.stats.estimators import Beta, logistic, logit

GOOD_BEFORE = Beta(80.0, 20.0)
ANY = Beta(2.0, 2.0)
STEPS = [(number + 0.5) / 4000 for number in range(4000)]

TASKS = (
    [Kin(GOOD_BEFORE, ANY, 20.0, 10.0)] * 3,
    [Kin(GOOD_BEFORE, ANY, 20.0, 16.0), Kin(Beta(30.0, 30.0), ANY, 6.0, 4.0)],
    [Kin(Beta(5.0, 5.0), Beta(1.0, 2.0), 0.5, 0.5), Kin(GOOD_BEFORE, ANY, 3.0, 0.0)],
)


def density(prior: Beta, share: float) -> float:
    whole = lgamma(prior.a + prior.b) - lgamma(prior.a) - lgamma(prior.b)
    return exp(whole + (prior.a - 1) * log(share) + (prior.b - 1) * log(1 - share))


def by_brute_force(one: Kin, heir: Beta, follows: float) -> tuple[float, float]:
    """Mean and variance of the mixture's posterior, summed over 4000 shares."""
    weights = [
        (follows * density(heir, share) + (1 - follows) * density(one.alone, share))
        * share**one.good
        * (1 - share) ** (one.n - one.good)
        for share in STEPS
    ]
    whole = sum(weights)
    mean = sum(share * weight for share, weight in zip(STEPS, weights, strict=True)) / whole
    square = sum(share**2 * weight for share, weight in zip(STEPS, weights, strict=True)) / whole
    return mean, square - mean**2


@pytest.mark.parametrize("follows", [0.8, 0.3])
@pytest.mark.parametrize(("n", "good"), [(0.0, 0.0), (6.0, 5.0), (12.0, 3.0)])
def test_a_successor_is_a_mixture_of_an_heir_and_of_any_version(
    follows: float, n: float, good: float
) -> None:
    one = Kin(GOOD_BEFORE, ANY, n, good)
    mean, variance = succeed(one, Bond(follows, 0.0, 0.0))
    expected = by_brute_force(one, Beta(0.8 * WORTH, 0.2 * WORTH), follows)
    assert (mean, variance) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("shift", [-1.0, 0.0, 0.6])
def test_an_heir_s_doubt_is_its_own_and_what_an_uncertain_shift_adds(shift: float) -> None:
    share = logistic(logit(0.8) + shift)
    spread = share * (1 - share)
    mean, variance = succeed(Kin(GOOD_BEFORE, ANY, 0.0, 0.0), Bond(1.0, shift, 0.25))
    assert mean == pytest.approx(share)
    assert variance == pytest.approx(spread / (WORTH + 1) + spread**2 * 0.25)


def test_a_predecessor_is_never_worth_more_than_it_has_earned() -> None:
    _, variance = succeed(Kin(Beta(2.0, 1.0), ANY, 0.0, 0.0), Bond(1.0, 0.0, 0.0))
    assert variance == pytest.approx((2 / 3) * (1 / 3) / (3.0 + 1.0))


def test_what_is_inherited_is_worth_something_even_under_the_largest_doubt() -> None:
    _, variance = succeed(Kin(Beta(50.0, 50.0), ANY, 0.0, 0.0), Bond(1.0, 0.0, 100.0))
    assert variance == pytest.approx(0.25 / (0.5 + 1.0))


def test_a_predecessor_that_never_failed_leaves_no_certainty() -> None:
    mean, _ = succeed(Kin(Beta(1e6, 1e-6), ANY, 0.0, 0.0), Bond(1.0, 3.0, 0.0))
    assert mean == pytest.approx(0.995)
    mean, _ = succeed(Kin(Beta(1e-6, 1e6), ANY, 0.0, 0.0), Bond(1.0, -3.0, 0.0))
    assert mean == pytest.approx(0.005)


def slope(kin: list[Kin], shift: float) -> float:
    """What the evidence says of one more step of the shift, less what its own spread says."""
    pull = -shift / SHIFT**2
    for one in kin:
        heard = 1.0 / (1.0 + one.n / WORTH)
        pull += heard * (one.good - one.n * logistic(logit(one.before.mean) + shift))
    return pull


@pytest.mark.parametrize("kin", TASKS)
def test_the_shift_is_where_the_evidence_of_all_tasks_and_its_own_spread_balance(
    kin: list[Kin],
) -> None:
    found = bond(kin)
    assert slope(kin, found.shift) == pytest.approx(0.0, abs=0.01)
    steeper = (slope(kin, found.shift - 0.01) - slope(kin, found.shift + 0.01)) / 0.02
    assert 1.0 / found.variance == pytest.approx(steeper, rel=0.02)


@pytest.mark.parametrize("kin", TASKS)
def test_the_weight_is_the_prior_s_and_each_task_s_by_how_much_of_it_was_heard(
    kin: list[Kin],
) -> None:
    found = bond(kin)

    def foreseen(one: Kin, prior: Beta) -> float:
        return fsum(
            density(prior, share) * share**one.good * (1 - share) ** (one.n - one.good)
            for share in STEPS
        )

    said, heard = 2.0 * FOLLOWS, 2.0
    for one in kin:
        share, spread = _heir(one, found)
        worth = share * (1 - share) / spread - 1
        ours = found.follows * foreseen(one, Beta(share * worth, (1 - share) * worth))
        theirs = (1 - found.follows) * foreseen(one, one.alone)
        said += one.n / (one.n + 1) * ours / (ours + theirs)
        heard += one.n / (one.n + 1)
    assert found.follows == pytest.approx(said / heard, abs=0.01)


def _heir(one: Kin, tie: Bond) -> tuple[float, float]:
    return succeed(Kin(one.before, one.alone, 0.0, 0.0), Bond(1.0, tie.shift, tie.variance))


def test_a_task_without_evidence_binds_nothing() -> None:
    assert bond([Kin(GOOD_BEFORE, ANY, 0.0, 0.0)] * 4) == Bond()


def test_one_surprise_moves_the_shift_by_no_more_than_three_steps() -> None:
    lost = bond([Kin(Beta(9999.0, 1.0), ANY, 1e6, 0.0)] * 50)
    won = bond([Kin(Beta(1.0, 9999.0), ANY, 1e6, 1e6)] * 50)
    assert (lost.shift, won.shift) == pytest.approx((-3.0, 3.0))


def test_no_evidence_makes_it_certain_whether_a_successor_follows() -> None:
    agreed = bond([Kin(GOOD_BEFORE, Beta(1.0, 1.0), 400.0, 320.0)] * 40)
    lost = [Kin(GOOD_BEFORE, ANY, 400.0, 400.0), Kin(GOOD_BEFORE, ANY, 400.0, 0.0)]
    assert agreed.follows == 0.95
    assert bond(lost * 20).follows == pytest.approx(0.02, abs=0.02)
