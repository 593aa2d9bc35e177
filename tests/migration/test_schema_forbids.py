"""What the schema forbids."""

from __future__ import annotations

from collections.abc import Mapping

import apsw
import pytest
from tests.migration.schema_rows import (
    AFTER_UNIT,
    ALARM,
    CARRIED,
    CARRIED_FEEDBACK,
    COST,
    DECISION,
    ENTRY,
    FEEDBACK,
    OUTCOME,
    PAIR,
    ROLLOUT,
    RULE,
    TRY,
    UNIT,
    VALIDATION,
    WATCH,
    A,
    B,
    C,
    add,
)


def test_an_alias_has_one_active_rollout(house: apsw.Connection) -> None:
    with pytest.raises(apsw.ConstraintError, match=r"rollouts\.alias"):
        add(house, "rollouts", **{**ROLLOUT, "rollout": "rol_2", "candidate": C})


def test_a_version_is_the_candidate_of_one_active_rollout(house: apsw.Connection) -> None:
    with pytest.raises(apsw.ConstraintError, match=r"rollouts\.candidate"):
        add(house, "rollouts", **{**ROLLOUT, "rollout": "rol_2", "alias": "fast"})


FINAL = ("promoted", "rolled_back", "blocked", "aborted", "undone")


@pytest.mark.parametrize("phase", FINAL)
def test_a_rollout_that_has_ended_makes_way_for_another(house: apsw.Connection, phase: str) -> None:
    house.execute("UPDATE rollouts SET phase = ?", (phase,))
    add(house, "rollouts", **{**ROLLOUT, "rollout": "rol_2"})
    assert house.execute("SELECT COUNT(*) FROM rollouts").fetchall() == [(3,)]


def test_there_is_one_feedback_a_decision_source_and_kind(house: apsw.Connection) -> None:
    add(house, "feedback", **FEEDBACK)
    add(house, "feedback", **{**FEEDBACK, "kind": "tone"})
    with pytest.raises(apsw.ConstraintError, match="UNIQUE"):
        add(house, "feedback", **{**FEEDBACK, "score": 0.0})


def test_there_is_one_row_a_unit_of_a_rollout(house: apsw.Connection) -> None:
    add(house, "units", **UNIT)
    with pytest.raises(apsw.ConstraintError, match=r"units\.unit"):
        add(house, "units", **{**UNIT, "position": 1})


def test_there_is_one_pair_a_unit_of_a_rollout(house: apsw.Connection) -> None:
    add(house, "pairs", **PAIR)
    with pytest.raises(apsw.ConstraintError, match=r"pairs\.unit"):
        add(house, "pairs", **{**PAIR, "position": 1})


@pytest.mark.parametrize("wrong", [{"share": 0.0}, {"old": 1.5}, {"new": -0.5}, {"arm": "none"}])
def test_a_pair_is_what_it_can_be(house: apsw.Connection, wrong: dict[str, float | str]) -> None:
    with pytest.raises(apsw.ConstraintError, match="CHECK"):
        add(house, "pairs", **{**PAIR, **wrong})


def test_no_two_entries_of_the_ledger_follow_the_same_one(house: apsw.Connection) -> None:
    for seq, previous, hash_ in ((1, None, A), (2, A, B)):
        add(house, "ledger", **{**ENTRY, "seq": seq, "previous": previous, "hash": hash_})
    with pytest.raises(apsw.ConstraintError, match=r"ledger\.previous"):
        add(house, "ledger", **{**ENTRY, "seq": 3, "previous": A, "hash": C})


def test_the_cases_of_a_task_go_with_it(house: apsw.Connection) -> None:
    add(house, "cases", task="sums", position=0, spec="{}")
    house.execute("DELETE FROM tasks")
    assert house.execute("SELECT COUNT(*) FROM cases").fetchall() == [(0,)]


def test_a_version_with_a_name_cannot_go(house: apsw.Connection) -> None:
    add(house, "names", name="primary", version=A, kind="alias", moved_at="t")
    with pytest.raises(apsw.ConstraintError, match="FOREIGN KEY"):
        house.execute("DELETE FROM versions WHERE version = ?", (A,))


INF, NAN = float("inf"), float("nan")  # NaN is stored as NULL
WHY = r"CHECK|FOREIGN KEY|NOT NULL constraint failed: \w+\.(score|probability)"

