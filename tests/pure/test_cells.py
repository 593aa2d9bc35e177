"""The learner's table finds what made its scores, and each part follows from the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

import pytest

from arbiter.knowledge.scores import GRADES, Source
from arbiter.refs import TaskName, VersionId
from arbiter.selection.cells import KINSHIP, Cell, Column, Effects, Row
from arbiter.stats.estimators import logistic

MU, TASK, VERSION, REST = 0.8, 1.2, 0.7, 0.3
TASKS, VERSIONS = 50, 16


def cell_of(row: Row, column: Column, n: float, good: float) -> Cell:
    cell = Cell(row=row, column=column, n=n, good=good)
    row.cells[column.version] = column.cells[row.task] = cell
    return cell


def alone(n: float, good: float) -> Cell:
    return cell_of(Row(task=TaskName("t")), Column(version=VersionId("v")), n, good)


class Made:
    """A table of graded answers whose true parts are known."""

    def __init__(self, *, without: tuple[int, int] | None = None, n: float = 300.0) -> None:
        dice = Random(3)
        self.effects = Effects()
        self.rows = [Row(task=TaskName(f"t{number}")) for number in range(TASKS)]
        self.columns = [Column(version=VersionId(f"v{number}")) for number in range(VERSIONS)]
        self.hard = [dice.gauss(0.0, TASK**0.5) for _ in self.rows]
        self.able = [dice.gauss(0.0, VERSION**0.5) for _ in self.columns]
        for i, row in enumerate(self.rows):
            for j, column in enumerate(self.columns):
                share = logistic(MU + self.hard[i] + self.able[j] + dice.gauss(0.0, REST**0.5))
                if (i, j) != without:
                    cell_of(row, column, n, n * share)
        self.sweep(12)

    def sweep(self, times: int) -> None:
        for _ in range(times):
            for row in self.rows:
                self.effects.fit_row(row)
            for column in self.columns:
                self.effects.fit_column(column)


@pytest.fixture(scope="module")
def made() -> Made:
    return Made()


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def spread(values: Sequence[float]) -> float:
    middle = mean(values)
    return mean([(one - middle) ** 2 for one in values])


def test_the_mean_and_the_variances_are_found(made: Made) -> None:
    found = made.effects
    rows, columns = (mean([one.effect for one in them]) for them in (made.rows, made.columns))
    true = MU + mean(made.hard) + mean(made.able)
    assert found.mu + rows + columns == pytest.approx(true, abs=0.05)
    assert found.mu == pytest.approx(true, abs=0.1)
    assert found.task == pytest.approx(spread(made.hard), rel=0.1)
    # the first guess of a version's counts as two versions
    assert found.version == pytest.approx((16 * spread(made.able) + 2 * 0.5) / 18, rel=0.1)
    assert found.rest == pytest.approx(REST, rel=0.2)
    assert found.whole == (found.mu, found.task, found.version, found.rest)


def test_what_is_hard_and_who_is_able_are_found_but_for_the_mean(made: Made) -> None:
    for found, true in (
        ([row.effect for row in made.rows], made.hard),
        ([column.effect for column in made.columns], made.able),
    ):
        shift = sum(found) / len(found) - sum(true) / len(true)
        wrong = [one - other - shift for one, other in zip(found, true, strict=True)]
        assert max(map(abs, wrong)) < 0.6
        assert sum(one * one for one in wrong) / len(wrong) < 0.03


def test_to_fit_again_what_has_not_changed_changes_nothing(made: Made) -> None:
    whole, stamp = made.effects.whole, made.rows[0].stamp
    effects = [row.effect for row in made.rows]
    made.sweep(3)
    assert made.effects.whole == pytest.approx(whole, rel=5e-2)
    assert [row.effect for row in made.rows] == pytest.approx(effects, abs=1e-2)
    assert (made.rows[0].stamp, made.columns[0].stamp) == (stamp + 3, stamp + 3)


def test_every_effect_is_what_its_cells_and_its_own_spread_say_together(made: Made) -> None:
    effects, row, column = made.effects, made.rows[7], made.columns[3]
    effects.fit_row(row)
    known = [(cell.weight, cell.seen - effects.mu - cell.column.effect)
             for cell in row.cells.values()]  # fmt: skip
    whole = sum(weight for weight, _ in known) + 1.0 / effects.task
    assert row.variance == pytest.approx(1.0 / whole, rel=1e-2)
    said = sum(weight * seen for weight, seen in known)
    assert row.effect == pytest.approx(said / whole, abs=0.02)
    before = effects.version
    effects.fit_column(column)
    known = [(cell.weight, cell.seen - effects.mu - cell.row.effect)
             for cell in column.cells.values()]  # fmt: skip
    whole = sum(weight for weight, _ in known) + 1.0 / before
    assert column.variance == pytest.approx(1.0 / whole)
    assert column.effect == pytest.approx(sum(weight * seen for weight, seen in known) / whole)


def test_a_cell_is_expected_without_its_own_evidence() -> None:
    full, rest = Made(n=20.0), Made(without=(5, 5), n=20.0)
    own = full.rows[5].cells[full.columns[5].version]
    version = full.columns[5].version
    eta, doubt = full.effects.expected(full.rows[5], full.columns[5], own, version)
    theirs = rest.effects.expected(rest.rows[5], rest.columns[5], None, version)
    assert (eta, doubt) == pytest.approx(theirs, abs=0.05)


def test_a_version_and_a_task_that_nobody_knows_are_expected_in_the_middle(made: Made) -> None:
    effects = made.effects
    eta, doubt = effects.expected(None, None, None, VersionId("new"))
    assert eta == effects.mu
    assert doubt == effects.task + effects.version + effects.rest
    able = made.columns[2]
    eta, doubt = effects.expected(None, able, None, able.version)
    assert eta == effects.mu + able.effect
    assert doubt == effects.task + able.variance + effects.rest


def test_nobody_is_expected_beyond_what_scores_can_show() -> None:
    effects = Effects()
    able = Column(version=VersionId("v"), effect=99.0)
    assert effects.expected(None, able, None, able.version)[0] == 4.0
    able.effect = -99.0
    assert effects.expected(None, able, None, able.version)[0] == -4.0


@pytest.mark.parametrize(("n", "good"), [(1.0, 1.0), (8.0, 2.0), (300.0, 290.0)])
@pytest.mark.parametrize(("eta", "spread"), [(0.0, 0.6), (1.5, 2.0)])
def test_a_cell_lies_where_its_scores_and_what_was_expected_balance(
    n: float, good: float, eta: float, spread: float
) -> None:
    cell = alone(n, good)
    for _ in range(20):
        cell.linearise(eta, spread)
    share = logistic(cell.mode)
    assert good - n * share == pytest.approx((cell.mode - eta) / spread, abs=1e-6)
    # as if its logit had been seen once, with the precision of the scores
    precision = n * share * (1.0 - share)
    both = (precision * cell.seen + eta / spread) / (precision + 1.0 / spread)
    assert cell.mode == pytest.approx(both)
    assert cell.weight == pytest.approx(1.0 / (1.0 / precision + spread))


def test_a_cell_without_scores_lies_where_it_was_expected_and_weighs_nothing() -> None:
    cell = alone(0.0, 0.0)
    cell.linearise(0.7, 0.6)
    assert (cell.mode, cell.seen, cell.weight) == (0.7, 0.7, 0.0)


def test_no_surprise_moves_a_cell_by_more_than_two_steps() -> None:
    for good, before, after in ((1e6, -6.0, -3.0), (0.0, 6.0, 3.0)):
        cell = alone(1e6, good)
        cell.mode = before
        cell.linearise(0.0, 1e6)
        assert cell.mode == after


def family() -> tuple[Effects, Row, Row, Column]:
    effects = Effects()
    parent = Row(task=TaskName("a"))
    child = Row(task=TaskName("a/b"), parent=parent)
    column = Column(version=VersionId("v"))
    cell_of(parent, column, 200.0, 190.0)
    cell_of(parent, Column(version=VersionId("w")), 200.0, 60.0)
    for _ in range(5):
        effects.fit_row(parent)
        effects.fit_column(column)
    return effects, parent, child, column


def test_a_child_task_shares_its_parents_effect_and_has_a_part_of_its_own() -> None:
    effects, parent, child, _ = family()
    assert effects.row_prior(parent) == effects.row_prior(None) == (0.0, effects.task)
    start, variance = effects.row_prior(child)
    assert start == KINSHIP * parent.effect
    assert variance == pytest.approx(
        KINSHIP**2 * parent.variance + (1.0 - KINSHIP**2) * effects.task
    )


def test_a_child_takes_its_parents_own_surprise_as_far_as_that_is_known() -> None:
    effects, parent, child, column = family()
    above = parent.cells[column.version]
    # the parent's own part: seen once, with the spread that it had before
    seen = above.seen - effects.mu - parent.effect - column.effect
    precision = 1.0 / (1.0 / above.weight - effects.rest)
    known = precision / (precision + 1.0 / effects.rest)
    start, spread = effects.rest_prior(child, column.version)
    share = above.weight * effects.rest
    assert share == pytest.approx(known)
    assert start == pytest.approx(KINSHIP * known * seen)
    parents = effects.rest * (1.0 - known)
    assert spread == pytest.approx(KINSHIP**2 * parents + (1.0 - KINSHIP**2) * effects.rest)
    assert effects.rest_prior(child, VersionId("nobody")) == (0.0, effects.rest)
    assert effects.rest_prior(parent, column.version) == (0.0, effects.rest)


def test_a_child_is_fitted_from_where_its_parent_lets_it_begin() -> None:
    effects, parent, child, _ = family()
    effects.fit_row(child)
    assert child.effect == pytest.approx(KINSHIP * parent.effect)
    # what nobody has graded says nothing of how far tasks lie apart
    assert child.about_effect == (0.0, 0.0)


def in_half(said: Mapping[Source, float], house: float) -> Mapping[Source, float]:
    return dict.fromkeys(said, 0.5 if house else 1.0)


def test_what_callers_say_counts_by_their_weight_and_the_house_in_full() -> None:
    cell = alone(0.0, 0.0)
    for number, source in enumerate((GRADES, ("ann", "judge"), ("bob", "judge")), start=1):
        stream = cell.stream(source)
        stream.count = 10.0 * number
        stream.n, stream.good = 2.0 * number, 1.0 * number
        stream.early_n, stream.early_good = 0.5 * number, 0.25 * number
        stream.late_n, stream.late_good = 0.4 * number, 0.1 * number
    assert cell.stream(GRADES) is cell.streams[GRADES]
    cell.recount(in_half)
    assert (cell.n, cell.good) == pytest.approx((2.0 + 0.5 * 10.0, 1.0 + 0.5 * 5.0))
    assert (cell.early_n, cell.early_good) == pytest.approx((0.5 + 1.25, 0.25 + 0.625))
    assert (cell.late_n, cell.late_good) == pytest.approx((0.4 + 1.0, 0.1 + 0.25))
    assert cell.worth(GRADES, in_half) == 10.0
    assert cell.worth(("bob", "judge"), in_half) == 15.0
    assert cell.worth(("eve", "judge"), in_half) == 0.0
