"""OpenAI-compatible servers for tests: the real llama-server, and others' manners in front of it.

A `Flavour` answers the questions that tell a kind of server as that kind documents it, and passes
the work on to a real llama-server, so that what it says is a model's and not made up.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web

ROOT: Final = Path(__file__).parents[2]
DIGEST: Final = "sha256:" + "d" * 64


@dataclass
class Server:
    """A llama-server in a child process."""

    url: str
    process: asyncio.subprocess.Process

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


async def started(model: Path, *options: str) -> Server:
    """A llama-server with this model; `kill` it when done. Raises `OSError` if it cannot start."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.standins.llama_server", str(model), *options,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        await process.wait()
        raise OSError(f"it ended with status {process.returncode}")
    return Server(url=json.loads(line)["url"], process=process)


@asynccontextmanager
async def llama_server(model: Path, *options: str) -> AsyncIterator[Server]:
    """A llama-server with this model, for as long as the context is open."""
    server = await started(model, *options)
    try:
        yield server
    finally:
        await server.kill()


@dataclass(kw_only=True)
class Flavour:
    """How a kind of server answers.

    answers: to GET, by path. model: the one name that work may ask for. extras: fields beyond
    OpenAI's own that it takes; others are refused. has_timings: it passes on llama.cpp's own.
    prefix: the path under which its OpenAI part stands.
    """

    kind: str
    model: str
    answers: Mapping[str, object]
    extras: frozenset[str] = frozenset()
    has_timings: bool = False
    counts_streams: bool = True
    prefix: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""


def _listed(*models: Mapping[str, object]) -> dict[str, object]:
    return {"object": "list", "data": [{"object": "model", **model} for model in models]}


def flavours() -> tuple[Flavour, ...]:
    """Every kind, fresh."""
    extras = {"top_k", "min_p"}
    return (
        Flavour(
            kind="vLLM",
            model="org/model",
            extras=frozenset(extras | {"repetition_penalty"}),
            answers={
                "/v1/models": _listed(
                    {"id": "org/model", "created": 1, "owned_by": "vllm", "root": "org/model",
                     "parent": None, "max_model_len": 512, "permission": []}
                ),
                "/version": {"version": "0.11.0"},
            },
        ),
        Flavour(
            kind="SGLang",
            model="org/model",
            extras=frozenset(extras | {"repetition_penalty"}),
            answers={
                "/v1/models": _listed(
                    {"id": "org/model", "created": 1, "owned_by": "sglang", "root": "org/model",
                     "max_model_len": 512}
                ),
                "/get_model_info": {"model_path": "org/model", "is_generation": True},
            },
        ),
        Flavour(
            kind="LM Studio",
            model="sparrow-7b",
            extras=frozenset({"top_k", "repeat_penalty"}),
            answers={
                "/v1/models": _listed(
                    {"id": "sparrow-7b", "owned_by": "organization_owner"},
                    {"id": "text-embedding-wren", "owned_by": "organization_owner"},
                ),
                "/api/v0/models": _listed(
                    {"id": "sparrow-7b", "type": "vlm", "publisher": "birds", "arch": "llama",
                     "compatibility_type": "gguf", "quantization": "Q4_K_M", "state": "loaded",
                     "max_context_length": 4096, "loaded_context_length": 512,
                     "capabilities": ["tool_use"]},
                    {"id": "text-embedding-wren", "type": "embeddings", "arch": "nomic-bert",
                     "quantization": "Q4_0", "state": "not-loaded", "max_context_length": 2048},
                ),
            },
        ),
        Flavour(
            kind="Docker Model Runner",
            model="ai/sparrow:latest",
            prefix="/engines",
            extras=frozenset(extras),
            has_timings=True,
            answers={
                "/v1/models": _listed(
                    {"id": "ai/sparrow:latest", "created": 1, "owned_by": "docker",
                     "dmr": {"context_window": 512, "architecture": "llama",
                             "parameters": "599.94K", "quantization": "F16", "size": "1.2MB"}}
                ),
                "/models": [{"id": DIGEST, "tags": ["ai/sparrow:latest"], "created": 1}],
            },
        ),
        Flavour(
            kind="LocalAI",
            model="sparrow",
            extras=frozenset(extras | {"repeat_penalty"}),
            answers={
                "/v1/models": _listed({"id": "sparrow"}),
                "/system": {"backends": ["llama-cpp"], "loaded_models": [{"id": "sparrow"}]},
                "/version": {"version": "v3.7.0 (abc)"},
            },
        ),
        Flavour(
            kind="Lemonade",
            model="Sparrow-GGUF",
            extras=frozenset({"top_k", "repeat_penalty"}),
            answers={
                "/v1/models": _listed(
                    {"id": "Sparrow-GGUF", "created": 1, "owned_by": "lemonade",
                     "checkpoint": "birds/sparrow-GGUF:F16", "recipe": "llamacpp",
                     "downloaded": True, "context_length": 512, "labels": ["chat", "tool-calling"]},
                    {"id": "SD", "owned_by": "lemonade", "recipe": "sd-cpp", "labels": ["image"]},
                    {"id": "far.kite", "owned_by": "lemonade", "recipe": "cloud"},
                ),
                "/v1/health": {"status": "ok", "version": "10.3.0",
                               "all_models_loaded": [{"model_name": "Sparrow-GGUF"}]},
            },
        ),
        Flavour(
            kind="OpenAI-compatible server",
            model="m",
            counts_streams=False,
            answers={"/v1/models": _listed({"id": "m", "owned_by": "me"})},
        ),
    )  # fmt: skip


