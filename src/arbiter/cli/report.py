"""A rollout as one page of HTML that needs nothing else: no script, no font, no address.

It is made from what the control API tells, so it looks the same whether a house runs or not. Names
and reasons are other people's words, and every one of them is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from math import log, log10
from pathlib import Path
from typing import Annotated, Any

import typer

from arbiter.cli.client import Client, segment
from arbiter.cli.looking import HEADINGS, LIVE
from arbiter.cli.options import ConfigFile, DataDir, with_house
from arbiter.cli.output import OUT, number, text
from arbiter.cli.plots import Line, Plot, Spot, Tick, even_ticks, safe, svg
from arbiter.errors import InvalidField
from arbiter.swap.telling import lasting

Found = Mapping[str, Any]
"""What the control API told, as JSON."""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1e21; --faint: #5d646d;
  --rule: #d9dde2; --a: #1f6fb4; --b: #b8560a; --bad: #b3261e; --good: #1a7f37; --fill: #1f6fb426; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181c; --ink: #e6e8eb; --faint: #a0a8b2;
  --rule: #363c44; --a: #6cb2f0; --b: #f0a050; --bad: #ff8a80; --good: #6fd088;
  --fill: #6cb2f030; } }
body { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
  max-width: 46rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.lead { font-size: 1.05rem; } .faint, figcaption { color: var(--faint); font-size: .9rem; }
figure { margin: 1.2rem 0; } svg { width: 100%; height: auto; display: block; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
h1, td:last-child, li { overflow-wrap: anywhere; }
th, td { text-align: left; vertical-align: top; padding: .3rem .7rem .3rem 0;
  border-bottom: 1px solid var(--rule); } th { font-weight: 600; }
.axis { fill: var(--faint); font: 12px system-ui, sans-serif; }
.grid { stroke: var(--rule); } .bar { stroke: var(--ink); stroke-dasharray: 2 4; }
.line { fill: none; stroke-width: 2; } .band { fill: var(--fill); }
.stable { stroke: var(--a); } .candidate { stroke: var(--b); stroke-dasharray: 7 3; }
.worse { stroke: var(--bad); } .notworse { stroke: var(--good); stroke-dasharray: 7 3; }
.edge { stroke: var(--a); stroke-width: 1; } .key { white-space: nowrap; margin-right: 1rem; }
.key svg { display: inline; width: 30px; height: 10px; vertical-align: middle; }
.as-recorded { color: var(--good); } .differs { color: var(--bad); font-weight: 600; }
@media print { body { margin: 0; max-width: none; } }
"""


