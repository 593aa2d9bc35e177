"""Hooks of a rollout: told of every change, asked before more traffic, no way around a check."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.standins.faulty import SILENT, Faulty, Reply, faulty, reply
from tests.story.stage import Stage, name, stage, task

from arbiter.errors import Conflict
from arbiter.refs import RolloutId
from arbiter.swap.hooks import ASK_AGAIN_S
from arbiter.swap.rollout import Phase, Rollout

PATH = "/arbiter?key=1"
GO = reply({"answer": "go"})
BLOCK = reply({"answer": "block", "reason": "the month is not closed\x07"})
ABORT = reply({"answer": "abort", "reason": "legal says no"})


@asynccontextmanager
async def hooked(
    tmp_path: Path, answers: Reply | Sequence[Reply], **more: Any
) -> AsyncIterator[tuple[Stage, Faulty]]:
    """A house with one hook and two versions. It is told twice before it is asked anything."""
    async with faulty({PATH: answers}) as hook:
        given: dict[str, Any] = {
            "rollout__hooks": [hook.url + PATH],
            "rollout__hook_timeout_s": 0.6,
            **more,
        }
        async with stage(tmp_path / "data", **given) as play:
            await play.add("old", {"chat": 0.75})
            await play.add("new", {"chat": 0.97})
            await play.alias("primary", "old")
            await play.house.admission.add_task(task("chat", cases=0))
            yield play, hook


async def until(
    play: Stage, rollout: RolloutId, seen: Callable[[Rollout], bool], *, ask: bool = True
) -> Rollout:
    """The rollout once this is so, with traffic under ``primary`` meanwhile."""
    found = (await play.house.controller.find(rollout)).rollout
    for _ in range(2000):
        if seen(found):
            return found
        if ask:
            await play.ask()
        await play.tick()
        found = (await play.house.controller.find(rollout)).rollout
    raise AssertionError(f"it never was: {found}")


def kinds(hook: Faulty) -> list[str]:
    return [json.loads(body)["kind"] for body in hook.bodies(PATH)]


def asked_for(hook: Faulty) -> list[Mapping[str, Any]]:
    told = [json.loads(body) for body in hook.bodies(PATH)]
    return [one for one in told if one["asks"] is not None]


async def test_a_hook_is_told_of_every_change_and_asked_before_each_step(tmp_path: Path) -> None:
    async with hooked(tmp_path, GO) as (play, hook):
        rollout = await play.swap("primary", "new")
        found = await until(play, rollout, lambda r: r.phase.is_final)
        assert found.phase is Phase.PROMOTED
        await play.house.controller.close()
        told = kinds(hook)
        assert told[:2] == ["rollout.started", "rollout.progressing"]
        assert told[-2:] == ["rollout.promote?", "rollout.promoted"]
        assert told.count("rollout.step?") == told.count("rollout.progressing") - 1
        first = asked_for(hook)[0]
        assert (first["asks"], first["step"], first["to"]) == ("step", 0, 0.1)
        assert first["plan"] == found.plan.digest
        assert asked_for(hook)[-1]["to"] == 1.0


async def test_a_hook_that_blocks_is_asked_again_and_nothing_rises_meanwhile(
    tmp_path: Path,
) -> None:
    async with hooked(tmp_path, [GO, GO, BLOCK, GO]) as (play, hook):
        rollout = await play.swap("primary", "new")
        blocked = await until(play, rollout, lambda r: "month" in r.reason)
        assert (blocked.index, blocked.phase) == (0, Phase.PROGRESSING)
        assert blocked.reason.endswith("says block: the month is not closed")
        before = len(asked_for(hook))
        await play.tick(8)
        assert len(asked_for(hook)) == before
        play.clock.jump(ASK_AGAIN_S)
        assert (await until(play, rollout, lambda r: r.index == 1, ask=False)).index == 1


async def test_a_hook_may_call_a_rollout_off(tmp_path: Path) -> None:
    async with hooked(tmp_path, [GO, GO, ABORT]) as (play, _):
        rollout = await play.swap("primary", "new")
        found = await until(play, rollout, lambda r: r.phase.is_final)
        assert found.phase is Phase.ABORTED
        assert "by a hook" in found.reason
        assert "legal says no" in found.reason
        log = (await play.house.controller.view(rollout)).log
        assert log[-1].who == "a hook"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (SILENT, "it did not answer within 0.6 s"),
        (reply("yes, go"), "its answer is none"),
        (reply({"answer": "fine"}), "its answer is none"),
        (reply({"answer": "go"}, status=500), "its answer is none: it has status 500"),
        (reply({"answer": "go"}, status=302, more="Location: /go\r\n"), "it has status 302"),
        (reply(b"[" * 70_000), "its answer is none"),
    ],
)
async def test_no_answer_and_nonsense_block_and_say_so(
    tmp_path: Path, answer: Reply, why: str
) -> None:
    async with hooked(tmp_path, [GO, GO, answer]) as (play, _):
        rollout = await play.swap("primary", "new")
        found = await until(play, rollout, lambda r: "blocks" in r.reason)
        assert why in found.reason
        assert (found.index, found.phase) == (0, Phase.PROGRESSING)


async def test_a_hook_that_nobody_serves_blocks(tmp_path: Path) -> None:
    gone = {"rollout__hooks": ["http://127.0.0.1:9/"]}
    async with hooked(tmp_path, GO, **gone) as (play, _):
        rollout = await play.swap("primary", "new")
        found = await until(play, rollout, lambda r: "blocks" in r.reason)
        assert "cannot be reached" in found.reason


async def test_a_worse_candidate_is_rolled_back_while_a_hook_keeps_silent(tmp_path: Path) -> None:
    """Flagger #1801: checks failed past the threshold, and it waited for a confirmation."""
    async with hooked(tmp_path, [GO, GO, SILENT, GO], rollout__hook_timeout_s=600.0) as (
        play,
        hook,
    ):
        await play.add("bad", {"chat": 0.2})
        shape = {"unproven_first_step": 0.3, "steps": [0.4, 0.5], "min_units": 1}
        rollout = await play.swap("primary", "bad", **shape)
        found = await until(play, rollout, lambda r: r.phase.is_final)
        assert found.phase is Phase.ROLLED_BACK
        assert asked_for(hook)


