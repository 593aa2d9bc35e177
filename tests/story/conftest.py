"""Fixtures of the stories on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.story.shell import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def furnished(shell: Shell) -> Shell:
    shell.ok("tasks", "add", "agree", "--cases", shell.cases(), "--grader", "exact")
    shell.ok("models", "add", shell.model("yea", "yes"), "--alias", "primary")
    shell.ok("models", "add", shell.model("nay", "no"), "--predecessor", "yea")
    return shell
