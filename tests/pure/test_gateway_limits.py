"""The house beside other gateways: every limit is judged, and what was not measured is not met."""

from __future__ import annotations

from bench.limits import LIMITS, OURS, Limit, judged, table

FIGURES: dict[str, dict[str, float | None]] = {
    OURS: {"cpu_ms_one_client": 0.4, "requests_a_second_32_clients": 3000, "start_s": 1.0,
           "memory_after_mb": 90},
    "litellm": {"cpu_ms_one_client": 8.0, "requests_a_second_32_clients": 100, "start_s": 4.0,
                "memory_after_mb": None},
}  # fmt: skip


def test_a_limit_is_held_against_the_figure_or_the_ratio_to_a_peer() -> None:
    met = {(one["figure"], one["beside"]): one["met"] for one in judged(FIGURES)}
    assert met["cpu_ms_one_client", None] is True
    assert met["cpu_ms_one_client", "litellm"] is True
    assert met["requests_a_second_32_clients", None] is False
    assert met["requests_a_second_32_clients", "litellm"] is True
    assert met["start_s", "litellm"] is False
    assert met["memory_after_mb", None] is True


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    met = {(one["figure"], one["beside"]): one["met"] for one in judged(FIGURES)}
    assert met["cpu_ms_one_client", "tensorzero"] is None
    assert met["p50_ms_one_client", None] is None
    assert Limit(figure="start_s", bound=1, beside=OURS).value({OURS: {"start_s": 0.0}}) is None


def test_no_figure_has_two_limits_beside_the_same_gateway() -> None:
    assert len({(limit.figure, limit.beside) for limit in LIMITS}) == len(LIMITS)


def test_the_table_says_beside_each_figure_what_is_met() -> None:
    lines = {line.split("  ")[0]: line.split() for line in table(FIGURES).splitlines()}
    assert lines["cpu_ms_one_client"][1:] == [
        "0.4", "<=", "0.5", "met", "8", "0.05", "<=", "0.06667", "met",
    ]  # fmt: skip
    assert lines["start_s"][1:] == ["1", "<=", "1.5", "met", "4", "0.25", "<=", "0.2", "MISSED"]
    assert lines["memory_after_mb"][1:] == ["90", "<=", "120", "met", "-", "-"]
    assert table(FIGURES).endswith(f"5 of 7 limits met, {len(LIMITS) - 7} not measured")


def test_a_house_measured_alone_has_a_table_too() -> None:
    assert "litellm" not in table({OURS: FIGURES[OURS]})