FORBIDDEN: list[tuple[str, Mapping[str, apsw.SQLiteValue]]] = [
    ("versions", {"version": "sha256:short", "format": "gguf", "path": "", "artifact": ""}),
    ("versions", {"version": "md5aaa:" + "a" * 64, "format": "g", "path": "", "artifact": ""}),
    (
        "versions",
        {"version": B[:-1] + "d", "format": "g", "path": "", "artifact": "", "standing": "x"},
    ),
    ("names", {"name": "n", "version": "sha256:" + "f" * 64, "kind": "alias", "moved_at": "t"}),
    ("names", {"name": "n", "version": A, "kind": "nickname", "moved_at": "t"}),
    ("decisions", {**DECISION, "decision": "dec_2", "arm": "left"}),
    ("decisions", {**DECISION, "decision": "dec_2", "probability": 0.0}),
    ("decisions", {**DECISION, "decision": "dec_2", "probability": 1.01}),
    ("decisions", {**DECISION, "decision": "dec_2", "probability": NAN}),
    ("outcomes", {**OUTCOME, "decision": "dec_unknown"}),
    ("outcomes", {**OUTCOME, "status": "perhaps"}),
    ("outcomes", {**OUTCOME, "latency_ms": -1.0}),
    ("outcomes", {**OUTCOME, "ttft_ms": -1.0}),
    ("outcomes", {**OUTCOME, "prompt_tokens": -1}),
    ("outcomes", {**OUTCOME, "completion_tokens": -1}),
    ("outcomes", {**OUTCOME, "cached_tokens": -1}),
    ("outcomes", {**OUTCOME, "prefill_ms": -1.0}),
    ("outcomes", {**OUTCOME, "decode_ms": -1.0}),
    ("outcomes", {**OUTCOME, "cpu_ms": -1.0}),
    ("outcomes", {**OUTCOME, "load_ms": -1.0}),
    ("outcomes", {**OUTCOME, "concurrency": 0.5}),
    ("costs", {**COST, "energy_mwh": -1.0}),
    ("costs", {**COST, "energy_error_pct": -1.0}),
    ("costs", {**COST, "gpu_ms": -1.0}),
    ("costs", {**COST, "peak_bytes": -1}),
    ("costs", {**COST, "mean_bytes": -1}),
    ("costs", {**COST, "device_bytes": -1}),
    ("tries", {**TRY, "decision": "dec_unknown"}),
    ("tries", {**TRY, "took_ms": -1.0}),
    ("tries", {**TRY, "cpu_ms": -1.0}),
    ("tries", {**TRY, "gpu_ms": -1.0}),
    ("tries", {**TRY, "energy_mwh": -1.0}),
    ("tries", {**TRY, "peak_bytes": -1}),
    ("outcomes", {**OUTCOME, "grade": 1.5}),
    ("feedback", {**FEEDBACK, "decision": "dec_unknown"}),
    ("feedback", {**FEEDBACK, "score": 1.5}),
    ("feedback", {**FEEDBACK, "score": -0.5}),
    ("feedback", {**FEEDBACK, "score": INF}),
    ("feedback", {**FEEDBACK, "score": NAN}),
    ("feedback", {**FEEDBACK, "score": "good"}),
    ("validations", {**VALIDATION, "score": 2.0}),
    ("validations", {**VALIDATION, "success": 2}),
    ("validations", {**VALIDATION, "latency_ms": -1.0}),
    ("validations", {**VALIDATION, "version": "sha256:short"}),
    ("outcomes", {**OUTCOME, "is_forgotten": 2}),
    ("house", {"only_one": 2, "house": "hou_1", "made_at": "t"}),
    ("carried", {**CARRIED, "graded": 5}),
    ("carried", {**CARRIED, "quality": 3.5}),
    ("carried", {**CARRIED, "successes": 5}),
    ("carried", {**CARRIED, "timed": 5}),
    ("carried", {**CARRIED, "latency_ms": -1.0}),
    ("carried", {**CARRIED, "graded_left": 4}),
    ("carried", {**CARRIED, "quality_left": 2.75}),
    ("carried", {**CARRIED, "version": "sha256:short"}),
    ("carried_feedback", {**CARRIED_FEEDBACK, "score": 1.5}),
    ("carried_feedback", {**CARRIED_FEEDBACK, "grade": 1.5}),
    ("carried_lineage", {"version": "sha256:short", "predecessor": A}),
    (
        "footprints",
        {
            "version": A,
            "context": 1,
            "slots": 1,
            "host": "h",
            "memory": "host",
            "total_bytes": 0,
            "method": "m",
            "at": "t",
        },
    ),
    ("rollouts", {**ROLLOUT, "rollout": "rol_2", "alias": "x", "candidate": C, "phase": "x"}),
    ("rollouts", {**ROLLOUT, "rollout": "rol_2", "alias": "x", "candidate": C, "step": -1}),
    ("rollouts", {**ROLLOUT, "rollout": "rol_2", "alias": "x", "candidate": C, "soaked_s": -1}),
    ("rollouts", {**ROLLOUT, "rollout": "rol_2", "alias": "x", "candidate": C, "total_s": -1}),
    (
        "rollouts",
        {**ROLLOUT, "rollout": "rol_2", "alias": "x", "candidate": C, "units_at_step": -1},
    ),
    ("units", {**UNIT, "position": -1}),
    ("units", {**UNIT, "arm": "none"}),
    ("units", {**UNIT, "probability": 0.0}),
    ("units", {**UNIT, "probability": 1.0}),
    ("units", {**UNIT, "score": 1.5}),
    ("units", {**UNIT, "ending": "bored"}),
    ("units", {**UNIT, "latency_ms": -1.0}),
    ("units", {**UNIT, "awaits": 2}),
    ("units", {**UNIT, "awaits": 1, "score": 1.0}),
    ("after_units", {**AFTER_UNIT, "rollout": "rol_1"}),
    ("after_units", {**AFTER_UNIT, "position": -1}),
    ("after_units", {**AFTER_UNIT, "arm": "stable"}),
    ("after_units", {**AFTER_UNIT, "arm": "holdback", "probability": 1.0}),
    ("after_units", {**AFTER_UNIT, "probability": 0.0}),
    ("after_units", {**AFTER_UNIT, "probability": 1.5}),
    ("after_units", {**AFTER_UNIT, "score": 1.5}),
    ("after_units", {**AFTER_UNIT, "ending": "bored"}),
    ("after_units", {**AFTER_UNIT, "latency_ms": -1.0}),
    ("after_units", {**AFTER_UNIT, "awaits": 2}),
    ("after_units", {**AFTER_UNIT, "score": 1.0, "awaits": 1}),
    ("after_judgements", {"rollout": "rol_1", "position": 0, "score": 1.0, "at": "t"}),
    ("after_judgements", {"rollout": "rol_0", "position": 0, "score": 1.5, "at": "t"}),
    ("alarms", {**ALARM, "rollout": "rol_1"}),
    ("alarms", {**ALARM, "sign": "bored"}),
    ("watches", {**WATCH, "rollout": "rol_1", "left_s": -1.0}),
    ("watches", {**WATCH, "rollout": "rol_1", "ended_at": "t"}),
    ("watches", {**WATCH, "rollout": "rol_1", "why": "w"}),
    ("rules", {**RULE, "pinned": "quality"}),
    ("rules", {**RULE, "prefer": None}),
    ("ledger", {**ENTRY, "seq": 0}),
    ("ledger", {**ENTRY, "seq": 2}),
    ("ledger", {**ENTRY, "seq": 2, "previous": B}),
    ("ledger", {**ENTRY, "previous": A}),
    ("ledger", {**ENTRY, "hash": "short"}),
    ("cases", {"task": "unknown", "position": 0, "spec": "{}"}),
    ("attempts", {"decision": "x", "position": 0, "task": "", "version": "", "error": ""}),
    (
        "rollout_log",
        {
            "rollout": "x",
            "phase": "",
            "step": 0,
            "weight": 0.0,
            "units": 0,
            "who": "",
            "reason": "",
            "basis": "{}",
            "at": "",
        },
    ),
]


