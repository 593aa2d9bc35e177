"""What the house beside other gateways has to reach: by itself, and as a share of theirs.

This module knows how a figure is judged, and not how it is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

OURS = "arbiter"
Figures = Mapping[str, Mapping[str, float | None]]
"""By gateway and name of the figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One number to reach.

    beside: the gateway to whose figure ours is a ratio, measured in the same run; None for the
    figure itself, which counts on a quiet machine of two cores. bound: the largest value that is
    good, or the smallest when `more_is_better`.
    """

    figure: str
    bound: float
    beside: str | None = None
    more_is_better: bool = False

    def value(self, figures: Figures) -> float | None:
        """What is held against the bound; None where it was not measured."""
        ours = figures[OURS].get(self.figure)
        if self.beside is None or ours is None:
            return ours
        theirs = figures.get(self.beside, {}).get(self.figure)
        return ours / theirs if theirs else None

    def is_met(self, figures: Figures) -> bool | None:
        """Whether it is reached; None where that is not known.

        >>> half = Limit(figure="memory_idle_mb", bound=0.5, beside="litellm")
        >>> half.is_met({"arbiter": {"memory_idle_mb": 90}, "litellm": {"memory_idle_mb": 600}})
        True
        >>> half.is_met({"arbiter": {"memory_idle_mb": 90}}) is None
        True
        """
        value = self.value(figures)
        if value is None:
            return None
        return value >= self.bound if self.more_is_better else value <= self.bound


def _row(
    figure: str,
    bound: float,
    litellm: float | None = None,
    tensorzero: float | None = None,
    *,
    more: bool = False,
) -> tuple[Limit, ...]:
    """A figure's limits: its own, and as ratios to both peers."""
    bounds = {None: bound, "litellm": litellm, "tensorzero": tensorzero}
    return tuple(
        Limit(figure=figure, bound=one, beside=beside, more_is_better=more)
        for beside, one in bounds.items()
        if one is not None
    )


LIMITS = (
    *_row("cpu_ms_one_client", 0.5, 1 / 15, 2.2),
    *_row("cpu_ms_32_clients", 0.24, 1 / 15, 2.2),
    *_row("cpu_us_a_word_in_a_burst", 20),
    *_row("cpu_us_a_word_one_by_one", 20),
    *_row("p50_ms_one_client", 0.5, 1 / 14, 2),
    *_row("requests_a_second_32_clients", 4000, 25, 1 / 3, more=True),
    *_row("start_s", 1.5, 1 / 5),
    *_row("memory_idle_mb", 120, 1 / 2),
    *_row("memory_after_mb", 120),
)


def judged(figures: Figures) -> list[dict[str, object]]:
    """Every limit with what was seen, as it stands in the JSON document."""
    return [
        {
            "figure": limit.figure,
            "beside": limit.beside,
            "value": limit.value(figures),
            "bound": limit.bound,
            "more_is_better": limit.more_is_better,
            "met": limit.is_met(figures),
        }
        for limit in LIMITS
    ]


def table(figures: Figures) -> str:
    """For people: a figure a line, ours with its limit, and theirs with ours as a ratio to it."""
    peers = [name for name in figures if name != OURS]
    heads = ["", OURS, "limit", ""]
    for name in peers:
        heads += [name, "ratio", "limit", ""]
    rows = [heads, *[_cells(figure, figures, peers) for figure in figures[OURS]]]
    widths = [max(len(row[at]) for row in rows) for at in range(len(heads))]
    lines = []
    for row in rows:
        first, *others = [
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join([*lines, "", _sum(figures)])


def _cells(figure: str, figures: Figures, peers: list[str]) -> list[str]:
    cells = [figure, _shown(figures[OURS][figure]), *_held(figure, None, figures)]
    for name in peers:
        ratio = Limit(figure=figure, bound=0, beside=name).value(figures)
        cells += [_shown(figures[name].get(figure)), _shown(ratio), *_held(figure, name, figures)]
    return cells


def _held(figure: str, beside: str | None, figures: Figures) -> Iterator[str]:
    """Its limit, and whether it is met."""
    for limit in LIMITS:
        if (limit.figure, limit.beside) == (figure, beside):
            yield f"{'>=' if limit.more_is_better else '<='} {limit.bound:.4g}"
            yield {True: "met", False: "MISSED", None: "?"}[limit.is_met(figures)]
            return
    yield from ("", "")


def _sum(figures: Figures) -> str:
    known = [limit.is_met(figures) for limit in LIMITS if limit.is_met(figures) is not None]
    left = len(LIMITS) - len(known)
    unknown = f", {left} not measured" if left else ""
    return f"{sum(map(bool, known))} of {len(known)} limits met{unknown}"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
