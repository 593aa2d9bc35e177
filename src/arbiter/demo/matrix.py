"""The matrix: what every model that ships gets right, measured through the real door.

The items are held out: no model was taught any of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

import aiohttp

from arbiter.demo.lessons import TASKS, draw_many
from arbiter.demo.story import MODELS, SEED, Say, demo_settings, furnished
from arbiter.demo.traffic import Clients, Tally

FORM = "extract/form"
"""The input shape that stored cases do not have and live traffic does."""

COLUMNS: Mapping[str, tuple[str, str | None]] = {
    **{task: (task, None) for task in TASKS},
    FORM: ("extract", "form"),
}
"""What is measured: the column's name, its task, its shape (None: as stored cases are drawn)."""

LEAD = 0.15
"""How far ahead of every other model a winner has to be, to be called one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Share of right answers, by model and column."""

    items: int
    accuracy: Mapping[str, Mapping[str, float]]

    @property
    def winners(self) -> Mapping[str, str]:
        """The tasks that one model leads by `LEAD`, with that model."""
        found: dict[str, str] = {}
        for task in TASKS:
            ranked = sorted(self.accuracy, key=lambda model: -self.accuracy[model][task])
            first, second = (self.accuracy[model][task] for model in ranked[:2])
            if first - second >= LEAD:
                found[task] = ranked[0]
        return found

    def mean(self, model: str) -> float:
        """A model's mean over the tasks."""
        return sum(self.accuracy[model][task] for task in TASKS) / len(TASKS)

    def to_plain(self) -> dict[str, object]:
        """As JSON."""
        return {
            "items_per_cell": self.items,
            "accuracy": {model: dict(row) for model, row in self.accuracy.items()},
            "mean": {model: self.mean(model) for model in self.accuracy},
            "winners": dict(self.winners),
        }

    def table(self) -> str:
        """For people."""
        head = "".join(f"{column:>14}" for column in (*COLUMNS, "mean"))
        lines = [f"{'model':<9}{head}"]
        for model, row in self.accuracy.items():
            cells = (*(row[column] for column in COLUMNS), self.mean(model))
            lines.append(f"{model:<9}" + "".join(f"{cell:>14.2f}" for cell in cells))
        won = ", ".join(f"{task} {model}" for task, model in self.winners.items())
        return "\n".join([*lines, "", f"ahead of all others by {LEAD}: {won}"])


async def measure(*, items: int, say: Say) -> Matrix:
    """Ask every model that ships the same held-out items of every task, through the door."""
    accuracy: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="arbiter-matrix-") as folder:
        async with (
            furnished(demo_settings(Path(folder)), MODELS, say) as house,
            house.door() as address,
            aiohttp.ClientSession() as session,
        ):
            clients = Clients(session, address.url)
            for model in MODELS:
                accuracy[model] = {}
                for column, (task, shape) in COLUMNS.items():
                    dice = Random(SEED + 2)  # noqa: S311  # a reproducible sample, no secret
                    asked = draw_many(task, dice, items, shape=shape, split="held_out")
                    tally = Tally()
                    await clients.send(iter(asked), model=model, tally=tally, until=lambda: False)
                    accuracy[model][column] = tally.quality[task]
                say(f"  measured {model}")
    return Matrix(items=items, accuracy=accuracy)
