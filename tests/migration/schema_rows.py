"""A row of each table that the schema allows."""

from __future__ import annotations

import apsw

A = "sha256:" + "a" * 64
B = "sha256:" + "b" * 64
C = "sha256:" + "c" * 64

DECISION = {
    "decision": "dec_1",
    "task": "sums",
    "alias": "primary",
    "version": A,
    "arm": "none",
    "probability": 1.0,
    "reason": "r",
    "detail": "{}",
    "caller": "local",
    "at": "t",
}

OUTCOME = {
    "decision": "dec_1",
    "task": "sums",
    "version": A,
    "status": "success",
    "cpu_method": "unknown",
    "at": "t",
}

COST = {
    "decision": "dec_1",
    "energy_method": "unknown",
    "energy_by": "{}",
    "gpu_method": "unknown",
    "memory_method": "unknown",
    "device_method": "unknown",
}

TRY = {
    "decision": "dec_1",
    "position": 0,
    "version": A,
    "took_ms": 9.0,
    "energy_method": "unknown",
    "cost": "{}",
}

FEEDBACK = {
    "decision": "dec_1",
    "source": "person",
    "kind": "quality",
    "task": "sums",
    "version": A,
    "score": 1.0,
    "caller": "local",
    "at": "t",
}

CARRIED = {
    "origin": "hou_1",
    "version": C[:-1] + "d",
    "task": "sums",
    "samples": 4,
    "graded": 3,
    "quality": 2.5,
    "successes": 4,
    "timed": 4,
    "latency_ms": 1.0,
    "latest": "dec_1",
    "graded_left": 2,
    "quality_left": 0.5,
    "until": "",
}

CARRIED_FEEDBACK = {
    "origin": "hou_1",
    "decision": "dec_1",
    "source": "person",
    "kind": "quality",
    "task": "sums",
    "version": C[:-1] + "d",
    "score": 1.0,
    "caller": "owner",
    "at": "t",
}

RULE = {"task": "sums", "prefer": "fast", "never": "[]", "why": "", "added_at": "t"}

VALIDATION = {
    "version": A,
    "task": "sums",
    "grading": "g",
    "case_digest": "d",
    "score": 1.0,
    "success": 1,
    "at": "t",
}

ROLLOUT = {
    "rollout": "rol_1",
    "alias": "primary",
    "stable": A,
    "candidate": B,
    "plan": "{}",
    "plan_digest": "d",
    "salt": "s",
    "phase": "progressing",
    "step": 1,
    "soaked_s": 0.0,
    "total_s": 0.0,
    "units_at_step": 0,
    "reason": "r",
    "findings": "[]",
    "knowledge_before": "k",
    "started_at": "t",
}

PROMOTED = {**ROLLOUT, "rollout": "rol_0", "phase": "promoted"}
WATCH = {"rollout": "rol_0", "before": "{}", "left_s": 1.0}

ENTRY = {
    "seq": 1,
    "kind": "name.added",
    "at": "t",
    "who": "ada",
    "body": "{}",
    "previous": None,
    "hash": A,
}

UNIT = {
    "rollout": "rol_1",
    "position": 0,
    "unit": "u",
    "task": "sums",
    "arm": "stable",
    "probability": 0.5,
    "decision": "dec_1",
}

PAIR = {
    "rollout": "rol_1",
    "position": 0,
    "unit": "u",
    "task": "sums",
    "arm": "stable",
    "share": 0.2,
    "decision": "dec_1",
    "old": 1.0,
    "new": 0.0,
}

AFTER_UNIT = {**UNIT, "rollout": "rol_0", "arm": "promoted", "probability": 0.95}
ALARM = {"rollout": "rol_0", "sign": "drifted", "sentence": "s", "basis": "{}", "at": "t"}


def add(connection: apsw.Connection, table: str, **row: apsw.SQLiteValue) -> None:
    if table == "versions":
        row = {"registered_at": "t", **row}
    marks = ", ".join("?" for _ in row)
    connection.execute(
        f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})",  # noqa: S608  # the tests' own words
        tuple(row.values()),
    )
