"""Runs the `console` blocks of a page and writes what they print under the commands.

    python tests/docs/record.py [PAGE ...]

Without a page, the tutorial. Takes port 8017 and a minute. A command may name an id or a date of an
earlier run; the newest id of that kind, or the newest date, stands in for it. A mark
``<!-- demo transcript -->`` is followed by what `arbiter demo` prints. A mark
``<!-- beside: ollama_server --port 11434 ... -->`` names a server of `tests/standins` that runs
meanwhile. `make test` does not run this: it only checks that the commands are understood.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
SHIPPED = ROOT / "src" / "arbiter" / "demo"
IDS = re.compile(r"\b(dec|rol)_[0-9a-z]{26}\b")
DATES = re.compile(r"(?<=[\w:]-)(20\d{6})\b")
BESIDE = re.compile(r"^<!-- beside: (.+) -->$", re.MULTILINE)
LOOK_S = 8.0
"""`arbiter up` has found by then what there is; after that it is silent."""
DEMO = re.compile(r"(<!-- demo transcript -->\n).*?(<!-- end of demo transcript -->)", re.DOTALL)


class Recorder:
    """One reader, in a folder of their own, from the first block to the last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ids: dict[str, str] = {}
        self._date: str | None = None
        self._up: subprocess.Popen[str] | None = None
        self._beside: list[subprocess.Popen[str]] = []
        self._environment = {
            **{name: value for name, value in os.environ.items() if name[:8] != "ARBITER_"},
            "HOME": str(folder.parent),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "COLUMNS": "100",
            "PYTHONUNBUFFERED": "1",
        }

    def page(self, text: str) -> str:
        """The page with its blocks run."""
        text = re.sub(
            r"^```console\n(.*?)^```$",
            lambda found: f"```console\n{self._block(found[1])}```",
            text,
            flags=re.DOTALL | re.MULTILINE,
        )
        return DEMO.sub(
            lambda found: f"{found[1]}\n```text\n{self.run('arbiter demo')}\n```\n\n{found[2]}",
            text,
        )

    def file(self, text: str) -> None:
        """Write the page's programs, which begin with ``# name.py``."""
        programs = re.compile(r"^```python\n(# \w+\.py\n)(.*?)^```$", re.DOTALL | re.MULTILINE)
        for name, body in programs.findall(text):
            (self._folder / name[2:].strip()).write_text(name + body, encoding="utf-8")

    def _block(self, block: str) -> str:
        commands = [line for line in block.splitlines() if line.startswith(("$ ", "> "))]
        lines: list[str] = []
        command = ""
        for line in commands:
            shown = IDS.sub(lambda found: self._ids.get(found[1], found[0]), line)
            shown = DATES.sub(lambda found: self._date or found[0], shown)
            lines.append(shown)
            command += shown[2:]
            if command.endswith("\\"):
                command = command[:-1]
                continue
            said = self.run(command)
            lines += said.splitlines()
            command = ""
        return "\n".join(lines) + "\n"

    def run(self, command: str) -> str:
        """What a command prints, on both its outputs."""
        if command.split()[:2] == ["arbiter", "up"]:
            return self._start(command)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        said = "\n".join(_last(line).rstrip() for line in done.stdout.split("\n")).strip("\n")
        if done.returncode:
            raise SystemExit(f"{command}\n{said}")
        for kind, found in re.findall(r"\b((?:dec|rol))(_[0-9a-z]{26})\b", said):
            self._ids[kind] = kind + found
        self._date = next(iter(DATES.findall(said)[::-1]), self._date)
        return said.replace(str(self._folder.parent), "/home/you")

    def _start(self, command: str) -> str:
        self._up = subprocess.Popen(
            shlex.split(command),
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines: list[str] = []
        reading = threading.Thread(target=_read, args=(self._up, lines), daemon=True)
        reading.start()
        reading.join(timeout=LOOK_S)
        return "\n".join(lines).replace(str(self._folder.parent), "/home/you")

    def beside(self, text: str) -> None:
        """Start the servers that a page wants to run beside the house."""
        for words in BESIDE.findall(text):
            module, *arguments = shlex.split(words)
            server = subprocess.Popen(
                [sys.executable, "-m", f"tests.standins.{module}", *arguments],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._beside.append(server)
            if server.stdout is None or not server.stdout.readline():
                raise SystemExit(f"{module} did not start")

    def close(self) -> None:
        """End the house that was started, and what ran beside it."""
        if self._up is not None:
            self._up.terminate()
            self._up.wait(timeout=30)
        for server in self._beside:
            server.communicate(timeout=30)


def _read(program: subprocess.Popen[str], lines: list[str]) -> None:
    if program.stdout is None:
        raise AssertionError("it was asked for")
    for line in program.stdout:
        lines += [line.rstrip()]


def _last(line: str) -> str:
    """What is left on a line that was written over."""
    return line.rpartition("\r")[2]


@contextmanager
def reader() -> Iterator[Recorder]:
    """A reader with the models and cases that ship."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "try"
        folder.mkdir()
        for path in (*SHIPPED.glob("models/*.gguf"), *SHIPPED.glob("cases/*.jsonl")):
            shutil.copy(path, folder)
        recorder = Recorder(folder)
        try:
            yield recorder
        finally:
            recorder.close()


def main(pages: list[Path]) -> None:
    """Record every page."""
    for page in pages:
        text = page.read_text(encoding="utf-8")
        with reader() as recorder:
            recorder.file(text)
            recorder.beside(text)
            page.write_text(recorder.page(text), encoding="utf-8")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or [TUTORIAL])
