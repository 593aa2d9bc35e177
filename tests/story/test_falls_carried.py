"""A version that silently got worse, carried to another house and had back after a reset."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.story.stage import Stage, name, stage, task

from arbiter.knowledge.scores import Fall
from arbiter.refs import VersionId


@asynccontextmanager
async def learning(data_dir: Path) -> AsyncIterator[Stage]:
    async with stage(data_dir, selection__strategy="learned") as play:
        yield play


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Stage]:
    """A house in which a good model got worse, as its graded answers say."""
    async with learning(tmp_path / "home") as play:
        await play.house.admission.add_task(task("chat"))
        await play.add("good", {"chat": 1.0})
        await graded(play, 60, right=True)
        await graded(play, 25, right=False)
        assert falls(play)
        yield play


async def graded(play: Stage, count: int, *, right: bool) -> None:
    for _ in range(count):
        play.clock.jump(1.0)
        await play.ask(model="good", expected="yes" if right else "no")
    await play.house.database.settle()


def version(play: Stage) -> VersionId:
    return play.house.registry.resolve(name("good")).version


def falls(play: Stage) -> tuple[Fall, ...]:
    return play.house.learning.falls_of(version(play))


def believed(play: Stage) -> float:
    """The middle of what is believed of the model at the task."""
    (found,) = play.house.select("chat").considered
    assert found.quality is not None
    return sum(found.quality) / 2


async def carried(play: Stage, tmp_path: Path) -> Path:
    file = tmp_path / "k.jsonl"
    await play.house.export_knowledge(file)
    return file


async def test_another_house_does_not_believe_what_a_version_was_before_it_fell(
    play: Stage, tmp_path: Path
) -> None:
    file = await carried(play, tmp_path)
    assert believed(play) < 0.3
    async with learning(tmp_path / "away") as other:
        await other.house.import_knowledge(file)
        await other.add("good", {"chat": 1.0})
        assert believed(other) == pytest.approx(believed(play), abs=0.1)
        assert falls(other) == (), "it did not fall here"
        before = believed(other)
    async with learning(tmp_path / "away") as other:
        assert believed(other) == pytest.approx(before, abs=0.02)


async def test_a_fall_is_carried_once_and_changes_nothing_that_people_decided(
    play: Stage, tmp_path: Path
) -> None:
    file = await carried(play, tmp_path)
    async with learning(tmp_path / "away") as other:
        assert len((await other.house.import_knowledge(file)).falls) == 1
        assert (await other.house.import_knowledge(file)).is_empty
        ours, theirs = await play.house.carrier.digests(), await other.house.carrier.digests()
        assert (ours.knowledge, ours.evidence) == (theirs.knowledge, theirs.evidence)
        again = tmp_path / "again.jsonl"
        await other.house.export_knowledge(again)
    assert (await play.house.import_knowledge(again)).is_empty


async def test_a_fall_that_was_forgotten_can_be_had_back(play: Stage, tmp_path: Path) -> None:
    before, known = believed(play), falls(play)
    file = await carried(play, tmp_path)
    await play.house.carrier.forget(who="test")
    assert falls(play) == ()
    await play.house.import_knowledge(file)
    assert falls(play) == known
    assert believed(play) == pytest.approx(before, abs=0.1)


async def test_a_fall_that_is_noticed_after_the_sums_were_carried_is_carried_with_the_next_file(
    tmp_path: Path,
) -> None:
    async with learning(tmp_path / "home") as play, learning(tmp_path / "away") as other:
        await play.house.admission.add_task(task("chat"))
        await play.add("good", {"chat": 1.0})
        await graded(play, 60, right=True)
        await other.house.import_knowledge(await carried(play, tmp_path))
        await other.add("good", {"chat": 1.0})
        assert believed(other) > 0.9
        (tmp_path / "k.jsonl").unlink()
        await graded(play, 25, right=False)
        await other.house.import_knowledge(await carried(play, tmp_path))
        assert believed(other) < 0.3


@pytest.mark.parametrize("is_later", [True, False])
async def test_sums_of_other_houses_count_when_they_are_from_after_the_fall_here(
    play: Stage, tmp_path: Path, is_later: bool
) -> None:
    async with learning(tmp_path / "away") as other:
        if is_later:
            other.clock.jump(10_000.0)
        await other.house.admission.add_task(task("chat", cases=0))
        await other.add("good", {"chat": 1.0})
        await graded(other, 60, right=True)
        file = await carried(other, tmp_path)
    before = believed(play)
    await play.house.import_knowledge(file)
    assert believed(play) - before > 0.3 if is_later else abs(believed(play) - before) < 0.05
