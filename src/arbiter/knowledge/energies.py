"""The energy that a version takes for an answer at a task, from counted energy alone.

Requests that had the model to themselves are believed first. Where there are too few of them, the
sum over everybody is taken: a single share among others is not exact, but shares add up to what
the counter said. Failed requests and tries in vain count by their energy and not as answers, so who
fails is not cheap. Estimated energy is no part of it: it says more of its formula than of a model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from arbiter.cost import Cost, Method
from arbiter.refs import GENERAL, TaskName, VersionId
from arbiter.storage.database import Row

LEAST_ALONE: Final = 10
"""Answers that had the model to themselves, from which on they alone are believed."""

LEAST_TOGETHER: Final = 30
"""Answers of all kinds before their sum says anything: each one's share has its luck."""

_COUNTED: Final = frozenset({Method.MEASURED, Method.SHARED})


class Spender(msgspec.Struct, frozen=True, kw_only=True):
    """Whose energy a cost is. answered: whether there was an answer for it."""

    version: VersionId
    task: TaskName
    answered: bool


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """Milliwatt-hours for an answer, over so many. is_exclusive: each was alone at its model."""

    mwh: float
    answers: int
    is_exclusive: bool


class _Sum:
    """Energy and answers of a kind."""

    __slots__ = ("answers", "mwh")

    def __init__(self) -> None:
        self.mwh = 0.0
        self.answers = 0

    def add(self, mwh: float, answers: int) -> None:
        self.mwh += mwh
        self.answers += answers


class _Cell:
    """What is known of a version at a task. known: the value that was given out last."""

    __slots__ = ("alone", "known", "together")

    def __init__(self) -> None:
        self.alone, self.together = _Sum(), _Sum()
        self.known: Spend | None = None

    def add(self, mwh: float, answers: int, *, is_exclusive: bool) -> None:
        self.known = None
        self.together.add(mwh, answers)
        if is_exclusive:
            self.alone.add(mwh, answers)

    def get(self) -> Spend | None:
        """The same value again as long as nothing was added."""
        if self.known is None:
            for one, least in ((self.alone, LEAST_ALONE), (self.together, LEAST_TOGETHER)):
                if one.answers >= least:
                    self.known = Spend(
                        mwh=one.mwh / one.answers,
                        answers=one.answers,
                        is_exclusive=one is self.alone,
                    )
                    break
        return self.known


class Energies:
    """What every version took at every task, in memory; rebuilt from what is kept on start."""

    def __init__(self) -> None:
        self._cells: dict[tuple[VersionId, TaskName], _Cell] = {}

    def take(self, rows: Iterable[Row]) -> None:
        """Know these sums and no more: version, task, mWh, answers, whether each was alone."""
        self._cells.clear()
        for version, task, mwh, answers, alone in rows:
            self._add(
                VersionId(str(version)),
                TaskName(str(task)),
                float(mwh or 0.0),
                int(answers or 0),
                is_exclusive=bool(alone),
            )

    def add(self, who: Spender, cost: Cost) -> None:
        """Add what one request took, if a counter says it."""
        energy = cost.energy_mwh
        if energy.value is None or energy.method not in _COUNTED:
            return
        self._add(
            who.version,
            who.task,
            energy.value,
            int(who.answered),
            is_exclusive=energy.method is Method.MEASURED,
        )

    def _add(
        self, version: VersionId, task: TaskName, mwh: float, answers: int, *, is_exclusive: bool
    ) -> None:
        for name in {task, GENERAL}:
            cell = self._cells.get((version, name))
            if cell is None:
                cell = self._cells[version, name] = _Cell()
            cell.add(mwh, answers, is_exclusive=is_exclusive)

    def get(self, version: VersionId, task: TaskName) -> Spend | None:
        """What a version takes for an answer at a task, at `general` at all its tasks together.

        None: not known well enough.
        """
        cell = self._cells.get((version, task))
        return None if cell is None else cell.get()
