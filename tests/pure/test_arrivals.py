from __future__ import annotations

from math import inf, log, nan
from random import Random

import pytest

from arbiter.stats.arrivals import SampleRatio


@pytest.mark.parametrize(
    ("n_old", "n_new", "pi", "e"),
    # savvi 0.3.1, Multinomial.odds with k = 100
    [(550, 450, 0.5, 28.636092457161638), (120, 80, 0.5, 8.437118317907656),
     (60, 940, 0.9, 3492.8258754060334)],
)  # fmt: skip
def test_the_sample_ratio_is_that_of_the_reference(
    n_old: int, n_new: int, pi: float, e: float
) -> None:
    arrivals = SampleRatio()
    for is_new in [False] * n_old + [True] * n_new:
        arrivals.update(is_new, pi)
    assert arrivals.e == pytest.approx(e, rel=1e-9)


def test_each_weight_has_its_own_sample_ratio() -> None:
    mixed, low, high = SampleRatio(), SampleRatio(), SampleRatio()
    dice = Random(5)
    for _ in range(200):
        for alone, pi in ((low, 0.1), (high, 0.5)):
            is_new = dice.random() < 0.4
            mixed.update(is_new, pi)
            alone.update(is_new, pi)
    assert mixed.log_e == pytest.approx(low.log_e + high.log_e, abs=1e-9)
    with pytest.raises(ValueError, match="lies in"):
        mixed.update(True, 0.0)


# confseq's C++ unit test for a Bernoulli mean (its targets come from an implementation in R): the
# ends of the interval for that many of n, at level .05, tuned for a number of units.
BERNOULLI = (
    (700, 1000, 100, (0.6516298138699764, 0.7459495007851729)),
    (15, 50, 50, (0.129556994974996, 0.5118964025363765)),
)


@pytest.mark.parametrize(("good", "count", "tuned", "ends"), BERNOULLI)
def test_where_the_reference_interval_for_a_share_ends_the_e_value_is_twenty(
    good: int, count: int, tuned: int, ends: tuple[float, float]
) -> None:
    """A beta-binomial mixture and a sample-ratio test are one thing, read in two ways."""
    rho = tuned / (2 * log(20) + log(1 + 2 * log(20)))  # confseq's best mixture for `tuned` units
    for end in ends:
        arrivals = SampleRatio(weight=rho - 1)
        for is_new in [True] * good + [False] * (count - good):
            arrivals.update(is_new, end)
        assert arrivals.e == pytest.approx(20.0, rel=1e-6)


@pytest.mark.parametrize("weight", [0.0, -1.0, inf, nan])
def test_a_weight_of_the_belief_that_is_no_number_of_units_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="weight"):
        SampleRatio(weight=weight)
