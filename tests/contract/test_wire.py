"""Byte for byte what each dialect's clients receive: whole, streamed, and when it goes wrong.

The files in `wire/` were read against the dialects' own descriptions and clients. Where a change is
meant, ``ARBITER_TEST_WIRE=write pytest tests/contract/test_wire.py`` writes them again, and the
difference is for a person to read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.contract.door_support import (
    FINISH,
    HELLO,
    USAGE,
    Answered,
    ScriptedHouse,
    at_the_door,
    post,
)

from arbiter.errors import InstanceLost, ServerCut, UnknownModel
from arbiter.inference import (
    Called,
    Delta,
    Finish,
    FinishReason,
    Odds,
    Thought,
    Usage,
    Vectors,
)

FILES = Path(__file__).parent / "wire"
SHOWN = (
    "content-type",
    "x-should-retry",
    "x-request-id",
    "request-id",
    "x-arbiter-decision",
    "x-arbiter-version",
)
SECRET = "/home/someone/model.gguf at 0x7f00"


@dataclass(frozen=True)
class Dialect:
    """Where its clients ask, and what; a stream also with what is `streamed`."""

    path: str
    body: Mapping[str, object]
    streamed: Mapping[str, object]


TURNS = [{"role": "user", "content": "hi"}]
DIALECTS = {
    "openai_chat": Dialect(
        "/v1/chat/completions",
        {"model": "tiny", "messages": TURNS},
        {"stream": True, "stream_options": {"include_usage": True}},
    ),
    "openai_completions": Dialect(
        "/v1/completions",
        {"model": "tiny", "prompt": "Once", "logprobs": 1},
        {"stream": True, "stream_options": {"include_usage": True}},
    ),
    "openai_responses": Dialect(
        "/v1/responses", {"model": "tiny", "input": "hi"}, {"stream": True}
    ),
    "ollama_generate": Dialect(
        "/api/generate", {"model": "tiny", "prompt": "hi", "stream": False}, {"stream": True}
    ),
    "ollama_chat": Dialect(
        "/api/chat", {"model": "tiny", "messages": TURNS, "stream": False}, {"stream": True}
    ),
    "anthropic": Dialect(
        "/v1/messages", {"model": "tiny", "max_tokens": 9, "messages": TURNS}, {"stream": True}
    ),
}

THINKS_AND_CALLS = (
    Thought(text="Hm."),
    Delta(text="I look."),
    Called(index=0, id="call_1", name="look_up", arguments='{"place":'),
    Called(index=0, arguments='"Bonn"}'),
    Called(index=1, name="clock"),
    Finish(reason=FinishReason.TOOL_CALLS, usage=USAGE),
)
CUT_SHORT = (
    Delta(
        text="ja",
        odds=(
            Odds(
                token="ja",
                logprob=-0.25,
                raw=(106, 97),
                others=(Odds(token="no", logprob=-1.5, raw=(110, 111)),),
            ),
        ),
    ),
    Finish(reason=FinishReason.LENGTH, usage=Usage()),
)

NEVER_CALL = {"openai_completions", "ollama_generate"}
SCENES = {
    "says": ScriptedHouse(script=HELLO),
    "calls": ScriptedHouse(script=THINKS_AND_CALLS),
    "is_cut_short": ScriptedHouse(script=CUT_SHORT),
    # after its first piece
    "breaks_off": ScriptedHouse(fails_at=1, failure=ServerCut(f"{SECRET} is gone.")),
    # once it is known who answers, and before anything is said
    "breaks_at_once": ScriptedHouse(fails_at=0, failure=InstanceLost(f"{SECRET} is gone.")),
    # before that
    "is_refused": ScriptedHouse(
        fails_at=-1,
        failure=UnknownModel(
            "No model or alias is called 'tiny'.", hint="These are: large.", param="model"
        ),
    ),
}


def shown(answer: Answered) -> bytes:
    """A response as a file has it: the headers that clients of a dialect go by, and the body."""
    head = [f"{name}: {answer.headers[name]}" for name in SHOWN if name in answer.headers]
    return "\n".join([str(answer.status), *head]).encode() + b"\n\n" + answer.body


def held_to(name: str, answer: Answered) -> None:
    """Compare an answer with its file."""
    file = FILES / f"{name}.txt"
    if os.environ.get("ARBITER_TEST_WIRE") == "write":
        file.write_bytes(shown(answer))
    assert file.read_bytes().decode() == shown(answer).decode()


PLAYED = [
    (dialect, how, scene)
    for dialect in DIALECTS
    for how in ("whole", "stream")
    for scene in SCENES
    if not (scene == "calls" and dialect in NEVER_CALL)
]


@pytest.mark.parametrize(("dialect", "how", "scene"), PLAYED)
async def test_an_answer_is_these_bytes(dialect: str, how: str, scene: str) -> None:
    spoken = DIALECTS[dialect]
    more = spoken.streamed if how == "stream" else {}
    async with at_the_door(SCENES[scene]) as address:
        body = json.dumps({**spoken.body, **more}).encode()
        answer = await post(address, body, path=spoken.path)
    held_to(f"{dialect}.{how}.{scene}", answer)
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    ("name", "path", "body"),
    [
        ("openai_embeddings", "/v1/embeddings", {"model": "tiny", "input": ["a", "b"]}),
        ("ollama_embed", "/api/embed", {"model": "tiny", "input": ["a", "b"]}),
        ("ollama_embeddings", "/api/embeddings", {"model": "tiny", "prompt": "a"}),
    ],
)
async def test_vectors_are_these_bytes(name: str, path: str, body: Mapping[str, object]) -> None:
    house = ScriptedHouse(script=(Vectors(vectors=((0.5, -1.0), (0.25, 2.0))), FINISH))
    async with at_the_door(house) as address:
        answer = await post(address, json.dumps(body).encode(), path=path)
    held_to(f"{name}.whole.says", answer)


def test_every_file_belongs_to_a_scene() -> None:
    wanted = {f"{dialect}.{how}.{scene}.txt" for dialect, how, scene in PLAYED}
    others = ("openai_embeddings", "ollama_embed", "ollama_embeddings")
    wanted |= {f"{name}.whole.says.txt" for name in others}
    assert {file.name for file in FILES.iterdir()} == wanted
