"""The page of a rollout: it needs nothing else, and nobody's words are markup in it."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from typing import Any

import pytest
from tests.pure.records_of_rollouts import PLAN, Driven, begun, run

from arbiter.cli.plots import HEIGHT, WIDTH
from arbiter.cli.report import page
from arbiter.gateway.control_looking import audit_view
from arbiter.gateway.views import pairs_view
from arbiter.swap.analysis import verdict
from arbiter.swap.audit import audit
from arbiter.swap.course import course
from arbiter.swap.evidence_rows import Record, unit_of
from arbiter.swap.plan import CLOCK_STEPS, Schedule
from arbiter.swap.telling import explain, worse_tasks
from arbiter.swap.verbs import pause, step

HOSTILE = "<script>alert(1)</script> \"' &amp; </table> \x1b[2J \u202e <img src=x onerror=y>"
VOID = {"meta", "path", "line", "polygon"}


def told(driven: Driven) -> dict[str, Any]:
    """What the control API tells of a rollout, as far as the page reads it."""
    rollout, evidence = driven.track.rollout, driven.track.evidence
    judgement = verdict(evidence)
    units = [unit for unit in map(unit_of, driven.rows) if unit is not None]
    explained = explain(
        rollout, judgement, tasks=evidence.tasks, log=driven.log, interval=driven.track.gap.get()
    )
    return {
        "rollout": rollout.id,
        "alias": rollout.alias,
        "pairs": pairs_view(driven.track.pairing.agreeing.get(), 0),
        "stable_names": ["old"],
        "candidate_names": ["new"],
        "phase": rollout.phase.value,
        "reason": rollout.reason,
        "soaked_s": rollout.soaked_s,
        "started_at": "2026-01-01T00:00:00",
        "ended_at": None,
        "plan": rollout.plan.to_dict(),
        "plan_digest": rollout.plan.digest,
        "findings": [],
        "log": [{**asdict(entry), "phase": entry.phase.value} for entry in driven.log],
        "evidence": [{**asdict(one), "e_worse": one.e_worse} for one in evidence.tasks],
        "worse_tasks": list(worse_tasks(evidence.tasks, rollout.plan)),
        "explained": asdict(explained),
        "course": [asdict(point) for point in course(units, rollout.plan)],
    }


def page_of(driven: Driven, **changes: object) -> str:
    checked = audit_view(driven.track.rollout.id, audit(driven.recorded))
    return page({**told(driven), **changes}, checked)


class Reader(HTMLParser):
    """Every tag and attribute of a page; unbalanced tags fail."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


PROMOTED = run(0.7, 0.97)


@pytest.mark.parametrize("driven", [PROMOTED, run(0.95, 0.5), begun()])
def test_a_page_is_whole_and_needs_nothing_else(driven: Driven) -> None:
    text = page_of(driven)
    read = Reader(text)
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(read.tags)
    assert not {"src", "href", "style", "onload", "xlink:href"} & {
        name for name, _ in read.attributes
    }
    assert not re.search(r"https?:|url\(|@import", text)
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text


@pytest.mark.security("S-35")
def test_nobodys_words_are_markup() -> None:
    driven = begun()
    driven.take(pause(driven.track.rollout, HOSTILE, HOSTILE), who=HOSTILE)
    names = {"stable_names": [HOSTILE], "candidate_names": [HOSTILE], "alias": HOSTILE}
    finding = {"verdict": "pass", "about": HOSTILE, "task": HOSTILE, "sentence": HOSTILE}
    text = page_of(driven, **names, findings=[finding], rollout=HOSTILE, plan_digest=HOSTILE)
    read = Reader(text)
    assert set(read.tags) == set(Reader(page_of(begun(), findings=[finding])).tags)
    assert "<script" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 9


def test_it_has_a_plot_of_each_and_all_of_it_lies_in_the_picture() -> None:
    text = page_of(PROMOTED)
    for title in ("Mean score", "Evidence", "Difference", "Share"):
        assert f'role="img" aria-label="{title}"' in text
    spots = re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", text)
    assert len(spots) > 1_000
    assert all(0.0 <= float(x) <= WIDTH and 0.0 <= float(y) <= HEIGHT for x, y in spots)
    assert "nan" not in re.sub(r"\w*nan\w+", "", text)


def heights_of(text: str, title: str) -> list[float]:
    """How far down each spot of a plot's first line is."""
    (path,) = re.findall(r'd="(M[^"]*)"', text[text.index(f'aria-label="{title}"') :])[:1]
    return [float(y) for y in re.findall(r"[ML]-?[\d.]+ (-?[\d.]+)", path)]


def test_by_the_clock_the_share_lies_in_the_picture_beyond_a_half_too() -> None:
    driven = begun(replace(PLAN, schedule=Schedule.CLOCK, steps=CLOCK_STEPS))
    for to in range(driven.track.rollout.index + 1, len(CLOCK_STEPS) + 1):
        driven.take(step(driven.track.rollout, "ann", "now", to=to, candidate_units=0), who="ann")
    text = page_of(driven)
    assert len(set(heights_of(text, "Share"))) == 10  # nothing and nine steps, none cut off


def test_a_promotion_is_no_fall_of_the_share() -> None:
    text = page_of(PROMOTED)
    assert re.search(r"<td>promoted</td><td[^>]*></td>", text)
    heights = heights_of(text, "Share")
    assert heights[-1] == min(heights)  # the highest on the page


def test_it_tells_the_plan_the_log_and_whether_it_is_as_recorded() -> None:
    text = page_of(PROMOTED)
    assert PROMOTED.track.rollout.plan.digest in text
    assert text.count("<td>arbiter</td>") == len(PROMOTED.log) - 1
    assert '<p class="as-recorded">As recorded' in text
    row = PROMOTED.rows[4]
    rows = [(*row[:5], 0.25, *row[6:]), *PROMOTED.rows[1:]]
    changed = replace(PROMOTED.recorded, record=Record(units=rows))
    found = page(told(PROMOTED), audit_view("rol", audit(changed)))
    assert '<p class="differs">Not as recorded' in found


def test_before_any_evidence_there_is_only_the_share() -> None:
    text = page_of(begun())
    assert 'aria-label="Share"' in text
    assert 'aria-label="Evidence"' not in text