async def test_hooks_are_asked_for_what_a_person_says_too(tmp_path: Path) -> None:
    async with hooked(tmp_path, [GO, GO, BLOCK, BLOCK, GO]) as (play, hook):
        controller = play.house.controller
        rollout = await play.swap("primary", "new", soak_s=3600.0)
        while len(hook.asked) < 2:
            await play.tick()
        with pytest.raises(Conflict, match="month is not closed"):
            await controller.step(rollout, who="ada", why="now", to=1)
        with pytest.raises(Conflict, match="kept from that"):
            await controller.promote(rollout, who="ada", why="now")
        stepped = await controller.step(rollout, who="ada", why="now", to=1)
        again = await controller.step(rollout, who="ada", why="now", to=1)
        assert stepped.rollout.index == again.rollout.index == 1
        assert stepped.rollout.reason == "stepped by ada: now"


async def test_hooks_are_asked_before_one_that_was_only_asked_answers(tmp_path: Path) -> None:
    async with hooked(tmp_path, [GO, GO, GO, GO, GO]) as (play, hook):
        rollout = await play.swap("primary", "new", soak_s=5.0, shadow=0.5)
        await until(play, rollout, lambda r: r.weight > 0.0)
        assert [asked["to"] for asked in asked_for(hook)][:1] == [0.05]


async def test_who_goes_back_asks_nobody(tmp_path: Path) -> None:
    async with hooked(tmp_path, [GO, GO, BLOCK]) as (play, hook):
        rollout = await play.swap("primary", "new", soak_s=3600.0)
        aborted = await play.house.controller.abort(rollout, who="ada", why="no")
        assert aborted.rollout.phase is Phase.ABORTED
        assert asked_for(hook) == []
        assert play.house.registry.resolve(name("primary")).version == aborted.rollout.stable
