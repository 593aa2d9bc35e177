"""How a stream is judged: whole, cut by a kill, or one of the ways to lose it."""

from __future__ import annotations

import pytest

from arbiter.demo.no_loss import NoLoss
from arbiter.demo.streams import End, Stream
from arbiter.refs import VersionId

A, B = VersionId("sha256:" + "a" * 64), VersionId("sha256:" + "b" * 64)
ANSWERS = {A: {"p": "seven"}, B: {"p": "eight"}}


@pytest.mark.parametrize(
    ("version", "text", "is_done", "error", "killed", "end"),
    [
        (A, "seven", True, None, set(), End.WHOLE),
        (B, "eight", True, None, {A}, End.WHOLE),
        (A, "se", False, "stream_cut", {A}, End.CUT_BY_KILL),
        (A, "", False, "stream_cut", {A}, End.CUT_BY_KILL),
        (A, "se", False, "stream_cut", {B}, End.LOST),
        (A, "xe", False, "stream_cut", {A}, End.LOST),
        (A, "se", False, None, {A}, End.LOST),
        (A, "seven", True, "stream_cut", set(), End.LOST),
        (A, "seve", True, None, {A}, End.TRUNCATED),
        (A, "", True, None, set(), End.TRUNCATED),
        (A, "sevenseven", True, None, set(), End.DUPLICATED),
        (B, "seven", True, None, set(), End.LOST),
        (None, "", False, "429", {A}, End.LOST),
    ],
)
def test_a_stream_ends_in_one_of_five_ways(
    version: VersionId | None,
    text: str,
    is_done: bool,
    error: str | None,
    killed: set[VersionId],
    end: End,
) -> None:
    stream = Stream(
        prompt="p", version=version, parts=list(text), is_done=is_done, error=error, killed=killed
    )
    found, seen = stream.end(ANSWERS)
    assert found is end
    assert bool(seen) == (end is not End.WHOLE)


@pytest.mark.parametrize(
    ("ends", "is_proved"),
    [
        ({End.WHOLE: 10, End.CUT_BY_KILL: 2}, True),
        ({End.WHOLE: 10, End.LOST: 0}, True),
        ({End.WHOLE: 10, End.LOST: 1}, False),
        ({End.WHOLE: 10, End.TRUNCATED: 1}, False),
        ({End.WHOLE: 10, End.DUPLICATED: 1}, False),
    ],
)
def test_it_is_proved_when_nothing_but_kills_cut_anything(
    ends: dict[End, int], is_proved: bool
) -> None:
    found = NoLoss(streams=sum(ends.values()), ends=ends, done={}, prompts=1, faults=())
    assert found.is_proved is is_proved
    assert found.to_plain()["lost"] == ends.get(End.LOST, 0)
