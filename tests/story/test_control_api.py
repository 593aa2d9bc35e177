"""The control API: lists in parts, changes that somebody else made meanwhile, and events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.story.stage import Stage, stage, task

from arbiter.clock import ManualClock
from arbiter.events import KEPT, Event
from arbiter.pool.pool import loadable
from arbiter.refs import parse_name


@dataclass
class Desk:
    """An open house, and somebody who speaks to its control API."""

    play: Stage
    url: str
    session: aiohttp.ClientSession

    async def __call__(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, dict[str, Any], str | None]:
        """Status, answer and tag. headers: with _ for -."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(
            method, f"{self.url}/control/v1{path}", json=body, headers=given
        ) as got:
            text = await got.text()
            last = json.loads(text.strip().splitlines()[-1])
            return got.status, last, got.headers.get("etag")

    async def whole(self, path: str, what: str, limit: int) -> list[Any]:
        """A list, gone through part by part."""
        found: list[Any] = []
        after = ""
        while True:
            sign = "&" if "?" in path else "?"
            _, part, _ = await self("GET", f"{path}{sign}limit={limit}&after={after}")
            assert len(part[what]) <= limit
            found += part[what]
            if part["next"] is None:
                return found
            after = part["next"]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with stage(tmp_path / "data") as play:
        for model in ("old", "new", "other"):
            await play.add(model, {"chat": 0.75})
        await play.alias("primary", "old")
        for title in ("chat", "sums", "code"):
            await play.house.admission.add_task(task(title, cases=0))
        async with play.house.door() as at, aiohttp.ClientSession() as session:
            yield Desk(play=play, url=at.url, session=session)


# Lists


LISTS = [
    ("/models", "models", 3),
    ("/aliases", "aliases", 4),
    ("/aliases/primary/moves", "moves", 3),
    ("/tasks", "tasks", 3),
    ("/rules", "rules", 2),
    ("/keys", "keys", 0),
    ("/instances", "instances", 4),
    ("/rollouts", "rollouts", 2),
    ("/ledger", "entries", 11),
    ("/ledger?kind=name", "entries", 3),
    ("/knowledge/sources", "sources", 0),
]


async def fill(desk: Desk) -> None:
    registry = desk.play.house.registry
    for title, count in (("old", 3), ("other", 1)):
        version = registry.resolve(parse_name(title))
        await desk.play.house.pool.warm(loadable(version), count=count)
    for alias in ("new", "other"):
        await desk("PUT", "/aliases/primary", {"target": alias})
    for title in ("chat", "sums"):
        await desk("PUT", f"/rules/{title}", {"prefer": "primary"})
    for _ in range(2):
        rollout = await desk.play.swap("primary", "old")
        await desk.play.house.controller.abort(rollout, who="ada", why="enough")


@pytest.mark.parametrize("limit", [1, 2, 1000])
async def test_every_list_comes_in_parts_that_make_up_the_whole(desk: Desk, limit: int) -> None:
    await fill(desk)
    for path, what, least in LISTS:
        found = await desk.whole(path, what, limit)
        _, whole, _ = await desk("GET", path)
        assert found == whole[what], path
        assert len(found) >= least, path


async def test_what_comes_and_goes_meanwhile_neither_repeats_nor_skips_what_stays(
    desk: Desk,
) -> None:
    _, first, _ = await desk("GET", "/tasks?limit=2")
    assert [one["task"] for one in first["tasks"]] == ["chat", "code"]
    await desk("DELETE", "/tasks/code")
    await desk("PUT", "/tasks/apples", {})
    _, rest, _ = await desk("GET", f"/tasks?limit=9&after={first['next']}")
    assert [one["task"] for one in rest["tasks"]] == ["sums"]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "after=" + "x" * 401, "after=x", "after=%ff", "after=_w"],
)
async def test_a_part_without_bounds_is_refused(desk: Desk, query: str) -> None:
    status, told, _ = await desk("GET", f"/models?{query}")
    assert (status, told["error"]["code"]) == (400, "invalid_field")


