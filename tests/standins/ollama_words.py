"""What an Ollama's clients say and hear, in the house's own values and back again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from arbiter.clock import SystemClock
from arbiter.errors import ArbiterError, EngineRefused
from arbiter.inference import (
    Called,
    Finish,
    Message,
    Sampling,
    Shape,
    Tool,
    ToolCall,
    Tools,
)

OPTIONS = {"num_predict": "max_tokens"}
SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "num_predict",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
)
TOO_LONG = re.compile(r"has (\d+) tokens.*room for (\d+)")
Body = dict[str, Any]


def now() -> str:
    return SystemClock().now().isoformat().replace("+00:00", "Z")


def line(value: Body) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def in_its_words(error: ArbiterError) -> tuple[int, str]:
    """As an Ollama passes on what llama.cpp's server told it."""
    long = TOO_LONG.search(error.message)
    if long is not None:
        tokens, room = int(long[1]), int(long[2])
        told = {
            "code": 400,
            "message": f"request ({tokens} tokens) exceeds the available context size",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": tokens,
            "n_ctx": room,
        }
        return 400, json.dumps({"error": told}, separators=(",", ":"))
    return 400 if isinstance(error, EngineRefused) else 500, error.message


def load_options(body: Body) -> tuple[Body, object]:
    return body.get("options") or {}, body.get("keep_alive")


def sampling(body: Body) -> Sampling:
    told = body.get("options") or {}
    known = {OPTIONS.get(key, key): told[key] for key in SAMPLING if told.get(key) is not None}
    if known.get("max_tokens", 0) < 0:
        del known["max_tokens"]
    return Sampling(**known, stop=tuple(told.get("stop") or ()))


def shape(told: object) -> Shape | None:
    if not told:
        return None
    return Shape() if told == "json" else Shape(schema=json.dumps(told))


def tools(body: Body, *, must_call: bool) -> Tools | None:
    if not body.get("tools"):
        return None
    offered = tuple(
        Tool(
            name=one["function"]["name"],
            description=one["function"].get("description"),
            parameters=json.dumps(one["function"].get("parameters") or {"type": "object"}),
        )
        for one in body["tools"]
    )
    return Tools(offered=offered, choice="required" if must_call else "auto")


def message(told: Body) -> Message:
    calls = tuple(
        ToolCall(
            id=call.get("id", f"call_{number}"),
            name=call["function"]["name"],
            arguments=json.dumps(call["function"]["arguments"]),
        )
        for number, call in enumerate(told.get("tool_calls") or ())
    )
    return Message(
        role=told["role"],
        content=told.get("content") or "",
        calls=calls,
        answers=told.get("tool_call_id"),
        name=told.get("tool_name"),
    )


def put_together(calls: dict[int, ToolCall], piece: Called) -> None:
    so_far = calls.get(piece.index, ToolCall(id="", name="", arguments=""))
    calls[piece.index] = ToolCall(
        id=piece.id or so_far.id,
        name=piece.name or so_far.name,
        arguments=so_far.arguments + piece.arguments,
    )


def called(calls: Sequence[ToolCall]) -> Body:
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "id": call.id,
                "function": {
                    "index": index,
                    "name": call.name,
                    "arguments": json.loads(call.arguments),
                },
            }
            for index, call in enumerate(calls)
        ],
    }


def whole(calls: Mapping[int, ToolCall]) -> list[ToolCall]:
    """The calls that the model saw through to their end."""
    found = []
    for _, call in sorted(calls.items()):
        with suppress(ValueError):
            json.loads(call.arguments)
            found.append(call)
    return found


def figures(finish: Finish) -> Body:
    """What an Ollama leaves out when it is nothing."""
    usage, timings = finish.usage, finish.timings
    told = {
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_duration": int((timings.prefill_ms or 0) * 1e6),
        "eval_count": usage.completion_tokens,
        "eval_duration": int((timings.decode_ms or 0) * 1e6),
    }
    return {key: value for key, value in told.items() if value}


def unit(vector: list[float]) -> list[float]:
    length = sum(number * number for number in vector) ** 0.5 or 1.0
    return [number / length for number in vector]
