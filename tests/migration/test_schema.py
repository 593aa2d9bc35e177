"""The schema as the migrations leave it, and what it forbids whoever writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import apsw
import pytest

from arbiter.errors import SchemaTooNew
from arbiter.storage.queries import load_migrations
from arbiter.storage.sqlite import migrate

# Reviewed by hand: change it together with a new migration. `?` may be NULL, `#` is in the key.
TABLES = """\
after_judgements: rollout:text#, position:int#, score:real?, at:text
after_units: rollout:text#, position:int#, unit:text, task:text, arm:text, probability:real,
    decision:text, score:real?, ending:text?, latency_ms:real?, awaits:int
alarms: rollout:text#, sign:text#, sentence:text, basis:text, at:text
attempts: decision:text#, position:int#, task:text, version:text, error:text, is_forgotten:int
carried: origin:text#, version:text#, task:text#, samples:int, graded:int, quality:real,
    successes:int, timed:int, latency_ms:real, latest:text, graded_left:int, quality_left:real,
    until:text
carried_feedback: origin:text#, decision:text#, source:text#, kind:text#, task:text,
    version:text, score:real, grade:real?, caller:text, at:text
carried_lineage: version:text#, predecessor:text
cases: task:text#, position:int#, spec:text
costs: decision:text#, energy_mwh:real?, energy_method:text, energy_error_pct:real?,
    energy_note:text?, energy_by:text, gpu_ms:real?, gpu_method:text, gpu_note:text?,
    peak_bytes:big?, mean_bytes:big?, memory_method:text, memory_note:text?, device_bytes:big?,
    device_method:text, device_note:text?
decisions: decision:text#, task:text, alias:text, version:text, arm:text, rollout:text?,
    probability:real, reason:text, detail:text, caller:text, at:text
examinations: seq:int#, version:text, task:text?, odds:real, scores:real, began:text,
    ended:text?, cases:int?, fell:int?
falls: seq:int#, version:text, task:text?, since:text, origin:text?, at:text
feedback: decision:text#, source:text#, kind:text#, task:text, version:text, score:real,
    comment:text?, caller:text, is_forgotten:int, at:text
feedback_log: seq:int#, decision:text, source:text, kind:text, score:real, comment:text?,
    caller:text, at:text
footprints: version:text#, context:int#, slots:int#, host:text#, memory:text#, total_bytes:big,
    load_s:real?, method:text, at:text
guessing: task:text#, state:text, at:text
house: only_one:int#, house:text, made_at:text
keys: id:text#, name:text, digest:text, scopes:text, made_at:text, made_by:text,
    revoked_at:text?, in_flight:int?, per_minute:int?, tokens_per_minute:int?
leases: rollout:text#, holder:text, beat:int
ledger: seq:int#, kind:text, at:text, who:text, body:text, previous:text?, hash:text
moves: seq:int#, name:text, from_version:text?, to_version:text?, who:text, why:text,
    rollout:text?, keep_until:text?, at:text
names: name:text#, version:text, kind:text, moved_at:text
outcomes: decision:text#, task:text, version:text, status:text, error:text?, detail:text?,
    latency_ms:real?, wait_ms:real?, load_ms:real?, ttft_ms:real?, prompt_chars:int?,
    prompt_tokens:int?, completion_tokens:int?, cached_tokens:int?, prefill_ms:real?,
    decode_ms:real?, cpu_ms:real?, cpu_method:text, cpu_note:text?, concurrency:real?,
    grade:real?, answer_room:int?, needs:text?, is_forgotten:int, at:text
pairs: rollout:text#, position:int#, unit:text, task:text, arm:text, share:real, decision:text,
    old:real, new:real
pins: name:text#, until:text?, at:text
places: url:text#, model:text#, engine:text, version:text, seen_at:text
prompts: decision:text#, task:text, messages:text, expected:text?, answer:text, at:text
reruns: version:text#, task:text#, grading:text#, case_digest:text#, score:real, success:int,
    latency_ms:real?, at:text
rollout_log: seq:int#, rollout:text, phase:text, step:int, weight:real, units:int, who:text,
    reason:text, basis:text, at:text
rollouts: rollout:text#, alias:text, stable:text, candidate:text, plan:text, plan_digest:text,
    salt:text, phase:text, step:int, soaked_s:real, total_s:real, sliced_s:real, units_at_step:int,
    shadow_only:int, budgets:int, continues:text?, reason:text, findings:text,
    knowledge_before:text, knowledge_after:text?, started_at:text, ended_at:text?
rules: task:text#, prefer:text?, pinned:text?, never:text, why:text, added_at:text
tasks: task:text#, spec:text, added_at:text
tries: decision:text#, position:int#, version:text, place:text?, error:text?, took_ms:real,
    cpu_ms:real?, gpu_ms:real?, energy_mwh:real?, energy_method:text, peak_bytes:big?, cost:text
unit_judgements: rollout:text#, position:int#, score:real, is_late:int, at:text
units: rollout:text#, position:int#, unit:text, task:text, arm:text, probability:real,
    decision:text, score:real?, ending:text?, latency_ms:real?, awaits:int
validations: version:text#, task:text#, grading:text#, case_digest:text#, score:real,
    success:int, latency_ms:real?, origin:text?, at:text
versions: version:text#, format:text, path:text, artifact:text, predecessor:text?,
    standing:text, registered_at:text
watches: rollout:text#, before:text, left_s:real, ended_at:text?, why:text?
"""

INDEXES = """\
decisions_by_time: ON decisions (at)
one_active_candidate: UNIQUE ON rollouts (candidate)
    WHERE phase IN ('validating', 'progressing', 'paused')
