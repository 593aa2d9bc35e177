"""What is said of a prompt that only lacks room: by the one that has the most of it."""

from __future__ import annotations

from arbiter.inference import Chat, Completion, Embedding, Message, Work
from arbiter.knowledge.profiles import NOTHING
from arbiter.knowledge.speed import NEVER_TIMED, Speed
from arbiter.refs import ModelName, VersionId
from arbiter.selection.contender import Contender, Seen
from arbiter.selection.too_long import prompt_too_long

LONG = "a" * 80_000


def seen(name: str, context: int | None, *, speed: Speed = NEVER_TIMED) -> Seen:
    contender = Contender(
        name=ModelName(name),
        version=VersionId(name),
        capabilities=frozenset({"chat"}),
        context=context,
        memory_bytes=None,
    )
    return Seen(contender=contender, profile=NOTHING, speed=speed)


def said(work: Work, *all_: Seen) -> str:
    return str(prompt_too_long(work, all_, {one.contender.version for one in all_}))


def test_the_most_room_is_told_and_the_length_is_called_an_estimate() -> None:
    assert said(Completion(prompt=LONG), seen("small", 512), seen("wide", 4096)) == (
        "The prompt has about 20,000 tokens (estimated at 4.0 characters each), and no model that "
        "could serve it has room for so many: the most is 4,096, of wide. Send a shorter prompt, "
        "or load a model with a larger context (pool.context, or its server's own setting)."
    )


def test_who_could_not_serve_it_anyhow_is_not_told() -> None:
    found = prompt_too_long(
        Completion(prompt=LONG), [seen("small", 512), seen("wide", 4096)], {VersionId("small")}
    )
    assert found is not None
    assert (found.tokens, found.room, found.param) == (20_000, 512, "prompt")


def test_where_no_context_is_known_it_was_not_the_length() -> None:
    assert prompt_too_long(Completion(prompt=LONG), [seen("far", None)], {VersionId("far")}) is None
    assert prompt_too_long(Completion(prompt=LONG), [seen("far", 512)], ()) is None


def test_texts_for_vectors_are_measured_one_by_one() -> None:
    told = said(Embedding(inputs=(LONG, "short")), seen("wide", 4096))
    assert told.startswith("A text has about 20,000 tokens")
    assert "Send shorter texts" in told


def test_the_field_is_called_as_openai_calls_it() -> None:
    chat = Chat(messages=(Message(role="user", content=LONG),))
    works: list[Work] = [chat, Completion(prompt=LONG), Embedding(inputs=(LONG,))]
    found = [prompt_too_long(work, [seen("wide", 4096)], {VersionId("wide")}) for work in works]
    assert [one and one.param for one in found] == ["messages", "prompt", "input"]
