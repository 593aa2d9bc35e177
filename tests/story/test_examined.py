"""A model that silently gets worse at one task is examined again, and no task waits to find out."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.story.stage import Stage, name, stage, task

from arbiter.engines.base import LoadSpec, Runner
from arbiter.engines.scripted import Reply, Say, Scripted, Step
from arbiter.inference import Chat, Generation
from arbiter.refs import TaskName, VersionId
from arbiter.swap.examining import Examination

TITLES = ("chat", "sums", "tales")
IDLE_S = 30.0
MOST = 60
"""Graded requests at one task within which a model that broke is suspected."""


class Fading(Scripted):
    """Runs models that give the same answer to the same prompt, until they get worse.

    shares: of the prompts of any task that a model answers right, by its name.
    """

    def __init__(self, **shares: float) -> None:
        super().__init__()
        self.shares = shares

    async def load(self, spec: LoadSpec) -> Runner:
        self.reply = self._of(spec.path.stem)
        return await super().load(spec)

    def _of(self, title: str) -> Reply:
        def reply(request: Generation) -> Iterator[Step]:
            assert isinstance(request.work, Chat)
            prompt = f"{title} {request.work.messages[-1].content}".encode()
            yield Say("yes" if zlib.crc32(prompt) % 1000 < 1000 * self.shares[title] else "no")

        return reply


@asynccontextmanager
async def learning(
    data_dir: Path, engine: Fading, *, is_new: bool = True, **how: object
) -> AsyncIterator[Stage]:
    """A house that learns, and runs cases when nobody was served for half a minute."""
    given = {
        "selection__strategy": "learned",
        "calibration__enabled": True,
        "calibration__idle_s": IDLE_S,
        **how,
    }
    async with stage(data_dir, engine=engine, **given) as play:  # type: ignore[arg-type]  # a test's shorthand
        for title in TITLES if is_new else ():
            await play.house.admission.add_task(task(title, cases=20))
        for title in engine.shares if is_new else ():
            await play.add(title, {})
        yield play


@asynccontextmanager
async def well_known(data_dir: Path, engine: Fading, **how: object) -> AsyncIterator[Stage]:
    """Such a house when its cases were run, and 60 requests were served."""
    async with learning(data_dir, engine, **how) as play:  # type: ignore[arg-type]  # a test's shorthand
        await rest(play, "done")
        await asked(play, 60)
        yield play


async def third_case(play: Stage) -> None:
    """Let an examination begin, until three cases of it were run again."""
    play.clock.jump(2 * IDLE_S)
    while len(await play.house.database.read("list_reruns")) < 3:
        await play.house.database.settle()


def good_and_other() -> Fading:
    return Fading(good=1.0, other=0.8)


def version(play: Stage, title: str = "good") -> VersionId:
    return play.house.registry.resolve(name(title)).version


def pick(play: Stage, title: str) -> str:
    return str(play.house.select(title).alias)


async def asked(play: Stage, count: int) -> None:
    for _ in range(count):
        play.clock.jump(0.01)
        await play.ask(model="auto")


async def rest(play: Stage, until: str = "examined") -> None:
    """Let nobody come until this is said of graded cases."""
    await play.house.database.settle()
    with play.house.announcer.listening() as heard:
        play.clock.jump(2 * IDLE_S)
        await anext(e async for e in heard.stream() if e.kind == f"calibration.{until}")


async def suspected(play: Stage) -> int:
    """Ask until the good model is suspected; how many requests that took."""
    for number in range(1, MOST + 1):
        await asked(play, 1)
        if play.house.learning.doubts({}):
            return number
    raise AssertionError(f"it was not suspected within {MOST} requests")


def found(play: Stage) -> Examination | None:
    return play.house.calibrating.examining.of(version(play))


def known(play: Stage) -> Examination:
    examined = found(play)
    assert examined is not None
    return examined


async def test_a_model_that_gets_worse_is_examined_and_loses_tasks_that_nobody_asked(
    tmp_path: Path,
) -> None:
    engine = good_and_other()
    async with well_known(tmp_path / "data", engine) as play:
        assert {pick(play, title) for title in TITLES} == {"good"}
        engine.shares["good"] = 0.4
        await suspected(play)
        assert not play.house.learning.falls_of(version(play))  # no change test has an alarm yet
        await rest(play)
        examined = known(play)
        assert (examined.cases, examined.fell) == (60, True)
        assert [fall.task for fall in play.house.learning.falls_of(version(play))] == [None]
        assert {pick(play, title) for title in TITLES} == {"other"}
    async with learning(tmp_path / "data", engine, is_new=False) as play:
        assert found(play) == examined
        assert {pick(play, title) for title in TITLES} == {"other"}


async def test_a_model_that_was_suspected_for_nothing_loses_nothing(tmp_path: Path) -> None:
    engine = good_and_other()
    async with well_known(tmp_path / "data", engine) as play:
        before = play.house.profiles.get(version(play), TaskName("tales"))
        now = {title: pick(play, title) for title in TITLES}
        engine.shares["good"] = 0.0
        await suspected(play)
        engine.shares["good"] = 1.0  # it was luck
        await rest(play)
        examined = known(play)
        assert (examined.cases, examined.fell) == (60, False)
        assert play.house.profiles.get(version(play), TaskName("tales")) == before
        assert play.house.learning.falls_of(version(play)) == ()
        assert {title: pick(play, title) for title in TITLES} == now
        rows = await play.house.database.read("list_reruns")
        assert rows == []


async def test_a_model_is_not_examined_again_before_a_hundred_further_scores(
    tmp_path: Path,
) -> None:
    engine = good_and_other()
    async with well_known(tmp_path / "data", engine) as play:
        engine.shares["good"] = 0.0
        await suspected(play)
        engine.shares["good"] = 1.0
        await rest(play)
        await asked(play, 10)
        engine.shares["good"] = 0.0
        await suspected(play)
        await play.house.calibrating.examining.look()
        assert len(await play.house.database.read("list_examinations")) == 1


async def test_a_kill_in_the_midst_of_an_examination_loses_no_case(tmp_path: Path) -> None:
    engine = good_and_other()
    async with well_known(tmp_path / "data", engine) as play:
        engine.shares["good"] = 0.4
        await suspected(play)
        await third_case(play)
        before = play.house.profiles.get(version(play), TaskName("tales"))
        await play.ask(model="other", expected=None)
        kept = len(await play.house.database.read("list_reruns"))
        assert play.house.profiles.get(version(play), TaskName("tales")) == before
    async with learning(tmp_path / "data", engine, is_new=False) as play:
        assert len(await play.house.database.read("list_reruns")) >= kept
        await rest(play)
        examined = known(play)
        assert (examined.cases, examined.fell) == (60, True)


async def test_nothing_is_examined_where_the_settings_say_so(tmp_path: Path) -> None:
    engine = good_and_other()
    async with well_known(tmp_path / "data", engine, calibration__examine=False) as play:
        engine.shares["good"] = 0.4
        await suspected(play)
        play.clock.jump(2 * IDLE_S)
        view = await play.house.calibrating.view()
        assert not any(entry.wish.left for entry in view.entries)
        assert found(play) is None


async def test_what_is_reset_in_the_midst_of_an_examination_stays_forgotten(
    tmp_path: Path,
) -> None:
    engine = good_and_other()
    async with well_known(tmp_path / "data", engine) as play:
        engine.shares["good"] = 0.4
        await suspected(play)
        await third_case(play)
        await play.ask(model="other", expected=None)
        await play.house.carrier.forget(task="", version=version(play), who="test")
        await play.house.calibrating.examining.look()
        examined = known(play)
        assert (examined.cases, examined.fell) == (0, False)
        grading = play.house.tasks.grading(TaskName("chat")) or ""
        kept = await play.house.database.read("list_validations", (version(play), "chat", grading))
        assert kept == []
        assert await play.house.database.read("list_reruns") == []
