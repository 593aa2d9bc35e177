"""The schema as the migrations leave it, and what it forbids whoever writes."""

from __future__ import annotations

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
