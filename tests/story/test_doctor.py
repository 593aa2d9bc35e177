"""`arbiter doctor` on real folders, ports and databases."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.standins.beside import beside
from tests.story.houses import MODELS, running, settings

from arbiter.clock import SystemClock
from arbiter.config import Settings
from arbiter.doctor.examination import examined
from arbiter.doctor.facts import lacking
from arbiter.doctor.findings import Finding, State


async def found(given: Settings, *, door: str | None = None) -> dict[str, Finding]:
    every = await examined(given, SystemClock(), door=door, paranoid=True)
    return {one.about: one for one in every}


async def test_a_house_that_is_well_has_nothing_to_mend(tmp_path: Path) -> None:
    given = settings(tmp_path / "data", discovery__usual=False)
    async with running(tmp_path / "data") as there:
        seen = await found(given, door=there.url)
    assert (
        there.url in seen["port"].sentence
    )  # where it listens, and not where the settings would have it
    assert [one for one in seen.values() if one.state is State.FAIL] == []
    assert "It is sound" in seen["database"].sentence
    assert "nobody else's" in seen["data"].sentence


async def test_a_damaged_database_and_an_open_folder_are_named(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running(data):
        pass
    database = data / "arbiter.db"
    database.write_bytes(database.read_bytes()[:4096] + b"\xff" * 8192)
    data.chmod(0o755)
    seen = await found(settings(data, discovery__usual=False))
    assert seen["database"].state is State.FAIL
    assert seen["data"].mend == f"chmod 700 {data}"


async def test_a_port_that_another_program_has_is_named_with_its_owner(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        given = settings(tmp_path / "data", discovery__usual=False, door__port=port)
        seen = await found(given)
    assert seen["port"].state is State.FAIL
    assert "process" in seen["port"].sentence


async def test_a_server_is_asked_for_its_version(tmp_path: Path) -> None:
    model = f"--model=gemma3:1b={MODELS / 'heron-1.gguf'}"
    async with beside("ollama_server", model) as ollama:
        given = settings(tmp_path / "data", discovery__usual=False, discovery__servers=[ollama.url])
        seen = await found(given)
    assert "ollama" in seen[f"server {ollama.url}"].sentence


async def test_a_new_house_without_a_model_is_told_how_to_get_one(tmp_path: Path) -> None:
    async with running(tmp_path / "data"):
        pass
    seen = await found(settings(tmp_path / "data", discovery__usual=False))
    assert seen["models"].mend == "arbiter models add FILE.gguf"


async def test_keys_in_a_file_that_others_may_read_and_traces_without_their_extra(
    tmp_path: Path,
) -> None:
    file = tmp_path / "arbiter.toml"
    file.write_text("", encoding="utf-8")
    file.chmod(0o644)
    given = settings(
        tmp_path / "data",
        discovery__usual=False,
        door__keys=["a-key"],
        telemetry__otlp_endpoint="http://127.0.0.1:4318",
    )
    every = await examined(given, SystemClock(), door=None, paranoid=False, config=file)
    seen = {one.about: one for one in every}
    assert seen["config"].mend == f"chmod 600 {file}"
    assert "extra otel" not in seen, "it is installed here"
    assert list(lacking(given, {})) == ["otel"]