_OPENAI: Final = frozenset(
    {"model", "messages", "prompt", "input", "encoding_format", "stream", "stream_options"}
    | {"temperature", "top_p", "seed", "max_tokens", "stop", "response_format", "tools"}
    | {"presence_penalty", "frequency_penalty", "tool_choice", "dimensions"}
)


@asynccontextmanager
async def serving(flavour: Flavour, behind: str) -> AsyncIterator[Flavour]:
    """This kind of server, in front of a llama-server at an address."""
    application = web.Application()
    # a new connection for each request: the server behind closes kept ones whenever it likes
    once = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(behind, connector=once) as session:

        async def get(request: web.Request) -> web.StreamResponse:
            path = request.path
            beside = path not in flavour.answers or not flavour.prefix
            path = path.removeprefix(flavour.prefix) if beside else path
            if path not in flavour.answers:
                return web.Response(status=404, text="not found")
            return web.json_response(flavour.answers[path])

        async def post(request: web.Request) -> web.StreamResponse:
            body = await request.json()
            flavour.asked.append(dict(body))
            unknown = sorted(body.keys() - _OPENAI - flavour.extras)
            if not flavour.counts_streams and "stream_options" in body:
                unknown.append("stream_options")
            if unknown:
                return _refused(400, f"unrecognized field: {unknown[0]}")
            if body["model"] != flavour.model:
                return _refused(404, f"The model {body['model']!r} does not exist.")
            body["repeat_penalty"] = body.pop("repetition_penalty", body.get("repeat_penalty", 1.0))
            path = request.path.removeprefix(flavour.prefix)
            async with session.post(path, json=body) as got:
                return await _passed_on(request, got, flavour)

        application.router.add_get("/{path:.*}", get)
        application.router.add_post("/{path:.*}", post)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            flavour.url = f"http://127.0.0.1:{runner.addresses[0][1]}{flavour.prefix}"
            yield flavour
        finally:
            await runner.cleanup()


def _refused(status: int, message: str) -> web.Response:
    problem = {"message": message, "type": "invalid_request_error", "code": status}
    return web.json_response({"error": problem}, status=status)


async def _passed_on(
    request: web.Request, got: aiohttp.ClientResponse, flavour: Flavour
) -> web.StreamResponse:
    if got.content_type != "text/event-stream":
        answer = await got.json()
        return web.json_response(_told(answer, flavour), status=got.status)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    await response.write(b": hello\r\n\r\n")
    async for line in got.content:
        if line.startswith(b"data: {"):
            event = json.dumps(_told(json.loads(line[6:]), flavour))
            await response.write(f"event: message\r\ndata:{event}\r\n\r\n".encode())
    # what follows the last line may be missing, too
    await response.write(b"data:[DONE]")
    return response


def _told(answer: dict[str, Any], flavour: Flavour) -> dict[str, Any]:
    if not flavour.has_timings:
        answer.pop("timings", None)
        answer.get("usage", {}).pop("prompt_tokens_details", None)
    return {**answer, "model": flavour.model}
