"""Conversations, tools and answers, drawn at random for the tests of the dialects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

from hypothesis import strategies as st

from arbiter.inference import (
    Called,
    Chat,
    Delta,
    Effort,
    Finish,
    FinishReason,
    Media,
    Message,
    Odds,
    Piece,
    Sampling,
    Shape,
    Thought,
    Timings,
    Tool,
    ToolCall,
    Tools,
    Usage,
)

TEXT = (
    st.text(max_size=12)
    .map(lambda text: text.encode("utf-8", "replace").decode())
    .map(lambda text: text.replace("\0", "0"))
)
SAID = TEXT.filter(bool)
NAMES = st.sampled_from(["clock", "search", "add_1"])
SCHEMAS = st.sampled_from(['{"type":"object"}', '{"b":1,"a":{"enum":["x"]}}'])
PICTURE = Media(kind="image", format="png", data="iVBORw0KGgoAAAAN")
SOUND = Media(kind="audio", format="wav", data="UklGRg==")


def users(media: Sequence[Media]) -> st.SearchStrategy[Message]:
    plain = SAID.map(lambda text: Message(role="user", content=text))
    if not media:
        return plain
    seen = st.tuples(SAID, st.sampled_from(media)).map(
        lambda pair: Message(role="user", content=pair[0], parts=pair)
    )
    return plain | seen


@st.composite
def conversations(draw: st.DrawFn, media: Sequence[Media] = ()) -> tuple[Message, ...]:
    """Turns as clients send them: calls have ids of their own, and results for some of them."""
    turns: list[Message] = []
    if draw(st.booleans()):
        turns.append(Message(role="system", content=draw(SAID)))
    for number in range(draw(st.integers(1, 3))):
        turns.append(draw(users(media)))
        calls = tuple(
            ToolCall(id=f"c{number}{place}", name=draw(NAMES), arguments='{"a":1}')
            for place in range(draw(st.integers(0, 2)))
        )
        thought = draw(st.none() | SAID)
        answers = bool(calls) or draw(st.booleans())
        if answers:
            said = draw(TEXT if calls else SAID)
            turns.append(Message(role="assistant", content=said, calls=calls, thought=thought))
        turns += [
            Message(role="tool", content=draw(SAID), answers=call.id, name=call.name)
            for call in calls
        ]
    turns.append(draw(users(media)))
    return tuple(turns)


@st.composite
def tool_sets(draw: st.DrawFn, *, chooses: bool) -> Tools | None:
    """Tools; chooses: one of them may have to be called."""
    names = draw(st.lists(NAMES, unique=True, max_size=3))
    if not names:
        return None
    offered = tuple(
        Tool(name=name, description=draw(st.none() | SAID), parameters=draw(st.none() | SCHEMAS))
        for name in names
    )
    if not chooses:
        return Tools(offered=offered)
    named = draw(st.none() | st.sampled_from(names))
    choices: st.SearchStrategy[Literal["auto", "none", "required"]]
    choices = st.sampled_from(["auto", "none", "required"])
    return Tools(
        offered=offered,
        choice="required" if named is not None else draw(choices),
        named=named,
        parallel=draw(st.none() | st.booleans()),
    )


SHARES = st.none() | st.floats(0, 1)
SAMPLINGS = st.builds(
    Sampling,
    temperature=st.none() | st.floats(0, 2),
    top_p=SHARES,
    seed=st.none() | st.integers(0, 2**31),
    max_tokens=st.none() | st.integers(1, 2**31 - 1),
    stop=st.lists(SAID, max_size=3).map(tuple),
    presence_penalty=st.none() | st.floats(-2, 2),
    frequency_penalty=st.none() | st.floats(-2, 2),
    top_k=st.none() | st.integers(0, 2**31 - 1),
    min_p=SHARES,
    repeat_penalty=st.none() | st.floats(0.01, 2),
    repeat_last_n=st.none() | st.integers(-1, 1000),
    typical_p=SHARES,
    odds=st.none() | st.integers(0, 20),
)


@st.composite
def chats(
    draw: st.DrawFn,
    *,
    efforts: Sequence[Effort | None],
    media: Sequence[Media],
    chooses: bool,
    named: bool,
) -> Chat:
    """named: a shape may have a name."""
    shape = draw(st.none() | st.builds(Shape, schema=st.none() | SCHEMAS))
    if shape is not None and shape.schema is not None and named:
        shape = Shape(schema=shape.schema, name="answer", strict=draw(st.none() | st.booleans()))
    return Chat(
        messages=draw(conversations(media)),
        tools=draw(tool_sets(chooses=chooses)),
        shape=shape,
        effort=draw(st.sampled_from(efforts)),
    )


def _json(**fields: object) -> bytes:
    return json.dumps({"model": "tiny", **fields}).encode()


COUNTS = st.none() | st.integers(0, 10_000)
ONE_ODDS = st.builds(Odds, token=SAID, logprob=st.floats(-90, 0))
ODDS = st.lists(
    st.builds(
        Odds,
        token=SAID,
        logprob=st.floats(-90, 0),
        raw=st.none() | st.lists(st.integers(0, 255), max_size=3).map(tuple),
        others=st.lists(ONE_ODDS, max_size=2).map(tuple),
    ),
    max_size=2,
).map(tuple)


@st.composite
def answers(draw: st.DrawFn, *, odds: bool) -> tuple[list[Piece], Finish]:
    """What engines send: thoughts, then text, then calls one after the other."""
    pieces: list[Piece] = [Thought(text=text) for text in draw(st.lists(SAID, max_size=2))]
    pieces += [
        Delta(text=text, odds=draw(ODDS) if odds else ())
        for text in draw(st.lists(SAID, max_size=3))
    ]
    calls = draw(st.integers(0, 2))
    for index in range(calls):
        pieces.append(Called(index=index, id=f"c{index}", name=draw(NAMES), arguments='{"a":'))
        pieces.append(Called(index=index, arguments="1}"))
    reason = FinishReason.TOOL_CALLS if calls else draw(st.sampled_from(list(FinishReason)[:2]))
    return pieces, Finish(
        reason=reason,
        usage=Usage(prompt_tokens=draw(COUNTS), completion_tokens=draw(COUNTS)),
        timings=Timings(prefill_ms=draw(st.none() | st.integers(0, 900))),
    )
