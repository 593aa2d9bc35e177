"""`arbiter ask`, `select`, `why`, `feedback`: a request, and the answer to "why this model?"."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from arbiter.cli.client import Client, Json, segment
from arbiter.cli.options import AsJson, ConfigFile, DataDir, with_house
from arbiter.cli.output import ERR, OUT, items, number, show_json, show_table, text
from arbiter.errors import InvalidField, StreamCut

if TYPE_CHECKING:
    import aiohttp

Task = Annotated[str | None, typer.Option("--task", help="The kind of work.", show_default=False)]
Needs = Annotated[
    list[str] | None, typer.Option("--needs", help="A capability it needs, or gpu (repeatable).")
]
Threshold = Annotated[float | None, typer.Option("--threshold", help="Least quality, 0 to 1.")]
MaxLatency = Annotated[
    float | None, typer.Option("--max-latency-ms", help="Longest latency of most answers.")
]
MaxMemory = Annotated[float | None, typer.Option("--max-memory-mb", help="Most memory.")]


def _limits(
    needs: list[str] | None,
    threshold: float | None,
    max_latency_ms: float | None,
    max_memory_mb: float | None,
) -> Json:
    return {
        "needs": needs or [],
        "threshold": threshold,
        "max_latency_ms": max_latency_ms,
        "max_memory_mb": max_memory_mb,
    }


def ask(
    prompt: Annotated[str, typer.Argument(help="What to ask; - reads it from stdin.")],
    model: Annotated[str, typer.Option("--model", help="auto, a name or an alias.")] = "auto",
    task: Task = None,
    system: Annotated[str | None, typer.Option("--system", help="A system prompt.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Longest answer, in tokens.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", min=0, max=2, help="0 is the least random.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="The same seed, the same dice.")
    ] = None,
    needs: Needs = None,
    threshold: Threshold = None,
    max_latency_ms: MaxLatency = None,
    max_memory_mb: MaxMemory = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Ask, and see who answered and why."""

    async def work(client: Client) -> None:
        question = sys.stdin.read() if prompt == "-" else prompt
        messages = [{"role": "system", "content": system}] if system else []
        body: Json = {
            "model": model,
            "messages": [*messages, {"role": "user", "content": question}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        for name, value in (
            ("max_tokens", max_tokens), ("temperature", temperature), ("seed", seed),
        ):  # fmt: skip
            if value is not None:
                body[name] = value
        limits = _limits(needs, threshold, max_latency_ms, max_memory_mb)
        headers = {"x-arbiter-task": quote(task)} if task else {}
        for name, limit in limits.items():
            if limit:
                shown = ",".join(limit) if isinstance(limit, list) else str(limit)
                headers[f"x-arbiter-{name.replace('_', '-')}"] = shown
        async with client.chat(body, headers) as got:
            answer, usage = await _read(got, echo=not as_json)
            decision = {
                name: got.headers.get(f"x-arbiter-{name}")
                for name in ("decision", "task", "alias", "version", "arm", "reason")
            }
        if as_json:
            show_json({"answer": answer, "usage": usage, **decision})
            return
        OUT.print()
        ERR.print(
            f"{decision['alias']} ({text(decision['version'])[7:19]}, {decision['arm']}): "
            f"{decision['reason']}\n{decision['decision']}",
            style="dim",
            markup=False,
        )

    with_house(data_dir, config, work)


async def _read(got: aiohttp.ClientResponse, *, echo: bool) -> tuple[str, object]:
    parts: list[str] = []
    usage: object = None
    async for line in got.content:
        data = line.strip().removeprefix(b"data: ")
        if not data or data == b"[DONE]" or data.startswith(b":"):
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            raise StreamCut(str(chunk["error"].get("message")))
        usage = chunk.get("usage") or usage
        for choice in chunk.get("choices", []):
            piece = choice.get("delta", {}).get("content") or ""
            parts.append(piece)
            if echo:
                OUT.print(piece, end="", markup=False)
    return "".join(parts), usage


def select(
    task: Annotated[str, typer.Argument(help="The kind of work.")] = "general",
    needs: Needs = None,
    threshold: Threshold = None,
    max_latency_ms: MaxLatency = None,
    max_memory_mb: MaxMemory = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Whom `auto` would pick for a task now, and why. Nothing is run."""

    async def work(client: Client) -> None:
        body = {"task": task, **_limits(needs, threshold, max_latency_ms, max_memory_mb)}
        found = await client.call("POST", "/select", body)
        if as_json:
            show_json(found)
            return
        OUT.print(f"{found['pick']}: {found['reason']}", markup=False)
        _scores(found)
        _would_change(found)

    with_house(data_dir, config, work)


def _scores(found: Json) -> None:
    scores, dropped = found.get("scores"), found.get("dropped")
    rows = [
        (
            one["name"],
            number(one["score"], digits=3),
            _interval(one["quality"]),
            text(one["samples"]),
            _share(one["chance"]),
            one["explanation"],
        )
        for one in items(scores)
    ]
    rows += [(one["name"], "dropped", "", "", "", one["reason"]) for one in items(dropped)]
    if rows:
        columns = ("considered", "score", "quality, 90 %", "graded", "picked", "because")
        show_table(columns, rows, empty="")


def _interval(ends: object) -> str:
    match ends:
        case [low, high]:
            return f"{number(low)} to {number(high)}"
    return text(None)


def _share(chance: object) -> str:
    return f"{chance:.0%}" if isinstance(chance, int | float) else text(None)


def _would_change(found: Json) -> None:
    if found["would_change"]:
        OUT.print(f"what would change it: {found['would_change']}", markup=False)


def why(
    decision: Annotated[str, typer.Argument(help="A decision's id, from the answer's headers.")],
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Why this model? Everything that is known of a decision."""

    async def work(client: Client) -> None:
        found = await client.call("GET", f"/decisions/{segment(decision)}")
        if as_json:
            show_json(found)
            return
        OUT.print(f"{found['alias']} for {found['task']}: {found['reason']}", markup=False)
        OUT.print(
            f"version {text(found['version'])}, arm {found['arm']}, probability "
            f"{number(found['probability'])}, fallback {text(found['fallback'])}",
            markup=False,
        )
        _scores(found)
        _would_change(found)
        if found["examined"]:
            OUT.print(f"of this version: {found['examined']}", markup=False)
        if found["is_held"]:
            OUT.print("an earlier request of the conversation had drawn it", markup=False)
        outcome = found["outcome"]
        if isinstance(outcome, dict):
            cpu = outcome["cpu_ms"]
            OUT.print(
                f"outcome: {outcome['status']}, "
                f"{number(outcome['latency_ms'], digits=1, unit=' ms')}, first token "
                f"{number(outcome['ttft_ms'], digits=1, unit=' ms')}, tokens "
                f"{text(outcome['prompt_tokens'])} in {text(outcome['completion_tokens'])} out, "
                f"CPU {number(cpu['value'], digits=1, unit=' ms')} ({cpu['method']}), grade "
                f"{number(outcome['grade'])}",
                markup=False,
            )
            if outcome["error"]:
                OUT.print(f"{outcome['error']}: {text(outcome['detail'])}", markup=False)
        else:
            OUT.print("outcome: none yet")
        given = found["feedback"]
        for one in items(given):
            OUT.print(f"feedback from {one['source']}: {number(one['score'])}", markup=False)

    with_house(data_dir, config, work)


def feedback(
    decision: Annotated[str, typer.Argument(help="A decision's id.")],
    score: Annotated[str, typer.Argument(help="good, bad, or a number from 0 to 1.")],
    source: Annotated[str, typer.Option("--source", help="Who judges.")] = "person",
    comment: Annotated[
        str | None, typer.Option("--comment", help="What to remember of it.")
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Judge an answer. The same judgement twice counts once; the latest counts."""

    async def work(client: Client) -> None:
        body: Json = {"score": _score(score), "source": source, "comment": comment}
        found = await client.call("POST", f"/decisions/{segment(decision)}/feedback", body)
        if as_json:
            show_json(found)
        else:
            OUT.print("stored" if found["changed"] else "known already")

    with_house(data_dir, config, work)


def _score(text_: str) -> float:
    words = {"good": 1.0, "bad": 0.0}
    if text_.lower() in words:
        return words[text_.lower()]
    try:
        return float(text_)
    except ValueError as error:
        raise InvalidField(
            f"{text_!r} is not a score.", hint="Say good, bad, or a number from 0 to 1."
        ) from error
