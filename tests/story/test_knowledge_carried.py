"""What was learned, carried from one house into another, had back, and the same through a swap."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import structs
from tests.story.stage import Stage, name, stage, task

from arbiter.errors import KnowledgeFileError
from arbiter.inference import Limits
from arbiter.knowledge.outcome import Feedback
from arbiter.knowledge.profiles import NOTHING, Profile
from arbiter.knowledge.rules import Rule
from arbiter.ledger import Kind
from arbiter.refs import TaskName, parse_task
from arbiter.swap.rollout import Phase

CHAT = parse_task("chat")


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Stage]:
    """A house that learned something: two models, a task, a rule, graded requests, feedback."""
    async with stage(tmp_path / "home") as play:
        await lived(play)
        yield play


async def lived(play: Stage) -> None:
    await play.house.admission.add_task(task("chat"))
    for model, share in (("good", 0.9), ("fair", 0.6)):
        await play.add(model, {"chat": share})
    await play.house.rules.add(Rule(task=CHAT, prefer=name("fair")))
    for number in range(20):
        await play.ask(model="good" if number % 2 else "fair")
        play.clock.jump(1)
    await play.house.database.settle()
    for decided in play.decided[:6]:
        await play.house.feedback(decided.decision, 1.0)


def cell(play: Stage, model: str = "good", at: TaskName = CHAT) -> Profile:
    found = play.house.profiles.get(play.house.registry.resolve(name(model)).version, at)
    return structs.replace(found, quality=round(found.quality, 9), graded=round(found.graded, 9))


def timed(play: Stage, at: TaskName = CHAT) -> int:
    version = play.house.registry.resolve(name("good")).version
    return play.house.profiles.speeds.get(version, at).timed


def untimed(profile: Profile) -> Profile:
    return structs.replace(profile, timed=0, latency_ms=0.0)


async def kinds(play: Stage) -> list[str]:
    return [entry.kind for entry in await play.house.ledger.list(kind="knowledge")]


async def test_another_house_knows_what_this_one_learned(play: Stage, tmp_path: Path) -> None:
    file = tmp_path / "k.jsonl"
    await play.house.export_knowledge(file)
    async with stage(tmp_path / "away") as other:
        await other.house.import_knowledge(file)
        assert other.house.tasks.all() == play.house.tasks.all()
        assert other.house.rules.all() == play.house.rules.all()
        assert other.house.knowledge() == play.house.knowledge()
        await other.add("good", {"chat": 0.9})
        assert cell(other) == untimed(cell(play))
        assert other.asked == 0, "its cases were known and not run again"
        ours, theirs = await play.house.carrier.digests(), await other.house.carrier.digests()
        assert (ours.knowledge, ours.evidence) == (theirs.knowledge, theirs.evidence)


async def test_what_was_carried_in_is_the_same_after_a_restart(play: Stage, tmp_path: Path) -> None:
    file = tmp_path / "k.jsonl"
    await play.house.export_knowledge(file)
    async with stage(tmp_path / "away") as other:
        await other.add("good", {"chat": 0.9})
        await other.house.import_knowledge(file)
        before = cell(other)
        assert before == untimed(cell(play))
    async with stage(tmp_path / "away") as other:
        assert cell(other) == before


async def test_the_same_file_again_changes_nothing(play: Stage, tmp_path: Path) -> None:
    file = tmp_path / "k.jsonl"
    await play.house.export_knowledge(file)
    async with stage(tmp_path / "away") as other:
        await other.house.import_knowledge(file)
        await other.add("good", {"chat": 0.9})
        before = cell(other)
        again = await other.house.import_knowledge(file)
        assert again.is_empty
        assert cell(other) == before
        assert await kinds(other) == ["knowledge.imported"]


async def test_what_comes_back_to_where_it_was_measured_changes_nothing(
    play: Stage, tmp_path: Path
) -> None:
    await play.house.export_knowledge(tmp_path / "out.jsonl")
    async with stage(tmp_path / "away") as other:
        await other.house.import_knowledge(tmp_path / "out.jsonl")
        await other.house.export_knowledge(tmp_path / "back.jsonl")
    before = cell(play)
    found = await play.house.import_knowledge(tmp_path / "back.jsonl")
    assert found.is_empty
    assert cell(play) == before
    assert await kinds(play) == []


async def test_a_later_file_of_a_house_adds_only_what_is_later(play: Stage, tmp_path: Path) -> None:
    await play.house.export_knowledge(tmp_path / "first.jsonl")
    play.clock.jump(60)
    for _ in range(10):
        await play.ask(model="good")
        play.clock.jump(1)
    await play.house.feedback(play.decided[0].decision, 0.0)
    await play.house.export_knowledge(tmp_path / "second.jsonl")
    async with stage(tmp_path / "away") as other:
        await other.add("good", {"chat": 0.9})
        await other.add("fair", {"chat": 0.6})
        for file in ("first", "second", "first"):
            await other.house.import_knowledge(tmp_path / f"{file}.jsonl")
        assert cell(other) == untimed(cell(play))
        assert cell(other, "fair") == untimed(cell(play, "fair"))


async def test_evidence_of_a_version_that_is_not_here_waits_for_it(
    play: Stage, tmp_path: Path
) -> None:
    await play.house.export_knowledge(tmp_path / "k.jsonl")
    async with stage(tmp_path / "away") as other:
        await other.house.import_knowledge(tmp_path / "k.jsonl")
        assert other.house.registry.versions() == ()
    async with stage(tmp_path / "away") as other:
        await other.add("fair", {"chat": 0.6})
        assert cell(other, "fair") == untimed(cell(play, "fair"))


async def test_a_file_that_was_changed_brings_nothing(play: Stage, tmp_path: Path) -> None:
    file = tmp_path / "k.jsonl"
    await play.house.export_knowledge(file)
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(file.read_bytes().replace(b'"prefer":"fair"', b'"prefer":"evil"'))
    async with stage(tmp_path / "away") as other:
        with pytest.raises(KnowledgeFileError, match="was changed"):
            await other.house.import_knowledge(bad)
        assert other.house.tasks.all() == ()
        assert (await other.house.carrier.count()).is_nothing
        assert await kinds(other) == []


async def test_a_file_that_is_not_there_is_a_clear_error(play: Stage, tmp_path: Path) -> None:
    with pytest.raises(KnowledgeFileError, match=r"nowhere\.jsonl cannot be read: No such file"):
        await play.house.import_knowledge(tmp_path / "nowhere.jsonl")


async def test_what_differs_is_kept_unless_theirs_is_preferred(play: Stage, tmp_path: Path) -> None:
    await play.house.export_knowledge(tmp_path / "k.jsonl")
    async with stage(tmp_path / "away") as other:
        mine = await other.house.admission.add_task(task("chat", limits=Limits(threshold=0.1)))
        found = await other.house.import_knowledge(tmp_path / "k.jsonl")
        assert found.conflicts == ("task chat is another task here",)
        assert other.house.tasks.get(CHAT) == mine
        await other.house.import_knowledge(tmp_path / "k.jsonl", prefer_theirs=True)
        assert other.house.tasks.get(CHAT) == play.house.tasks.get(CHAT)


async def test_an_import_is_entered_with_where_it_came_from(play: Stage, tmp_path: Path) -> None:
    file = tmp_path / "k.jsonl"
    await play.house.export_knowledge(file)
    async with stage(tmp_path / "away") as other:
        await other.house.import_knowledge(file)
        (entry,) = await other.house.ledger.of(Kind.KNOWLEDGE_IMPORTED)
        assert entry.plain() == {
            "house": (await play.house.carrier.digests()).house,
            "file": json.loads(file.read_bytes().splitlines()[-1])["digest"],
            "tasks": ["chat"],
            "rules": ["chat"],
            "validations": 60,
            "outcomes": 2,
            "feedback": 6,
            "falls": 0,
        }
        assert (await other.house.ledger.verify()).bad is None


# -- forgetting


async def test_what_is_forgotten_is_gone_and_can_be_had_back(play: Stage, tmp_path: Path) -> None:
    before, decided = cell(play), play.house.knowledge()
    assert timed(play) > 0
    file = await play.house.carrier.export_dated(tmp_path)
    found = await play.house.carrier.forget(who="test")
    assert (found.validations, found.requests, found.feedback) == (60, 20, 6)
    assert cell(play) == NOTHING
    assert timed(play) == 0
    assert play.house.profiles.trust() == ()
    assert play.house.knowledge() == decided, "tasks and rules stay"
    await play.house.import_knowledge(file)
    # requests come back without their times: they are sums now, and not those of this minute
    assert untimed(cell(play)) == untimed(before)
    assert timed(play) == cell(play).timed == 30, "its cases were run here"
    assert (await play.house.import_knowledge(file)).is_empty


@pytest.mark.parametrize("only", ["task", "version"])
async def test_only_what_was_named_is_forgotten(play: Stage, only: str) -> None:
    version = play.house.registry.resolve(name("good")).version
    await play.house.admission.add_task(task("other"))
    await play.ask("other", model="good")
    await play.house.database.settle()
    before = {one: cell(play, one, at) for one in ("good", "fair") for at in [CHAT]}
    if only == "task":
        await play.house.carrier.forget(who="test", task="other")
        assert cell(play, "good", parse_task("other")) == NOTHING
        assert cell(play, "good") == before["good"]
        assert timed(play, parse_task("other")) == 0
        assert timed(play) > 0
    else:
        await play.house.carrier.forget(who="test", version=version)
        assert cell(play, "good") == NOTHING
    assert cell(play, "fair") == before["fair"]


async def test_what_was_forgotten_stays_forgotten_after_a_restart(tmp_path: Path) -> None:
    async with stage(tmp_path / "home") as play:
        await lived(play)
        await play.house.carrier.forget(who="test")
        play.clock.jump(60)
        await play.ask(model="good")
        await play.house.feedback(play.decided[-1].decision, 0.5)
        after = cell(play)
        assert (after.samples, after.graded, timed(play)) == (1, 2, 1)
        record = await play.house.record(play.decided[0].decision)
        assert record.outcome is not None, "what happened stays on record"
    async with stage(tmp_path / "home") as play:
        assert cell(play) == after
        assert timed(play) == 1


async def test_a_judgement_that_was_forgotten_counts_when_it_is_given_again(play: Stage) -> None:
    await play.house.carrier.forget(who="test")
    given = Feedback(decision=play.decided[1].decision, score=1.0, caller="python")
    assert await play.house.outcomes.give(given)
    assert cell(play).graded == 1


async def test_forgetting_is_entered_and_nothing_to_forget_is_not(play: Stage) -> None:
    await play.house.carrier.forget(who="ada", task="chat", kept_in="k.jsonl")
    (entry,) = await play.house.ledger.of(Kind.KNOWLEDGE_RESET)
    assert (entry.who, entry.plain()) == (
        "ada",
        {
            "task": "chat",
            "version": None,
            "validations": 60,
            "requests": 20,
            "feedback": 6,
            "kept_in": "k.jsonl",
        },
    )
    assert (await play.house.carrier.forget(who="ada", task="chat")).is_nothing
    assert await kinds(play) == ["knowledge.reset"]


# -- swaps


@pytest.mark.parametrize("ends", [Phase.PROMOTED, Phase.ROLLED_BACK])
async def test_the_digest_of_what_people_decided_is_the_same_after_a_swap(
    play: Stage, ends: Phase
) -> None:
    await play.alias("primary", "good")
    await play.add("next", {"chat": 0.95 if ends is Phase.PROMOTED else 0.2})
    before = (await play.house.carrier.digests()).knowledge
    rollout = await play.swap("primary", "next", min_units=5, margin=0.2)
    view = await play.live(rollout)
    assert view.stored.rollout.phase in {ends, Phase.BLOCKED}
    assert (await play.house.carrier.digests()).knowledge == before