async def test_a_cursor_of_another_list_is_refused_where_cursors_are_numbers(desk: Desk) -> None:
    status, told, _ = await desk("GET", "/ledger?after=cHJpbWFyeQ")
    assert (status, told["error"]["param"]) == (400, "after")


# States


THINGS: list[tuple[str, dict[str, object], dict[str, object]]] = [
    ("/aliases/primary", {"target": "new"}, {"target": "other"}),
    ("/tasks/sums", {"threshold": 0.5}, {"threshold": 0.7}),
    ("/rules/sums", {"prefer": "primary"}, {"only": "primary"}),
]


BEFORE: dict[str, dict[str, object]] = {
    "/aliases/primary": {"target": "old"},
    "/tasks/sums": {},
    "/rules/sums": {"prefer": "old"},
}


@pytest.mark.parametrize(("path", "first", "second"), THINGS)
async def test_of_two_who_read_the_same_state_the_second_is_told(
    desk: Desk, path: str, first: Mapping[str, object], second: Mapping[str, object]
) -> None:
    await desk("PUT", path, BEFORE[path])
    _, shown, tag = await desk("GET", path)
    assert (shown["etag"], tag is None) == (tag, False)
    assert tag is not None
    status, _, changed = await desk("PUT", path, first, if_match=tag)
    assert (status, changed == tag) == (200, False)
    status, told, _ = await desk("PUT", path, second, if_match=tag)
    assert (status, told["error"]["code"]) == (412, "changed_meanwhile")
    assert changed is not None
    assert changed in told["error"]["message"]
    assert (await desk("GET", path))[2] == changed
    assert (await desk("PUT", path, second, if_match=changed))[0] == 200


@pytest.mark.parametrize(("path", "first", "second"), THINGS)
async def test_of_ten_at_once_who_read_the_same_state_one_gets_its_way(
    desk: Desk, path: str, first: Mapping[str, object], second: Mapping[str, object]
) -> None:
    await desk("PUT", path, first)
    tag = (await desk("GET", path))[2]
    assert tag is not None
    told = await asyncio.gather(*[desk("PUT", path, second, if_match=tag) for _ in range(10)])
    assert sorted(status for status, _, _ in told) == [200, *[412] * 9]


@pytest.mark.parametrize(("path", "first", "second"), THINGS)
async def test_without_a_condition_a_change_is_meant_whatever_the_state_is(
    desk: Desk, path: str, first: Mapping[str, object], second: Mapping[str, object]
) -> None:
    assert (await desk("PUT", path, first))[0] == 200
    assert (await desk("PUT", path, second))[0] == 200


async def test_what_is_to_be_new_replaces_nothing(desk: Desk) -> None:
    for path, body in (
        ("/aliases/fresh", {"target": "old"}),
        ("/tasks/fresh", {}),
        ("/rules/chat", {"prefer": "old"}),
    ):
        assert (await desk("PUT", path, body, if_match="*"))[0] == 412
        assert (await desk("PUT", path, body, if_none_match="*"))[0] == 200
        assert (await desk("PUT", path, body, if_none_match="*"))[0] == 412
        assert (await desk("PUT", path, body, if_match="*"))[0] == 200


@pytest.mark.parametrize("path", ["/tasks/sums", "/rules/sums"])
async def test_what_was_changed_meanwhile_is_not_removed(desk: Desk, path: str) -> None:
    await desk("PUT", path, {"prefer": "old"} if "rules" in path else {})
    tag = (await desk("GET", path))[2] or ""
    await desk("PUT", path, {"only": "old"} if "rules" in path else {"threshold": 0.9})
    assert (await desk("DELETE", path, if_match=tag))[0] == 412
    assert (await desk("GET", path))[0] == 200
    tag = (await desk("GET", path))[2] or ""
    assert (await desk("DELETE", path, if_match=tag))[0] == 200


