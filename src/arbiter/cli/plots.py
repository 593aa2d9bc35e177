"""Plots as inline SVG, written by hand: no script, nothing from elsewhere, colours from the page.

A plot is drawn from numbers alone. Whatever text goes into one is escaped here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640.0, 260.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 14.0, 14.0, 40.0

Spot = tuple[float, float | None]
"""A place of a line; None where the value is unknown, which breaks the line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line. style: a class of the page's style sheet. is_stepped: it holds until the next."""

    label: str
    style: str
    spots: Sequence[Spot]
    is_stepped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A value on an axis and what it is called. style: of a line drawn across, if one is."""

    value: float
    label: str
    style: str = "grid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """What is drawn. low, high: the ends of the vertical axis; what lies beyond is drawn there.

    band: two lines of which the space between is filled.
    """

    title: str
    across: str
    lines: Sequence[Line]
    low: float
    high: float
    ticks: Sequence[Tick]
    x_ticks: Sequence[Tick]
    band: tuple[Line, Line] | None = None


def safe(text: object) -> str:
    """Text as it may stand in a page: nothing in it is markup, or moves what is around it.

    >>> safe("<script>"), safe('a"b')
    ('&lt;script&gt;', 'a&quot;b')
    """
    plain = "".join(one if one.isprintable() else "?" for one in str(text))
    return escape(plain, quote=True)


def svg(plot: Plot) -> str:
    """The plot as one element."""
    end = max([tick.value for tick in plot.x_ticks] + [1e-9])
    place = _Place(end=end, low=plot.low, high=plot.high)
    parts = [
        f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{safe(plot.title)}">',
        f"<title>{safe(plot.title)}</title>",
        *(_level(tick, place) for tick in plot.ticks),
        *(_moment(tick, place) for tick in plot.x_ticks),
        (
            f'<text class="axis" x="{WIDTH - _RIGHT:.1f}" y="{HEIGHT - 4:.1f}" text-anchor="end">'
            f"{safe(plot.across)}</text>"
        ),
    ]
    if plot.band is not None:
        parts.append(_band(plot.band, place))
    parts += [_drawn(line, place) for line in plot.lines]
    parts.append("</svg>")
    return "\n".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a value lies in the picture."""

    end: float
    low: float
    high: float

    def x(self, value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * value / self.end

    def y(self, value: float) -> float:
        kept = min(max(value, self.low), self.high)
        share = (kept - self.low) / (self.high - self.low)
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * share


def _level(tick: Tick, place: _Place) -> str:
    y = place.y(tick.value)
    return (
        f'<line class="{tick.style}" x1="{_LEFT:.1f}" x2="{WIDTH - _RIGHT:.1f}" y1="{y:.1f}"'
        f' y2="{y:.1f}"/><text class="axis" x="{_LEFT - 6:.1f}" y="{y + 4:.1f}"'
        f' text-anchor="end">{safe(tick.label)}</text>'
    )


def _moment(tick: Tick, place: _Place) -> str:
    anchor = "middle" if 0.0 < tick.value < place.end else ("start" if not tick.value else "end")
    return (
        f'<text class="axis" x="{place.x(tick.value):.1f}" y="{HEIGHT - _BOTTOM + 16:.1f}"'
        f' text-anchor="{anchor}">{safe(tick.label)}</text>'
    )


def _drawn(line: Line, place: _Place) -> str:
    path = _path(line, place)
    return f'<path class="line {line.style}" d="{path}"/>' if path else ""


def _path(line: Line, place: _Place) -> str:
    words: list[str] = []
    is_down, before = False, 0.0
    for across, value in line.spots:
        if value is None:
            is_down = False
            continue
        x, y = place.x(across), place.y(value)
        if is_down and line.is_stepped:
            words.append(f"L{x:.1f} {before:.1f}")
        words.append(f"{'L' if is_down else 'M'}{x:.1f} {y:.1f}")
        is_down, before = True, y
    return " ".join(words)


def _band(band: tuple[Line, Line], place: _Place) -> str:
    low, high = band
    there = [(x, place.y(y)) for x, y in high.spots if y is not None]
    back = [(x, place.y(y)) for x, y in reversed(low.spots) if y is not None]
    corners = " ".join(f"{place.x(x):.1f},{y:.1f}" for x, y in (*there, *back))
    return f'<polygon class="band" points="{corners}"/>'


def even_ticks(end: float, *, parts: int = 5) -> list[Tick]:
    """Whole numbers from 0 to the end, about so many of them.

    >>> [tick.label for tick in even_ticks(1000.0)]
    ['0', '200', '400', '600', '800', '1000']
    """
    step = max(1, round(end / parts))
    values = [*range(0, max(1, int(end - step / 2)), step), max(1, int(end))]
    return [Tick(value=float(value), label=str(value)) for value in values]
