"""Code in the pages runs, and has the output that they show."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from tests.docs.markdown import ROOT
from tests.docs.pages import DOOR, IDS, PAGES, Block, blocks_of, blocks_with_output

from arbiter.app import open_house
from arbiter.config import load_settings
from arbiter.demo.story import task_of


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a model and a task, to be copied."""
    folder = tmp_path_factory.mktemp("furnished")
    shutil.copy(str(files("arbiter.demo") / "models" / "sparrow.gguf"), folder)

    async def furnish() -> None:
        settings = load_settings(environment={}, overrides={"data_dir": folder / "data"})
        async with open_house(settings) as house:
            await house.admission.add_task(task_of("sentiment"))
            await house.add(folder / "sparrow.gguf", "sparrow")

    asyncio.run(furnish())
    return folder


@pytest.fixture
def folder(tmp_path: Path, furnished: Path) -> Path:
    """Where a page's code runs: a model beside it, and what the page takes for granted."""
    shutil.copy(furnished / "sparrow.gguf", tmp_path)
    shutil.copytree(furnished / "data", tmp_path / "known-answers")
    shutil.copytree(furnished / "data", tmp_path / "up")
    return tmp_path


@pytest.fixture
def door(folder: Path) -> Iterator[str]:
    """A house that runs, and where."""
    arbiter = str(Path(sys.executable).parent / "arbiter")
    command = [arbiter, "up", "--json", "--port", "0", "--data-dir", str(folder / "up")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            yield str(json.loads(running.stdout.readline())["url"])
        finally:
            running.terminate()
            running.communicate(timeout=30)


WITH_CODE = [page for page in PAGES if blocks_with_output(page)]


@pytest.mark.parametrize("page", WITH_CODE, ids=[str(p.relative_to(ROOT)) for p in WITH_CODE])
def test_python_in_the_pages_runs(page: Path, folder: Path, request: pytest.FixtureRequest) -> None:
    """A block that begins with ``# name.py`` is a file; every other one is a program."""
    for block, said in blocks_with_output(page):
        text = block.text
        if DOOR in text:
            text = text.replace(DOOR, str(request.getfixturevalue("door")))
        name = re.match(r"# (\w+\.py)\n", text)
        path = folder / (name[1] if name else "program.py")
        path.write_text(text, encoding="utf-8")
        if name:
            continue
        done = subprocess.run(
            [sys.executable, "-W", "error", str(path)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"line {block.line}:\n{done.stderr}"
        if said is not None:
            assert done.stdout == said


CLIENTS = ROOT / ".clients" / "bin" / "python"
"""Clients that are too large for everybody's environment: `make clients`."""

NEEDS_CLIENTS = [
    (page, block, said)
    for page in PAGES
    for block, said in blocks_with_output(page, mark="needs: clients")
]


@pytest.mark.live
@pytest.mark.skipif(not CLIENTS.exists(), reason="needs the larger clients: make clients")
@pytest.mark.parametrize(
    ("page", "block", "said"),
    NEEDS_CLIENTS,
    ids=[f"{page.name}:{block.line}" for page, block, _ in NEEDS_CLIENTS],
)
def test_larger_clients_in_the_pages_run(
    page: Path, block: Block, said: str | None, folder: Path, door: str
) -> None:
    path = folder / "program.py"
    path.write_text(block.text.replace(DOOR, door), encoding="utf-8")
    done = subprocess.run(
        [str(CLIENTS), str(path)],
        cwd=folder,
        env={"HOME": str(folder), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{page.name}, line {block.line}:\n{done.stderr}"
    assert done.stdout == said


RUNS = [page for page in PAGES if blocks_with_output(page, "sh", mark="runs")]


@pytest.mark.live
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("page", RUNS, ids=[str(p.relative_to(ROOT)) for p in RUNS])
def test_commands_that_are_shown_with_their_output_have_it(
    page: Path, folder: Path, door: str
) -> None:
    for block, said in blocks_with_output(page, "sh", mark="runs"):
        done = subprocess.run(
            ["sh", "-c", block.text.replace(DOOR, door)],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout == said, f"line {block.line}:\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_json_and_toml_in_the_pages_is_valid(page: Path) -> None:
    for block in blocks_of(page):
        if block.language == "toml":
            tomllib.loads(block.text)
        if block.language == "json":
            try:
                json.loads(block.text)
            except ValueError:  # JSON lines
                for line in block.text.splitlines():
                    json.loads(line)


def test_configuration_in_the_pages_is_accepted(tmp_path: Path) -> None:
    for page in PAGES:
        for block in blocks_of(page):
            if block.language == "toml" and "[project]" not in block.text:
                file = tmp_path / "arbiter.toml"
                file.write_text(block.text, encoding="utf-8")
                load_settings(config=file, environment={})
