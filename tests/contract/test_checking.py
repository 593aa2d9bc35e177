"""Registered files read again: what is as it was, what changed, what is gone, what has no file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from arbiter.refs import VersionId
from arbiter.registry.artifact import KnownBy, examine
from arbiter.registry.checking import Checked, check_files
from arbiter.registry.registry import Standing, Version

SERVED = VersionId("sha256:" + "f" * 64)


@pytest.fixture
def versions(tmp_path: Path) -> list[Version]:
    """Two scripts, `ant` and `bee`."""
    return [version(script(tmp_path, title)) for title in ("ant", "bee")]


def script(folder: Path, title: str, **more: object) -> Path:
    path = folder / f"{title}.json"
    path.write_text(json.dumps({"arbiter_script": 1, "name": title, **more}), encoding="utf-8")
    return path


def version(path: Path) -> Version:
    artifact = examine(path)
    return Version(
        version=artifact.version,
        artifact=artifact,
        predecessor=None,
        standing=Standing.ACTIVE,
        registered_at="t",
    )


def served(one: Version, known_by: KnownBy) -> Version:
    artifact = replace(
        one.artifact,
        version=SERVED,
        path="http://127.0.0.1:1#ant",
        identity=None,
        known_by=known_by,
    )
    return replace(one, version=SERVED, artifact=artifact)


async def faults(versions: list[Version]) -> list[str | None]:
    checked = await check_files(versions, progress=lambda *_: None)
    return [one.fault for one in checked]


async def test_files_that_nobody_touched_are_good(versions: list[Version]) -> None:
    assert await faults(versions) == [None, None]


async def test_a_copy_of_the_same_content_is_good(tmp_path: Path, versions: list[Version]) -> None:
    path = tmp_path / "ant.json"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    assert await faults(versions) == [None, None]


async def test_a_file_with_other_content_is_named(tmp_path: Path, versions: list[Version]) -> None:
    script(tmp_path, "bee", default="other")
    first, second = await faults(versions)
    assert first is None
    assert f"{tmp_path / 'bee.json'} has other content" in (second or "")


async def test_a_file_that_is_gone_is_named(tmp_path: Path, versions: list[Version]) -> None:
    (tmp_path / "ant.json").unlink()
    first, second = await faults(versions)
    assert "There is no file" in (first or "")
    assert second is None


@pytest.mark.parametrize("known_by", ["server", "claims"])
async def test_what_another_program_serves_is_not_read_and_not_called_bad(
    versions: list[Version], known_by: KnownBy
) -> None:
    one = served(versions[0], known_by)
    assert await check_files([one], progress=lambda *_: None) == (
        Checked(version=SERVED, path="http://127.0.0.1:1#ant", known_by=known_by, fault=None),
    )


async def test_progress_is_told_file_by_file(tmp_path: Path, versions: list[Version]) -> None:
    told: list[tuple[str, int, int]] = []
    listed = [*versions, served(versions[0], "server")]
    await check_files(listed, progress=lambda *one: told.append(one))
    assert told == [(str(tmp_path / "ant.json"), 1, 2), (str(tmp_path / "bee.json"), 2, 2)]
