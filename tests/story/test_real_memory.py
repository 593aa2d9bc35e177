"""Real workers and real memory: what is measured, who leaves, and what a broken one says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.story.houses import MODELS, alive, house_with

from arbiter.errors import LoadFailed
from arbiter.house import House
from arbiter.pool.instance import State
from arbiter.pool.view import InstanceView
from arbiter.refs import parse_name


def _view(house: House, title: str) -> InstanceView:
    version = house.registry.resolve(parse_name(title)).version
    return next(view for view in house.pool.views() if view.version == version)


async def test_a_loads_memory_and_time_are_measured_beside_what_was_predicted(
    tmp_path: Path,
) -> None:
    async with house_with(tmp_path / "data", ["sparrow"], []) as house:
        await house.ask("Review: the soup was lovely.", model="sparrow")
        view = _view(house, "sparrow")
        assert view.state is State.READY
        assert view.measured_bytes is not None
        assert view.predicted_bytes is not None
        assert view.measured_bytes > (MODELS / "sparrow.gguf").stat().st_size
        assert view.load_s is not None
        assert view.load_s > 0.0
        budget = house.pool.space.budget()
        assert budget["host"] > view.measured_bytes


async def test_where_one_of_two_fits_both_answer_and_the_worker_of_the_first_is_gone(
    tmp_path: Path,
) -> None:
    async with house_with(tmp_path / "data", ["sparrow", "owl"], []) as house:
        await house.ask("Review: the soup was lovely.", model="sparrow")
        first = _view(house, "sparrow")
        await house.database.settle()
    assert first.measured_bytes is not None
    one_and_a_half_mb = first.measured_bytes * 1.5 / 1e6
    async with house_with(tmp_path / "data", [], [], pool__memory_mb=one_and_a_half_mb) as house:
        await house.ask("Review: the soup was lovely.", model="sparrow")
        pid = _view(house, "sparrow").pid
        assert pid is not None
        asked = [house.ask("Review: the soup was awful.", model=one) for one in ("owl", "sparrow")]
        answers = await asyncio.gather(*asked)
        assert all(answer.text for answer in answers)
        assert _view(house, "sparrow").loads + _view(house, "owl").loads >= 2
        states = [_view(house, title).state for title in ("sparrow", "owl")]
        assert states.count(State.READY) == 1
        assert (_view(house, "sparrow").pid == pid) == alive(pid)


async def test_a_file_that_no_engine_can_load_fails_with_the_engines_last_lines(
    tmp_path: Path,
) -> None:
    raw = (MODELS / "sparrow.gguf").read_bytes()
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(raw.replace(b"blk.0.attn_q", b"blk.0.attn_Q"))
    async with house_with(tmp_path / "data", [], []) as house:
        await house.admission.register(broken, parse_name("broken"))
        with pytest.raises(LoadFailed, match=r"blk\.0\.attn_q") as failed:
            await house.ask("Review: the soup was lovely.", model="broken")
        assert str(tmp_path) not in failed.value.sentence
        assert _view(house, "broken").state is State.FAILED
