"""What the ledger holds after whole journeys: all of it, in order, and good after a kill."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import apsw
import pytest
from tests.story.houses import house_with, running
from tests.story.neighbours import A, Neighbour, offer
from tests.story.stage import Stage, name, stage, task
from tests.story.test_discovery import street

from arbiter.clock import ManualClock
from arbiter.errors import Conflict, RolloutActive
from arbiter.ledger import Kind, Ledger
from arbiter.refs import RolloutId, parse_name
from arbiter.registry.agreement import BESIDE_LEDGER
from arbiter.registry.provenance import Claim
from arbiter.storage.sqlite import open_sqlite
from arbiter.swap.rollout import Phase

QUICK = {"min_units": 5, "margin": 0.1}


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Stage]:
    """A house with `old` under `primary`, `equal` that is as good, and `worse`."""
    async with stage(tmp_path / "data") as play:
        await play.house.admission.add_task(task("chat"))
        await play.add("old", {"chat": 1.0})
        await play.add("equal", {"chat": 1.0})
        await play.alias("primary", "old")
        yield play


async def _told(play: Stage, since: int = 0) -> list[str]:
    """The kinds of what was entered after the first so many, the oldest first."""
    return [entry.kind for entry in (await play.house.ledger.list(limit=1000))[::-1][since:]]


async def _body(play: Stage, kind: Kind) -> dict[str, Any]:
    """What the last entry of a kind says."""
    (entry,) = await play.house.ledger.list(kind=kind, limit=1)
    body = entry.plain()
    assert isinstance(body, dict)
    return body


async def _count(play: Stage) -> int:
    return len(await play.house.ledger.list(limit=1000))


async def test_registering_and_naming_are_entered(play: Stage) -> None:
    expected = ["version.registered", "name.added"] * 2 + ["alias.set"]
    assert await _told(play) == expected


async def test_a_registration_says_what_the_version_is_known_by(play: Stage) -> None:
    artifact = play.house.registry.resolve(name("equal")).artifact
    assert await _body(play, Kind.VERSION_REGISTERED) == {
        "version": artifact.version,
        "name": "equal",
        "format": "script",
        "path": artifact.path,
        "size_bytes": artifact.size_bytes,
        "content": artifact.content_digest,
        "known_by": "content",
        "template": None,
        "options": {},
        "predecessor": None,
    }


async def test_what_a_neighbour_serves_is_entered_as_found_with_its_address(tmp_path: Path) -> None:
    neighbour = Neighbour(servers={A: [offer("ant", "a")]})
    async with street(tmp_path, neighbour) as here:
        await here.look()
        claim = Claim(base="ant", licence="mit")
        await here.house.adoption.add(A, "ant", name("insect"), claim=claim, who="ada")
        (claimed,) = (await here.house.registry.provenance(here.version("ant"))).claimed
        registered = (await here.house.ledger.of(Kind.VERSION_REGISTERED))[0]
        assert (await here.house.ledger.verify()).bad is None
    assert claimed.claim == {
        "base": "ant",
        "base_version": here.version("ant"),
        "licence": "mit",
    }
    body = registered.plain()
    assert isinstance(body, dict)
    assert (registered.who, body["path"], body["known_by"]) == ("discovery", f"{A}#ant", "server")


async def test_a_promoted_swap_that_is_taken_back_leaves_its_whole_life(play: Stage) -> None:
    before = await _count(play)
    rollout = await play.swap("primary", "equal", **QUICK)
    view = await play.live(rollout)
    assert view.stored.rollout.phase is Phase.PROMOTED
    await play.house.undo("primary", why="only to see")
    told = await _told(play, before)
    assert told[:2] == ["rollout.started", "rollout.validated"]
    assert set(told[2:-4]) == {"rollout.stepped"}
    assert told[-4:] == ["name.moved", "rollout.promoted", "name.moved", "rollout.undone"]
    assert (await play.house.ledger.verify()).bad is None


async def test_a_promotion_is_entered_with_the_figures_that_decided_it(play: Stage) -> None:
    rollout = await play.swap("primary", "equal", **QUICK)
    view = await play.live(rollout)
    body = await _body(play, Kind.ROLLOUT_PROMOTED)
    assert body["evidence"]["verdict"] == "not_worse"
    assert body["evidence"]["e_not_worse"] >= body["evidence"]["needed_not_worse"]
    assert body["tasks"][0]["task"] == "chat"
    assert body["plan"] == view.stored.rollout.plan.digest
    assert body["reason"] == view.stored.rollout.reason
    moved = await _body(play, Kind.NAME_MOVED)
    assert (moved["name"], moved["from"], moved["to"], moved["rollout"]) == (
        "primary",
        body["stable"],
        body["candidate"],
        rollout,
    )


async def test_a_rollback_is_entered_with_the_evidence_against_the_candidate(play: Stage) -> None:
    # its cases are right and its live answers are wrong
    script = play.script("fake", {"chat case": 1.0, "chat live": 0.2})
    await play.house.add(script, "fake")
    rollout = await play.swap("primary", "fake")
    await play.live(rollout)
    body = await _body(play, Kind.ROLLOUT_ROLLED_BACK)
    assert body["evidence"]["verdict"] == "worse"
    assert body["evidence"]["e_worse"] >= body["evidence"]["needed_worse"]
    assert (await play.house.ledger.verify()).bad is None


async def test_a_blocked_swap_is_entered_with_its_findings(play: Stage) -> None:
    await play.add("worse", {"chat": 0.1})
    before = await _count(play)
    await play.swap("primary", "worse")
    assert await _told(play, before) == ["rollout.started", "rollout.blocked"]
    findings = (await _body(play, Kind.ROLLOUT_BLOCKED))["findings"]
    assert "block" in {one["verdict"] for one in findings}


async def test_what_a_person_does_to_a_rollout_is_entered_with_their_name_and_reason(
    play: Stage,
) -> None:
    rollout = await play.swap("primary", "equal", min_units=1000)
    before = await _count(play)
    controller = play.house.controller
    for verb in (controller.pause, controller.resume, controller.abort):
        await verb(rollout, who="ada", why="lunch")
    assert await _told(play, before) == ["rollout.paused", "rollout.resumed", "rollout.aborted"]
    (last,) = await play.house.ledger.list(limit=1)
    assert (last.who, (await _body(play, Kind.ROLLOUT_ABORTED))["reason"]) == (
        "ada",
        "aborted by ada: lunch",
    )


async def test_what_is_refused_is_not_entered(play: Stage) -> None:
    rollout = await play.swap("primary", "equal", min_units=1000)
    before = await _count(play)
    with pytest.raises(RolloutActive):
        await play.swap("primary", "equal")
    with pytest.raises(Conflict):
        await play.house.registry.set_alias(name("mine"), name("equal"), who="ada")
    await play.house.controller.pause(rollout, who="ada", why="")
    await play.house.controller.pause(rollout, who="ada", why="again")
    assert await _told(play, before) == ["rollout.paused"]


async def test_what_is_announced_is_in_the_ledger_by_then(play: Stage) -> None:
    rollout = await play.swap("primary", "equal", min_units=1000)
    with play.house.announcer.listening() as listener:
        await play.house.controller.abort(rollout, who="ada", why="")
        event = await anext(listener.stream())
    other = await open_sqlite(play.house.settings.data_dir / "arbiter.db")
    try:
        head = await Ledger(other, ManualClock()).head()
    finally:
        await other.close()
    assert head is not None
    assert (event.kind, head.kind) == ("rollout.aborted", "rollout.aborted")


async def test_a_restart_goes_on_with_the_chain(tmp_path: Path) -> None:
    async with stage(tmp_path / "data") as play:
        await play.add("old", {"chat": 1.0})
        head = (await play.house.ledger.verify()).head
        assert head is not None
    async with stage(tmp_path / "data") as play:
        await play.alias("primary", "old")
        verdict = await play.house.ledger.verify(head)
        assert (verdict.good, verdict.bad) == (3, None)


@pytest.mark.parametrize("answers", [1, 8, 25])
async def test_a_house_killed_while_names_move_has_a_good_ledger_that_lacks_no_answered_move(
    tmp_path: Path, answers: int
) -> None:
    data = tmp_path / "data"
    async with house_with(data, ["heron-1", "heron-2"], []) as house:
        before = len(await house.ledger.list(limit=1000))
        head = (await house.ledger.verify()).head
    answered = itertools.count(1)
    enough = asyncio.Event()
    async with running(data) as first:

        async def move(alias: str) -> None:
            for number in itertools.count():
                body = {"target": f"heron-{1 + number % 2}"}
                await first.control("PUT", f"/aliases/{alias}", body)
                if next(answered) == answers:
                    enough.set()

        moving = [asyncio.create_task(move(f"alias-{number}")) for number in range(4)]
        waiting = asyncio.create_task(enough.wait())
        await asyncio.wait({waiting, *moving}, return_when=asyncio.FIRST_COMPLETED)
        assert waiting.done(), [one.exception() for one in moving if one.done()]
        await first.kill()
        ended = await asyncio.gather(*moving, return_exceptions=True)
    assert all(isinstance(one, aiohttp.ClientError) for one in ended)

    database = await open_sqlite(data / "arbiter.db")
    try:
        ledger = Ledger(database, ManualClock())
        verdict = await ledger.verify(*([] if head is None else [head]))
        moves = [
            row
            for number in range(4)
            for row in await database.read("list_moves", (f"alias-{number}",))
        ]
        entered = await ledger.of(Kind.ALIAS_SET)
    finally:
        await database.close()
    assert verdict.bad is None
    assert verdict.good == before + len(moves)
    assert len(entered) == len(moves) >= answers


async def test_a_rollout_killed_in_the_middle_goes_on_with_one_chain(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with house_with(data, ["heron-1"], ["sum"]) as house:
        await house.admission.set_alias(parse_name("primary"), parse_name("heron-1"), who="test")
        path = Path(house.registry.resolve(parse_name("primary")).artifact.path)
        await house.admission.register(path.with_name("heron-2.gguf"), parse_name("heron-2"))
    async with running(data) as first:
        body = {"alias": "primary", "model": "heron-2"}
        rollout = (await first.control("POST", "/rollouts", body))["rollout"]
        await first.kill()
    async with running(data) as second:
        await second.control("POST", f"/rollouts/{rollout}/abort", {"why": "enough"})
        found = await second.control("GET", "/ledger?kind=rollout")
        verdict = await second.control("GET", "/ledger/verify")
    kinds = [one["kind"] for one in found["entries"]]
    assert (kinds[0], kinds[-1]) == ("rollout.aborted", "rollout.started")
    assert {RolloutId(one["body"]["rollout"]) for one in found["entries"]} == {rollout}
    assert verdict["bad"] is None


async def _tampered(play: Stage, sql: str) -> tuple[str, str]:
    """The fault of a house whose file somebody wrote to, as the next house finds it."""
    path = play.house.settings.data_dir / "arbiter.db"
    base = await open_sqlite(path)
    try:
        other = apsw.Connection(str(path))
        other.execute(sql)
        other.close()
        ledger = Ledger(base, ManualClock(), beside=BESIDE_LEDGER)
        bad = (await ledger.verify()).bad
    finally:
        await base.close()
    assert bad is not None
    return bad.fault.value, bad.sentence


async def test_a_ledger_that_was_emptied_is_bad_while_something_is_registered(play: Stage) -> None:
    # M4 of the review: "0 entries are good", with three versions registered
    fault, sentence = await _tampered(play, "DELETE FROM ledger")
    assert fault == "state"
    assert "is registered, but no entry says so" in sentence


async def test_a_name_that_was_moved_past_the_ledger_is_named(play: Stage) -> None:
    moved = "UPDATE names SET version = (SELECT version FROM names WHERE name = 'equal')"
    fault, sentence = await _tampered(play, f"{moved} WHERE name = 'primary'")
    assert fault == "state"
    assert "The name primary stands for" in sentence


async def test_after_every_journey_the_ledger_says_what_stands(play: Stage) -> None:
    rollout = await play.swap("primary", "equal", **QUICK)
    assert (await play.live(rollout)).stored.rollout.phase is Phase.PROMOTED
    await play.house.undo("primary", why="taste")
    await play.house.admission.remove_model(name("equal"), who="test")
    assert (await play.house.ledger.verify()).bad is None
