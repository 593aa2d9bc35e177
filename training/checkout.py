"""This checkout: where its files lie, which commit it is at, and the lessons it teaches from."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
LESSONS_FILE: Final = ROOT / "src" / "arbiter" / "demo" / "lessons.py"
CASES_FOLDER: Final = ROOT / "src" / "arbiter" / "demo" / "cases"


def _load_lessons() -> ModuleType:
    """Load the lessons by their file, so that training needs nothing else of Arbiter."""
    name = "arbiter_lessons"
    spec = importlib.util.spec_from_file_location(name, LESSONS_FILE)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(LESSONS_FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


lessons: Final = _load_lessons()


def file_digest(path: Path) -> str:
    """Give a file's digest as provenance records it."""
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def script_commit() -> str:
    """Name the last commit that changed the training code or the lessons.

    Ends in `+changes` while either differs from that commit; `unknown` outside a git checkout.
    """
    paths = ["training", str(LESSONS_FILE.relative_to(ROOT))]
    try:
        commit = _git("log", "-1", "--format=%H", "--", *paths)
        changes = _git("status", "--porcelain", "--", *paths)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    if not commit:
        return "unknown"
    return f"{commit}+changes" if changes else commit


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()
