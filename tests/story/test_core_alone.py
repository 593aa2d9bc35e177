"""The core without any engine's package: it installs, imports, and says how to get an engine."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARED = {"opentelemetry"}
MODEL = ROOT / "src" / "arbiter" / "demo" / "models" / "sparrow.gguf"


def _core(folder: Path) -> Path:
    """An environment with what requirements/core.txt locks, and nothing else.

    The packages are those of this environment, linked: the same versions, and no network.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / version / "site-packages"
    lock = (ROOT / "requirements" / "core.txt").read_text(encoding="utf-8")
    names = re.findall(r"^([a-zA-Z0-9._-]+)==", lock, re.MULTILINE)
    for wanted in ("arbiter-house", *names):
        found = distribution(wanted)
        tops = {_top(file.parts) for file in found.files or () if ".." not in file.parts}
        for top in tops - {"__pycache__"}:
            link = site / top
            if not link.exists():
                link.parent.mkdir(exist_ok=True)
                link.symlink_to(Path(str(found.locate_file(top))))
    return folder / "bin" / "python"


def _top(parts: tuple[str, ...]) -> str:
    """What to link: of a folder that several packages share, the part of this one."""
    return "/".join(parts[:2]) if parts[0] in SHARED else parts[0]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _core(tmp_path_factory.mktemp("core") / "venv")


async def _run(python: Path, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        str(python), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def test_the_core_imports_without_an_engine(python: Path) -> None:
    code, out = await _run(python, "-c", "import arbiter.app, importlib.util as u; "
                           "print(u.find_spec('xllamacpp'), u.find_spec('torch'))")  # fmt: skip
    assert (code, out.strip()) == (0, "None None")


async def test_the_command_line_runs_and_a_model_says_how_to_get_its_engine(
    python: Path, tmp_path: Path
) -> None:
    data = str(tmp_path / "data")
    code, out = await _run(python, "-m", "arbiter", "models", "add", str(MODEL), "--data-dir", data)
    assert code == 0, out
    assert "registered sparrow" in out
    assert 'pip install "arbiter-house[llama]"' in out
    code, out = await _run(python, "-m", "arbiter", "ask", "hello", "--data-dir", data)
    assert code == 1
    assert 'pip install "arbiter-house[llama]"' in out
    code, out = await _run(python, "-m", "arbiter", "demo")
    assert code == 1
    assert 'pip install "arbiter-house[llama]"' in out


TRACED = "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318"


async def test_without_the_extra_for_traces_every_command_works(
    python: Path, tmp_path: Path
) -> None:
    """The variable is often set for every program of a person."""
    command = ["-m", "arbiter", "status", "--data-dir", str(tmp_path / "data")]
    code, out = await _run(Path("/usr/bin/env"), TRACED, str(python), *command)
    assert code == 0, out
    assert "traces" not in out


async def test_the_house_says_once_what_its_traces_lack(python: Path, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        "/usr/bin/env", TRACED, str(python), "-m", "arbiter", "up", "--port", "0",
        "--no-discover", "--data-dir", str(tmp_path / "data"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert b"Arbiter is up" in await process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, told = await process.communicate()
    assert process.returncode == 0, told
    assert told.count(b'pip install "arbiter-house[otel]"') == 1
    assert b"OTEL_EXPORTER_OTLP_ENDPOINT" in told


async def test_the_doctor_says_what_traces_lack(python: Path, tmp_path: Path) -> None:
    command = ["-m", "arbiter", "doctor", "--data-dir", str(tmp_path / "data")]
    _, out = await _run(Path("/usr/bin/env"), TRACED, str(python), *command)
    assert 'pip install "arbiter-house[otel]"' in out
