"""A shell for the commands of one data directory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from arbiter.cli.main import app


@dataclass
class Shell:
    """Runs commands on one data directory."""

    folder: Path

    def __call__(self, *words: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(
            app, list(words), env={"ARBITER_DATA_DIR": str(self.folder / "data")}, input=stdin
        )

    def ok(self, *words: str) -> str:
        """What a command that goes well prints."""
        result = self(*words)
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    def json(self, *words: str) -> dict[str, Any]:
        """The document that a command prints with ``--json``."""
        found: dict[str, Any] = json.loads(self.ok(*words, "--json"))
        return found

    def refused(self, *words: str) -> str:
        """What a command says that cannot go well."""
        result = self(*words)
        assert result.exit_code in {1, 2}, result.output
        assert "Traceback" not in result.output
        return " ".join(result.output.split())

    def model(self, title: str, reply: str) -> str:
        """A scripted model file."""
        path = self.folder / f"{title}.json"
        script = {"arbiter_script": 1, "name": title, "capabilities": ["chat"], "default": reply}
        path.write_text(json.dumps(script), encoding="utf-8")
        return str(path)

    def cases(self, count: int = 12, expected: object = "yes") -> str:
        """A file of cases."""
        path = self.folder / "cases.jsonl"
        lines = [json.dumps({"prompt": f"case {n}", "expected": expected}) for n in range(count)]
        path.write_text("\n".join(lines), encoding="utf-8")
        return str(path)
