"""What answers cost, as one page of HTML that needs nothing else: no script, no address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from arbiter.cli.output import number, size
from arbiter.cli.plots import safe
from arbiter.errors import InvalidField

Found = Mapping[str, Any]

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE: Final = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1e21; --faint: #5d646d;
  --rule: #d9dde2; --bar: #1f6fb4; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181c; --ink: #e6e8eb; --faint: #a0a8b2;
  --rule: #363c44; --bar: #6cb2f0; } }
body { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.faint { color: var(--faint); font-size: .9rem; } svg { width: 100%; height: auto; display: block; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: right; padding: .3rem 0 .3rem .7rem; border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child { text-align: left; padding-left: 0; overflow-wrap: anywhere; }
rect { fill: var(--bar); } text { fill: var(--ink); font: 13px system-ui, sans-serif; }
"""

_WIDTH: Final = 640.0
_NAME: Final = 190.0
_ROW: Final = 26.0
_MOST_BARS: Final = 60

_PLOTS: Final = (
    ("energy_mwh", "Energy, as counters said, mWh", 2),
    ("estimated_mwh", "Energy, estimated, mWh", 2),
    ("cpu_s", "CPU time, s", 2),
    ("gpu_s", "Accelerator time, s", 2),
    ("tokens_out", "Tokens written", 0),
    ("requests", "Answers", 0),
)


def write_page(path: Path, found: Found) -> None:
    """Write the page. Raises `InvalidField` when it cannot be written."""
    try:
        path.write_text(page(found), encoding="utf-8")
    except OSError as error:
        raise InvalidField(f"{path} cannot be written: {error.strerror}.", param="html") from error


def page(found: Found) -> str:
    """The whole page. found: what the control API tells."""
    groups = found["groups"]
    title = f"What answers cost, by {found['by']}"
    since = "since the first one" if found["since"] is None else f"since {found['since'][:19]}"
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            f"<title>{safe(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
            f"<h1>{safe(title)}</h1>",
            (
                f'<p class="faint">{found["total"]["requests"]} answers {safe(since)}. '
                "A dash is what nobody could read.</p>"
            ),
            _table(groups, found["total"]),
            *(_plot(groups, *plot) for plot in _PLOTS if any(one[plot[0]] for one in groups)),
            "</body>\n</html>\n",
        )
    )


_HEADS: Final = (
    "",
    "answers",
    "failed",
    "tried in vain",
    "tokens in",
    "out",
    "tokens/s p50",
    "served p50, ms",
    "p95",
    "CPU, s",
    "memory p95",
    "energy, mWh",
    "Wh a million tokens",
    "mWh a solved task",
)


def _table(groups: Sequence[Found], total: Found) -> str:
    rows = [_cells(one) for one in (*groups, total)]
    return "\n".join(
        (
            "<table><tr>" + "".join(f"<th>{safe(head)}</th>" for head in _HEADS) + "</tr>",
            *("<tr>" + "".join(f"<td>{safe(cell)}</td>" for cell in row) + "</tr>" for row in rows),
            "</table>",
        )
    )


def _cells(one: Found) -> tuple[str, ...]:
    speed, served = one["tokens_per_s"] or {}, one["served_ms"] or {}
    about = one["estimated_mwh"]
    counted = number(one["energy_mwh"])
    return (
        str(one["name"]),
        str(one["requests"]),
        str(one["failed"]),
        str(one["tries"]),
        str(one["tokens_in"]),
        str(one["tokens_out"]),
        number(speed.get("p50"), digits=1),
        number(served.get("p50"), digits=0),
        number(served.get("p95"), digits=0),
        number(one["cpu_s"]),
        size((one["peak_bytes"] or {}).get("p95")),
        f"about {number(about)}" if one["energy_mwh"] is None and about is not None else counted,
        number(one["wh_per_mtok"], digits=1),
        number(one["mwh_per_solved"], digits=3),
    )


def _plot(groups: Sequence[Found], field: str, title: str, digits: int) -> str:
    shown = groups[:_MOST_BARS]
    most = max(one[field] or 0.0 for one in shown) or 1.0
    height = _ROW * len(shown)
    bars = [_bar(one, field, most, number_, digits) for number_, one in enumerate(shown)]
    left_out = len(groups) - len(shown)
    return "\n".join(
        (
            f"<h2>{safe(title)}</h2>",
            (
                f'<svg viewBox="0 0 {_WIDTH:.0f} {height:.0f}" role="img" '
                f'aria-label="{safe(title)}"><title>{safe(title)}</title>'
            ),
            *bars,
            "</svg>",
            *([f'<p class="faint">{left_out} more are in the table.</p>'] if left_out else []),
        )
    )


def _bar(one: Found, field: str, most: float, row: int, digits: int) -> str:
    value = one[field] or 0.0
    width = (_WIDTH - _NAME - 90.0) * value / most
    y = _ROW * row
    name = str(one["name"])
    short = name if len(name) <= 26 else f"{name[:25]}\u2026"
    return (
        f'<text x="0" y="{y + 17:.0f}">{safe(short)}</text>'
        f'<rect x="{_NAME:.0f}" y="{y + 4:.0f}" width="{width:.1f}" height="{_ROW - 8:.0f}"/>'
        f'<text x="{_NAME + width + 6:.1f}" y="{y + 17:.0f}">'
        f"{number(one[field], digits=digits)}</text>"
    )
