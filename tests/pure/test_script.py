"""The scripted engine: what its files may say, and what a test can make it do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbiter.engines.base import LoadSpec
from arbiter.engines.script import MAX_BYTES, parse_script, read_script
from arbiter.engines.scripted import Die, Hold, Reply, Say, Scripted, ScriptedRunner, Step
from arbiter.errors import InstanceLost, LoadFailed, ModelFileError, StreamCut
from arbiter.inference import (
    Called,
    Chat,
    Chunk,
    Delta,
    Finish,
    FinishReason,
    Generation,
    Message,
    Sampling,
    Tool,
    ToolCall,
    Tools,
)
from arbiter.refs import VersionId

SPEC = LoadSpec(version=VersionId("sha256:" + "0" * 64), path=Path("x"), context=64, slots=2)


def script(**fields: object) -> bytes:
    return json.dumps({"arbiter_script": 1, "name": "parrot", **fields}).encode()


def asking(prompt: str = "hello", **sampling: object) -> Generation:
    return Generation(
        work=Chat(messages=(Message(role="user", content=prompt),)),
        sampling=Sampling(**sampling),  # type: ignore[arg-type]  # each test gives what it needs
    )


def saying(*steps: Step) -> Reply:
    def reply(request: Generation) -> Iterator[Step]:
        del request
        return iter(steps)

    return reply


async def runner_of(engine: Scripted) -> ScriptedRunner:
    await engine.load(SPEC)
    return engine.runners[-1]


async def text_of(runner: ScriptedRunner, request: Generation) -> tuple[str, Finish]:
    chunks: list[Chunk] = [chunk async for chunk in runner.generate(request)]
    assert isinstance(chunks[-1], Finish)
    return "".join(c.text for c in chunks if isinstance(c, Delta)), chunks[-1]


def test_the_first_rule_that_matches_answers() -> None:
    found = parse_script(
        script(
            rules=[{"match": "^hi", "reply": "one"}, {"match": "hi", "reply": "two"}], default="no"
        )
    )
    said = [found.answer(prompt).text for prompt in ("hi there", "oh hi", "bye")]
    assert said == ["one", "two", "no"]


CLOCK = {"match": "time", "call": {"name": "clock", "arguments": {"zone": "utc"}}}


def test_a_tool_is_called_when_it_is_offered_and_else_its_rule_is_passed_over() -> None:
    found = parse_script(script(rules=[CLOCK], default="no idea"))
    assert found.answer("what time?", tools=frozenset({"clock"})).call == (
        "clock",
        '{"zone":"utc"}',
    )
    assert found.answer("what time?", tools=frozenset({"dice"})).text == "no idea"
    assert found.answer("what time?").call is None


async def test_a_script_calls_a_tool_and_then_answers_to_its_result(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_bytes(script(rules=[CLOCK, {"match": "^12:00$", "reply": "It is noon."}]))
    runner = await Scripted().load(replace(SPEC, path=path))
    tools = Tools(offered=(Tool(name="clock"),))
    asked = (Message(role="user", content="what time?"),)
    answered = (
        *asked,
        Message(
            role="assistant", content="", calls=(ToolCall(id="1", name="clock", arguments=""),)
        ),
        Message(role="tool", content="12:00", answers="1"),
    )
    first = [
        chunk async for chunk in runner.generate(Generation(work=Chat(messages=asked, tools=tools)))
    ]
    assert first[:2] == [
        Called(index=0, id="call_1", name="clock"),
        Called(index=0, arguments='{"zone":"utc"}'),
    ]
    assert isinstance(first[-1], Finish)
    assert first[-1].reason is FinishReason.TOOL_CALLS
    second = [
        c async for c in runner.generate(Generation(work=Chat(messages=answered, tools=tools)))
    ]
    assert "".join(c.text for c in second if isinstance(c, Delta)) == "It is noon."


NOT_TO_BE_CALLED = [
    None,
    Tools(offered=(Tool(name="dice"),)),
    Tools(offered=(Tool(name="clock"),), choice="none"),
    Tools(offered=(Tool(name="clock"), Tool(name="dice")), named="dice"),
]


@pytest.mark.parametrize("tools", NOT_TO_BE_CALLED)
async def test_a_script_calls_nothing_that_it_may_not_call(
    tools: Tools | None, tmp_path: Path
) -> None:
    path = tmp_path / "s.json"
    path.write_bytes(script(rules=[CLOCK], default="no idea"))
    runner = await Scripted().load(replace(SPEC, path=path))
    work = Chat(messages=(Message(role="user", content="what time?"),), tools=tools)
    chunks = [chunk async for chunk in runner.generate(Generation(work=work))]
    assert [chunk for chunk in chunks if isinstance(chunk, Called)] == []


def test_an_oracle_is_right_for_its_share_of_prompts_and_always_the_same_way() -> None:
    rule = {"match": "", "right": "r", "wrong": "w", "accuracy": 0.8, "salt": "s"}
    found = parse_script(script(rules=[rule]))
    answers = [found.answer(f"prompt {n}").text for n in range(2000)]
    assert answers == [found.answer(f"prompt {n}").text for n in range(2000)]
    # five standard deviations of a share of 0.8 in 2000
    assert abs(answers.count("r") / 2000 - 0.8) < 5 * (0.8 * 0.2 / 2000) ** 0.5


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a script"),
        (b"[]", "not a script"),
        (b"\xff\xfe", "not a script"),
        (b'{"arbiter_script": 2, "name": "x"}', "not a script"),
        (script(surprise=1), "surprise"),
        (script(context=0), "context"),
        (script(tokens_per_reply_word=0), "tokens_per_reply_word"),
        (script(rules=[{"match": "("}] * 1), "Rule 0 needs"),
        (script(rules=[{"match": "(", "reply": ""}]), "pattern cannot be read"),
        (script(rules=[{"match": "(a+)+$", "reply": ""}]), "repeats a repetition"),
        (script(rules=[{"match": "a" * 501, "reply": ""}]), "too long"),
        (script(rules=[{"match": "", "right": "r"}]), "right and wrong"),
        (script(rules=[{"match": "", "reply": "", "call": {"name": "x"}}]), "or call"),
        (script(rules=[{"match": "", "call": {"name": "x", "arguments": "{}"}}]), "arguments"),
        (script(rules=[{"match": "", "right": "r", "wrong": "w", "accuracy": 2}]), "accuracy"),
        (script(rules=[{"match": "", "reply": "", "die_after_tokens": -1}]), "die_after_tokens"),
    ],
)
def test_a_bad_script_says_what_is_wrong(data: bytes, why: str) -> None:
    with pytest.raises(ModelFileError, match=why):
        parse_script(data)


@settings(deadline=None)  # a busy machine is no bug
@given(data=st.binary(max_size=300))
def test_any_bytes_are_a_script_or_a_model_file_error(data: bytes) -> None:
    try:
        parse_script(data)
    except ModelFileError:
        return


def test_a_script_has_a_largest_size(tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    path.write_bytes(b" " * (MAX_BYTES + 1))
    with pytest.raises(ModelFileError, match=r"big\.json is larger"):
        read_script(path)


async def test_words_weigh_what_the_script_says(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_bytes(script(default="one two three four", tokens_per_reply_word=3))
    engine = Scripted()
    runner = await engine.load(LoadSpec(version=SPEC.version, path=path, context=64, slots=1))
    chunks = [c async for c in runner.generate(asking(max_tokens=7))]
    assert "".join(c.text for c in chunks if isinstance(c, Delta)) == "one two"
    assert isinstance(chunks[-1], Finish)
    assert chunks[-1].usage.completion_tokens == 6
    assert chunks[-1].reason is FinishReason.LENGTH


async def test_a_script_can_fail_its_load_and_die_in_an_answer(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    spec = LoadSpec(version=SPEC.version, path=path, context=64, slots=1)
    path.write_bytes(script(fail_load="no room"))
    with pytest.raises(LoadFailed, match="no room"):
        await Scripted().load(spec)
    path.write_bytes(script(rules=[{"match": "", "reply": "a b c", "die_after_tokens": 2}]))
    runner = await Scripted().load(spec)
    async with aclosing(runner.generate(asking())) as chunks:
        assert [await anext(chunks), await anext(chunks)] == [Delta(text="a"), Delta(text=" b")]
        with pytest.raises(StreamCut):
            await anext(chunks)
    assert await runner.wait_lost() == "parrot died, as its script says"


@pytest.mark.parametrize(
    ("stop", "said"), [("lo wor", "hel"), ("x", "hello world"), ("ld!", "hello world"), ("h", "")]
)
async def test_nothing_of_a_stop_string_is_ever_sent(stop: str, said: str) -> None:
    runner = await runner_of(Scripted(reply=saying(Say("hel"), Say("lo"), Say(" wor"), Say("ld"))))
    assert (await text_of(runner, asking(stop=(stop,))))[0] == said


async def test_a_stream_is_held_until_the_test_lets_it_go() -> None:
    gate = asyncio.Event()
    runner = await runner_of(Scripted(reply=saying(Say("a"), Hold(gate), Say(" b"))))
    async with aclosing(runner.generate(asking())) as chunks:
        assert await anext(chunks) == Delta(text="a")
        assert runner.in_flight == 1
        gate.set()
        assert await anext(chunks) == Delta(text=" b")
    assert runner.in_flight == 0


async def test_a_death_before_the_first_word_is_a_loss_and_after_it_a_cut() -> None:
    runner = await runner_of(Scripted(reply=saying(Die("oom"), Say("a"))))
    with pytest.raises(InstanceLost):
        await text_of(runner, asking())
    assert await runner.wait_lost() == "oom"
    runner = await runner_of(Scripted(reply=saying(Say("a"), Die("oom"))))
    with pytest.raises(StreamCut):
        await text_of(runner, asking())


async def test_it_bears_witness_of_what_nobody_may_do() -> None:
    gate = asyncio.Event()
    runner = await runner_of(Scripted(reply=saying(Say("a"), Hold(gate))))
    async with aclosing(runner.generate(asking())) as chunks:
        await anext(chunks)
        await runner.unload()
        with pytest.raises(StreamCut):
            await anext(chunks)
    assert runner.unloaded_while_serving
    assert not runner.generated_after_unload
    with pytest.raises(InstanceLost):
        await text_of(runner, asking())
    assert runner.generated_after_unload


async def test_an_unload_waits_for_the_end_of_the_process() -> None:
    exit_gate = asyncio.Event()
    runner = await runner_of(Scripted(reply=saying(Say("a")), exit_gate=exit_gate))
    first = asyncio.create_task(runner.unload())
    second = asyncio.create_task(runner.unload())
    await asyncio.wait({first, second}, timeout=0)
    assert not first.done()
    exit_gate.set()
    await asyncio.gather(first, second)
    assert runner.unloads == 2
    assert not runner.unloaded_while_serving


async def test_a_load_waits_for_its_gate_and_fails_when_it_is_told_to() -> None:
    gate = asyncio.Event()
    engine = Scripted(reply=saying(Say("a")), load_gate=gate, fail_load="no room")
    loading = asyncio.create_task(engine.load(SPEC))
    await asyncio.wait({loading}, timeout=0)
    assert not loading.done()
    gate.set()
    with pytest.raises(LoadFailed, match="no room"):
        await loading
    engine.fail_load = None
    assert await (await engine.load(SPEC)).is_healthy()
    assert len(engine.loads) == 2
