"""The page of the metrics."""

from __future__ import annotations

from tests.docs.markdown import NOTE, table

from arbiter.gateway import metrics
from arbiter.telemetry import MOST_SERIES


def metrics_page() -> str:
    """Every family of `/metrics`."""
    rows = [
        (
            f"`{family.name}{'_total' if family.type == 'counter' else ''}`",
            family.type,
            ", ".join(family._labelnames),  # type: ignore[attr-defined]  # it has no other way
            family.documentation,
        )
        for family in metrics.families()
    ]
    return (
        "# Metrics\n\n" + NOTE + "\n`GET /metrics` is a page for Prometheus; "
        "[watch it](../how-to/watch-it.md) says how to read it.\nTimes are in seconds, memory is "
        "in bytes, energy in joules. Everything counts from the start of the\nhouse. What is not "
        "known is missing, and never 0.\n\n"
        "`version` is the beginning of its digest. `alias`, `version` and `task` are names that "
        "are registered,\nnever what a client made up. Up to "
        f"{MOST_SERIES:,} combinations of them are told apart; what is one too\nmany is added up "
        "under `others`. A histogram has `_bucket`, `_sum` and `_count`.\n\n"
        + table(("name", "kind", "labels", "what it is"), rows)
    )