def report(
    rollout: Annotated[str, typer.Argument(help="A rollout's id.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="The file to write, such as report.html.")],
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Write a rollout as one HTML file: plots, tables, the plan, and who did what and why."""

    async def work(client: Client) -> None:
        path = f"/rollouts/{segment(rollout)}"
        found = await client.call("GET", f"{path}/course")
        checked = await client.call("GET", f"{path}/verify")
        _write(out.expanduser(), page(found, checked))
        OUT.print(f"{out} is written", markup=False)

    with_house(data_dir, config, work)


def _write(path: Path, page_: str) -> None:
    try:
        path.write_text(page_, encoding="utf-8")
    except OSError as error:
        raise InvalidField(f"{path} cannot be written: {error.strerror}.", param="out") from error


def page(found: Found, checked: Found) -> str:
    """The whole page. found: a rollout with its course. checked: what `verify` says of it."""
    title = f"{found['alias']}: {text(found['stable_names'])} to {text(found['candidate_names'])}"
    times = f"begun {_when(found['started_at'])}, ended {_when(found['ended_at'])}"
    mark = "as-recorded" if checked["as_recorded"] else "differs"
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            f"<title>Rollout of {safe(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
            f"<h1>{safe(title)}: {safe(str(found['phase']).replace('_', ' '))}</h1>",
            f'<p class="lead">{safe(found["reason"])}</p>',
            f'<p class="faint">{safe(found["rollout"])}, {safe(times)}</p>',
            f'<p class="{mark}">{safe(checked["sentence"])}</p>',
            *_plots(found),
            *_tables(found),
            *_sentences(found["explained"]),
            "</body>\n</html>\n",
        )
    )


def _when(value: object) -> str:
    return text(value)[:19].replace("T", " ")


# -- plots


def _plots(found: Found) -> Iterable[str]:
    course, plan = found["course"], found["plan"]
    if course:
        yield "<h2>How it went</h2>"
        yield _figure(_means(course), "The score of each side, over the same mix of traffic.")
        yield _figure(
            _evidence(course, plan),
            "Evidence on a logarithmic scale. Above its dotted line each decides.",
        )
        yield _figure(
            _difference(course),
            "Candidate minus stable. The true difference lies in the band at all times at once,"
            " with a chance of 95 %.",
        )
    yield _figure(
        _share(found),
        "The candidate's share of new conversations. Once it is over nothing is split any more.",
    )


def _figure(plot: Plot, caption: str) -> str:
    keys = "".join(
        f'<span class="key"><svg viewBox="0 0 30 10" aria-hidden="true"><path class="line'
        f' {line.style}" d="M0 5 L30 5"/></svg> {safe(line.label)}</span>'
        for line in plot.lines
        if line.label
    )
    return (
        f"<figure>\n{svg(plot)}\n<figcaption><strong>{safe(plot.title)}.</strong>"
        f" {safe(caption)} {keys}</figcaption>\n</figure>"
    )


def _spots(course: Sequence[Found], name: str, scale: float = 1.0) -> list[Spot]:
    return [
        (one["units"], None if one[name] is None else float(one[name]) * scale) for one in course
    ]


def _units(course: Sequence[Found]) -> list[Tick]:
    return even_ticks(float(course[-1]["units"]))


def _means(course: Sequence[Found]) -> Plot:
    return Plot(
        title="Mean score",
        across="graded conversations",
        lines=(
            Line(label="stable", style="stable", spots=_spots(course, "mean_stable")),
            Line(label="candidate", style="candidate", spots=_spots(course, "mean_candidate")),
        ),
        low=0.0,
        high=1.0,
        ticks=[Tick(value=n / 4, label=f"{n / 4:.2f}") for n in range(5)],
        x_ticks=_units(course),
    )


def _evidence(course: Sequence[Found], plan: Found) -> Plot:
    ten = 1.0 / log(10.0)
    bars = {-log10(plan["alpha_rollback"]), -log10(plan["alpha_promote"])}
    return Plot(
        title="Evidence",
        across="graded conversations",
        lines=(
            Line(label="worse", style="worse", spots=_spots(course, "log_worse", ten)),
            Line(label="not worse", style="notworse", spots=_spots(course, "log_not_worse", ten)),
        ),
        low=-2.0,
        high=max(*bars, 1.5) + 0.7,
        ticks=[
            *(Tick(value=float(n), label=f"{10.0**n:g}") for n in (-2, -1, 0, 1)),
            *(Tick(value=bar, label=f"{10.0**bar:.0f}", style="bar") for bar in sorted(bars)),
        ],
        x_ticks=_units(course),
    )


def _difference(course: Sequence[Found]) -> Plot:
    low = Line(label="", style="edge", spots=_spots(course, "low"))
    high = Line(label="", style="edge", spots=_spots(course, "high"))
    return Plot(
        title="Difference",
        across="graded conversations",
        lines=(low, high),
        low=-1.0,
        high=1.0,
        ticks=[
            Tick(value=n / 2, label=f"{n / 2:+.1f}" if n else "0", style="grid" if n else "bar")
            for n in range(-2, 3)
        ],
        x_ticks=_units(course),
        band=(low, high),
    )


def _share(found: Found) -> Plot:
    log_ = found["log"]
    first = datetime.fromisoformat(log_[0]["at"])
    shares, spots = [0.0], list[Spot]()
    for one in log_:
        # nothing is shared any more once it is promoted, and it is not taken away either
        shares.append(shares[-1] if one["phase"] == "promoted" else float(one["weight"]))
        spots.append(((datetime.fromisoformat(one["at"]) - first).total_seconds(), shares[-1]))
    end = max(spots[-1][0], 1.0)
    if log_[-1]["weight"] > 0.0:  # it goes on: the last share still holds
        end += max(float(found["soaked_s"]), 1.0)
        spots.append((end, log_[-1]["weight"]))
    tenths = 6 if max(shares) <= 0.5 else 11  # by the clock it rises beyond a half
    return Plot(
        title="Share",
        across="time",
        lines=(Line(label="", style="stable", spots=spots, is_stepped=True),),
        low=0.0,
        high=tenths / 10 - 0.05,
        ticks=[Tick(value=n / 10, label=f"{n * 10}%") for n in range(tenths)],
        x_ticks=[Tick(value=end * n / 4, label=lasting(end * n / 4)) for n in range(5)],
    )


# -- tables

_AGREEMENT = ("both", "only_stable", "only_candidate", "neither")


def _tables(found: Found) -> Iterable[str]:
    worse = set(found["worse_tasks"])
    yield _table(
        "Task by task",
        ("task", "stable", "candidate", "evidence that it is worse", "worse"),
        [
            (
                one["task"],
                f"{number(one['mean_stable'])} ({one['n_stable']})",
                f"{number(one['mean_candidate'])} ({one['n_candidate']})",
                number(one["e_worse"], digits=1),
                "yes" if one["task"] in worse else "not known to be",
            )
            for one in found["evidence"]
        ],
    )
    pairs = found["pairs"]
    yield _table(
        "Asked of both",
        ("pairs", "both right", "only stable", "only candidate", "neither", "difference"),
        [
            (
                *(pairs[key] for key in ("pairs", *_AGREEMENT)),
                " to ".join(number(end) for end in pairs["interval"] or ()),
            )
        ]
        if pairs["pairs"]
        else [],
    )
    yield _table(
        "Before any traffic",
        ("finding", "about", "in words"),
        [
            (
                "warn" if one.get("warning") else one["verdict"],
                one["task"] or one["about"],
                one["sentence"],
            )
            for one in found["findings"]
        ],
    )
    yield _table(
        "What was done",
        ("when", "what", "share", "units", "who", "why"),
        [
            (
                _when(one["at"]),
                str(one["phase"]).replace("_", " "),
                number(one["weight"], share=True) if one["phase"] in LIVE else "",
                one["units"],
                one["who"],
                one["reason"],
            )
            for one in found["log"]
        ],
    )
    yield _table(
        "The plan in numbers",
        ("name", "value"),
        [
            ("digest", found["plan_digest"]),
            *((name, _value(value)) for name, value in found["plan"].items()),
        ],
    )


def _value(value: object) -> str:
    return text([f"{one:g}" if isinstance(one, float) else one for one in value]
                if isinstance(value, list) else value)  # fmt: skip


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return ""
    names = "".join(f"<th>{safe(name)}</th>" for name in head)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{safe(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return (
        f"<h2>{safe(title)}</h2>\n<table>\n<thead><tr>{names}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>"
    )


def _sentences(explained: Found) -> Iterable[str]:
    for key, heading in HEADINGS:
        if key in {"happened", "tasks"}:
            continue  # there is a table of it
        lines = "\n".join(f"<li>{safe(line)}</li>" for line in explained[key])
        yield f"<h2>{safe(heading)}</h2>\n<ul>\n{lines}\n</ul>"