one_active_rollout: UNIQUE ON rollouts (alias)
    WHERE phase IN ('validating', 'progressing', 'paused')
one_examination_at_a_time: UNIQUE ON examinations (version) WHERE ended IS NULL
one_fall_once: UNIQUE ON falls (version, COALESCE(task, ''), since, COALESCE(origin, ''))
one_pair_a_unit: UNIQUE ON pairs (rollout, unit)
one_row_a_unit: UNIQUE ON units (rollout, unit)
one_row_a_unit_after: UNIQUE ON after_units (rollout, unit)
outcomes_by_version: ON outcomes (version, task)
prompts_by_task: ON prompts (task, decision)
validations_by_time: ON validations (at)
"""

REFERENCES = """\
after_judgements.position after_units.position
after_judgements.rollout after_units.rollout
after_units.rollout watches.rollout
alarms.rollout watches.rollout
attempts.decision decisions.decision
cases.task tasks.task CASCADE
costs.decision decisions.decision
feedback.decision decisions.decision
footprints.version versions.version
leases.rollout rollouts.rollout
ledger.previous ledger.hash
names.version versions.version
outcomes.decision decisions.decision
pairs.rollout rollouts.rollout
places.version versions.version
prompts.decision decisions.decision
rollout_log.rollout rollouts.rollout
rollouts.candidate versions.version
rollouts.continues rollouts.rollout
rollouts.stable versions.version
tries.decision decisions.decision
unit_judgements.position units.position
unit_judgements.rollout units.rollout
units.rollout rollouts.rollout
versions.predecessor versions.version
watches.rollout rollouts.rollout
"""

TYPES = {"TEXT": "text", "INTEGER": "int", "BIGINT": "big", "DOUBLE PRECISION": "real"}

A = "sha256:" + "a" * 64
B = "sha256:" + "b" * 64
C = "sha256:" + "c" * 64


@pytest.fixture
def house() -> Iterator[apsw.Connection]:
    """A database at this release's schema with three versions, a task and a decision."""
    connection = apsw.Connection(":memory:")
    connection.execute("PRAGMA foreign_keys = ON")
    migrate(connection)
    for version in (A, B, C):
        add(connection, "versions", version=version, format="gguf", path="/m", artifact="{}")
    add(connection, "tasks", task="sums", spec="{}", added_at="t")
    add(connection, "decisions", **DECISION)
    add(connection, "rollouts", **ROLLOUT)
    add(connection, "rollouts", **PROMOTED)
    add(connection, "watches", **WATCH)
    yield connection
    connection.close()


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


def names_of(connection: apsw.Connection, kind: str) -> list[str]:
    found = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = ? AND name NOT LIKE 'sqlite_%' ORDER BY name",
        (kind,),
    )
    return [str(name) for (name,) in found]


def columns(connection: apsw.Connection, table: str) -> str:
    found = []
    for _, name, type_, needed, _, key in connection.execute(f"PRAGMA table_info({table})"):
        optional = "" if needed or key else "?"
        found.append(f"{name}:{TYPES[str(type_)]}{optional}{'#' if key else ''}")
    return f"{table}: {', '.join(found)}"


def index(connection: apsw.Connection, name: str) -> str:
    ((text,),) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,))
    return " ".join(f"{name}: {text}".replace("CREATE ", "").replace(f"INDEX {name} ", "").split())


def references(connection: apsw.Connection) -> list[str]:
    found = []
    for table in names_of(connection, "table"):
        for row in connection.execute(f"PRAGMA foreign_key_list({table})"):
            line = f"{table}.{row[3]} {row[2]}.{row[4]} {row[6]}"
            found.append(line.removesuffix(" NO ACTION"))
    return sorted(found)


def unwrapped(text: str) -> list[str]:
    return text.replace("\n    ", " ").splitlines()


# -- the schema


def test_the_migrations_make_these_tables(house: apsw.Connection) -> None:
    assert [columns(house, table) for table in names_of(house, "table")] == unwrapped(TABLES)


def test_the_migrations_make_these_indexes(house: apsw.Connection) -> None:
    assert [index(house, name) for name in names_of(house, "index")] == unwrapped(INDEXES)


def test_the_migrations_make_these_references(house: apsw.Connection) -> None:
    assert references(house) == REFERENCES.splitlines()


def test_there_are_no_views_and_no_triggers(house: apsw.Connection) -> None:
    assert names_of(house, "view") + names_of(house, "trigger") == []


def test_migrations_are_numbered_without_a_gap() -> None:
    numbers = [number for number, _, _ in load_migrations()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_migrating_again_changes_nothing(house: apsw.Connection) -> None:
    assert migrate(house) == house.pragma("user_version") == load_migrations()[-1][0]
    assert house.execute("SELECT COUNT(*) FROM decisions").fetchall() == [(1,)]


def test_a_migration_that_stops_half_way_leaves_nothing(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "house.db"))
    connection.execute("CREATE TABLE units (in_the_way TEXT)")
    with pytest.raises(apsw.SQLError, match="units already exists"):
        migrate(connection)
    assert names_of(connection, "table") == ["units"]
    assert connection.pragma("user_version") == 0
    connection.close()


def test_a_newer_schema_is_refused(house: apsw.Connection) -> None:
    house.pragma("user_version", 2 + load_migrations()[-1][0])
    with pytest.raises(SchemaTooNew, match=r"Upgrade Arbiter, or start with another --data-dir\."):
        migrate(house)


# -- what it forbids


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