@pytest.mark.parametrize(("table", "row"), FORBIDDEN)
def test_a_row_that_cannot_be_is_refused(
    house: apsw.Connection, table: str, row: Mapping[str, apsw.SQLiteValue]
) -> None:
    with pytest.raises(apsw.ConstraintError, match=WHY):
        add(house, table, **row)


ALLOWED: list[tuple[str, Mapping[str, apsw.SQLiteValue]]] = [
    ("outcomes", OUTCOME),
    ("feedback", FEEDBACK),
    ("validations", VALIDATION),
    ("validations", {**VALIDATION, "version": "sha256:" + "f" * 64, "origin": "hou_1"}),
    ("carried", CARRIED),
    ("carried_feedback", CARRIED_FEEDBACK),
    ("carried_lineage", {"version": C, "predecessor": A}),
    ("house", {"only_one": 1, "house": "hou_1", "made_at": "t"}),
    ("units", UNIT),
    ("after_units", AFTER_UNIT),
    ("after_units", {**AFTER_UNIT, "probability": 1.0}),
    ("after_units", {**AFTER_UNIT, "arm": "holdback"}),
    ("alarms", ALARM),
    ("watches", {**WATCH, "rollout": "rol_1"}),
    ("watches", {**WATCH, "rollout": "rol_1", "ended_at": "t", "why": "w"}),
    ("rules", RULE),
    ("rules", {**RULE, "prefer": None, "pinned": "fast"}),
    ("rules", {**RULE, "prefer": None, "never": '["fast"]'}),
    ("ledger", ENTRY),
    ("rollouts", {**ROLLOUT, "rollout": "rol_2", "alias": "fast", "candidate": C}),
]


@pytest.mark.parametrize(("table", "row"), ALLOWED)
def test_the_rows_that_the_refused_ones_vary_are_allowed(
    house: apsw.Connection, table: str, row: Mapping[str, apsw.SQLiteValue]
) -> None:
    add(house, table, **row)
    assert house.changes() == 1