async def test_a_rollout_that_went_on_meanwhile_is_left_alone(desk: Desk) -> None:
    rollout = await desk.play.swap("primary", "new", soak_s=3600.0)
    path = f"/rollouts/{rollout}"
    tag = (await desk("GET", path))[2] or ""
    assert (await desk("POST", f"{path}/step", {"to": 1}, if_match=tag))[0] == 200
    for verb in ("pause", "promote", "abort", "retry"):
        status, told, _ = await desk("POST", f"{path}/{verb}", {}, if_match=tag)
        assert (status, told["error"]["code"]) == (412, "changed_meanwhile"), verb
    status, _, paused = await desk("POST", f"{path}/pause", {})
    assert (status, paused == tag) == (200, False)
    assert (await desk("POST", f"{path}/abort", {}, if_match=paused or ""))[0] == 200
    status, told, _ = await desk("POST", f"{path}/resume", {}, if_match=tag)
    assert status == 412


async def test_an_alias_that_moved_meanwhile_is_not_taken_back(desk: Desk) -> None:
    rollout = await desk.play.swap("primary", "new")
    before = (await desk("GET", "/aliases/primary"))[2] or ""
    await desk("POST", f"/rollouts/{rollout}/promote", {})
    assert (await desk("POST", "/undo/primary", {}, if_match=before))[0] == 412
    now = (await desk("GET", "/aliases/primary"))[2] or ""
    assert (await desk("POST", "/undo/primary", {}, if_match=now))[0] == 200


async def test_what_is_not_there_is_not_found(desk: Desk) -> None:
    assert (await desk("GET", "/aliases/nobody"))[0] == 404
    assert (await desk("GET", "/rules/sums"))[0] == 404


# Events


Told = tuple[str, str, Any]


@asynccontextmanager
async def listening(desk: Desk, last: str | None = None) -> AsyncIterator[AsyncIterator[Told]]:
    """Events as they come: id, kind, data."""
    headers = {} if last is None else {"last-event-id": last}
    async with desk.session.get(f"{desk.url}/control/v1/events", headers=headers) as got:
        assert got.headers["content-type"].startswith("text/event-stream")

        async def heard() -> AsyncIterator[Told]:
            while True:
                lines = (await got.content.readuntil(b"\n\n")).decode().splitlines()
                fields = dict(line.split(": ", 1) for line in lines if line[:1] not in {"", ":"})
                if fields:
                    yield fields["id"], fields["event"], json.loads(fields["data"])

        await got.content.readuntil(b"\n\n")  # it listens
        yield heard()


def happen(desk: Desk, kind: str, times: int = 1) -> None:
    for _ in range(times):
        desk.play.house.announcer.announce(Event(kind=kind, at=ManualClock().now(), detail={}))


async def test_whoever_comes_back_hears_what_came_meanwhile(desk: Desk) -> None:
    async with listening(desk) as heard:
        happen(desk, "alias.moved")
        last, kind, _ = await anext(heard)
    assert kind == "alias.moved"
    happen(desk, "rollout.started")
    happen(desk, "rollout.paused")
    async with listening(desk, last) as heard:
        happen(desk, "rollout.aborted")
        kinds = [(await anext(heard))[1] for _ in range(3)]
    assert kinds == ["rollout.started", "rollout.paused", "rollout.aborted"]


async def test_what_is_kept_no_longer_is_said_to_be_missing(desk: Desk) -> None:
    async with listening(desk) as heard:
        happen(desk, "alias.moved")
        last, _, _ = await anext(heard)
    happen(desk, "instance.ready", KEPT + 7)
    async with listening(desk, last) as heard:
        first, second = await anext(heard), await anext(heard)
    assert first[1:] == ("events.missed", {"missed": 7})
    assert second[1] == "instance.ready"


@pytest.mark.parametrize("last", ["0123abcd-4", "4", "", "x" * 200])
async def test_an_id_of_another_run_says_that_nobody_knows_what_is_missing(
    desk: Desk, last: str
) -> None:
    happen(desk, "alias.moved")
    async with listening(desk, last) as heard:
        found = await anext(heard)
    assert found[1:] == ("events.missed", {"missed": None})
