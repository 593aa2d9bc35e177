"""Tables of comma-separated values as people write them: their lines, rates and counts.

Whatever is wrong is said with the file and the line. Nothing here knows what a table is about.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

from arbiter.errors import InvalidField
from arbiter.refs import TaskName, parse_task

MOST_CELLS = 1_000_000


@dataclass(frozen=True, slots=True)
class Line:
    """The values of one line. where: the file and the line, as an error says it."""

    where: str
    values: list[str]

    def task(self, place: int) -> TaskName:
        """The task that a value names. Raises `InvalidField`."""
        try:
            return parse_task(self.values[place])
        except InvalidField as error:
            raise InvalidField(f"{self.where}: {error.message}", hint=error.hint) from error

    def rate(self, place: int) -> float:
        """The success rate that a value is. Raises `InvalidField`."""
        rate = _number(self.values[place])
        if not 0.0 <= rate <= 1.0:
            raise InvalidField(
                f"{self.where}: {self.values[place]!r:.40} is no success rate.",
                hint="Rates are numbers from 0 to 1.",
            )
        return rate

    def count(self, place: int) -> float:
        """The number of requests that a value is. Raises `InvalidField`."""
        count = _number(self.values[place])
        if not (math.isfinite(count) and count >= 0.0):
            raise InvalidField(
                f"{self.where}: {self.values[place]!r:.40} is no number of requests."
            )
        return count


def lines_of(text: str, *, source: str) -> tuple[list[str], Sequence[Line]]:
    """The first line, and those that follow and are not empty: each as long as the first.

    Raises `InvalidField` that names the source and the line.
    """
    reader = csv.reader(StringIO(text.lstrip("\ufeff")))
    found: list[Line] = []
    cells = 0
    try:
        for row in reader:
            values = [value.strip() for value in row]
            cells += len(values)
            if any(values):
                found.append(Line(f"{source}, line {reader.line_num}", values))
            if cells > MOST_CELLS:
                raise InvalidField(f"{source} has more than {MOST_CELLS} values.")
    except csv.Error as error:
        raise InvalidField(
            f"{source}, line {reader.line_num}, is no line of comma-separated values: {error}."
        ) from error
    if not found:
        raise InvalidField(f"{source} is empty.", hint="Give a table of comma-separated values.")
    head, rows = found[0].values, found[1:]
    for line in rows:
        if len(line.values) != len(head):
            raise InvalidField(f"{line.where} has {len(line.values)} values, not {len(head)}.")
    return head, rows


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
