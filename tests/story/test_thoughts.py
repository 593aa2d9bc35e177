"""What a model thinks before it answers, through the whole house, in every dialect."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import ollama
import openai
import pytest
from tests.story.houses import house_with

from arbiter.house import House
from arbiter.knowledge.outcome import Status

ASKED: Any = [{"role": "user", "content": "why is it so?"}]
THINKER = {
    "arbiter_script": 1,
    "name": "thinker",
    "capabilities": ["chat", "thinking"],
    "rules": [{"match": "why", "think": "They want a reason.", "reply": "Because."}],
}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    (tmp_path / "thinker.json").write_text(json.dumps(THINKER), encoding="utf-8")
    async with house_with(tmp_path / "data", [], []) as house:
        await house.add(tmp_path / "thinker.json", "thinker")
        yield house


async def test_thoughts_come_apart_from_the_answer_and_are_no_part_of_it(house: House) -> None:
    answered = await house.ask("why is it so?", model="thinker")
    assert (answered.thought, answered.text) == ("They want a reason.", "Because.")
    record = await house.record(answered.reply.decided.decision)
    assert record.outcome is not None
    assert record.outcome.status is Status.SUCCESS


@pytest.mark.parametrize("effort", ["high", "none"])
async def test_an_openai_client_reads_them(house: House, effort: Any) -> None:
    async with (
        house.door() as address,
        openai.AsyncOpenAI(base_url=f"{address.url}/v1", api_key="none") as client,
    ):
        stream = await client.chat.completions.create(
            model="thinker", messages=ASKED, reasoning_effort=effort, stream=True
        )
        deltas = [c.choices[0].delta.model_dump() async for c in stream if c.choices]
        response = await client.responses.create(
            model="thinker", input="why is it so?", reasoning={"effort": effort}
        )
    thought = "" if effort == "none" else "They want a reason."
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == thought
    assert "".join(delta["content"] or "" for delta in deltas) == "Because."
    kinds = [item.type for item in response.output]
    assert kinds == (["message"] if effort == "none" else ["reasoning", "message"])


@pytest.mark.parametrize("think", [True, False])
async def test_an_ollama_client_reads_them(house: House, think: bool) -> None:
    async with house.door() as address:
        client = ollama.AsyncClient(host=address.url)
        answer = await client.chat("thinker", ASKED, think=think)
        shown = await client.show("thinker")
        await client.close()  # type: ignore[no-untyped-call]  # it has no types
    assert answer.message.thinking == ("They want a reason." if think else None)
    assert answer.message.content == "Because."
    assert shown.capabilities == ["completion", "thinking"]


async def test_an_anthropic_client_reads_them_and_sends_them_back(house: House) -> None:
    async with (
        house.door() as address,
        anthropic.AsyncAnthropic(base_url=address.url, api_key="none") as client,
    ):
        async with client.messages.stream(model="thinker", messages=ASKED, max_tokens=50) as stream:
            first = await stream.get_final_message()
        again = await client.messages.create(
            model="thinker",
            max_tokens=50,
            thinking={"type": "disabled"},
            messages=[*ASKED, {"role": "assistant", "content": first.content}, *ASKED],
        )
    assert [block.type for block in first.content] == ["thinking", "text"]
    assert first.content[0].type == "thinking"
    assert first.content[0].thinking == "They want a reason."
    assert [block.type for block in again.content] == ["text"]
