"""A fresh file with every migration."""

from __future__ import annotations

from collections.abc import Iterator

import apsw
import pytest
from tests.migration.schema_rows import DECISION, PROMOTED, ROLLOUT, WATCH, A, B, C, add

from arbiter.storage.sqlite import migrate


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
