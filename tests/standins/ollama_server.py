"""A server that speaks Ollama's API over the real llama.cpp.

    python -m tests.standins.ollama_server --port 0 --model gemma3:1b=PATH.gguf ...

It tells one line of JSON, ``{"url": ..., "pid": ...}``, when it answers, and leaves when its
standard input ends. ``--library NAME=PATH`` is what a pull of that name fetches, ``--template
NAME=PATH`` puts a chat template in the place of a model's own, and ``--must-call`` has models call
a tool whenever they are offered one, because small ones never would. ``--no-cache`` has a prompt
computed anew every time: in other batches the rounding differs.

What was said to it can be asked under ``/stand-in``. It does as an Ollama of late 2026 does, with
two exceptions: it never cuts a prompt short, and no model of its can fill a gap.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from tests.standins.ollama_store import Content, NoSuchModel, Store, lasting, tagged
from tests.standins.ollama_words import (
    Body,
    called,
    figures,
    in_its_words,
    line,
    load_options,
    message,
    now,
    put_together,
    sampling,
    shape,
    tools,
    unit,
    whole,
)

from arbiter.clock import SystemClock
from arbiter.errors import ArbiterError
from arbiter.inference import (
    Called,
    Chat,
    Completion,
    Delta,
    Embedding,
    Finish,
    Generation,
    Message,
    ToolCall,
)

VERSION = "0.33.0"


class Refused(Exception):
    """What an Ollama answers with a status of its own."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class Ollama:
    """The routes."""

    def __init__(self, store: Store, *, must_call: bool) -> None:
        self._store = store
        self._must_call = must_call
        self._asked: list[tuple[str, Body]] = []
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._busy = asyncio.Event()

    def app(self) -> Starlette:
        post = [
            ("show", self.show),
            ("generate", self.generate),
            ("chat", self.chat),
            ("embed", self.embed),
            ("pull", self.pull),
            ("copy", self.copy),
        ]
        return Starlette(
            routes=[
                Route("/", self.root),
                Route("/api/version", self.version),
                Route("/api/tags", self.tags),
                Route("/api/ps", self.ps),
                *(Route(f"/api/{name}", self._reading(f), methods=["POST"]) for name, f in post),
                Route("/api/delete", self._reading(self.delete), methods=["DELETE"]),
                Route("/stand-in", self.told),
                Route("/stand-in/idle", self.is_idle),
                Route("/stand-in/busy", self.is_busy),
            ]
        )

    async def root(self, request: Request) -> Response:
        del request
        return PlainTextResponse("Ollama is running")

    async def version(self, request: Request) -> Response:
        del request
        return JSONResponse({"version": VERSION})

    async def told(self, request: Request) -> Response:
        """What was asked of it, and how often it loaded something."""
        del request
        return JSONResponse({"loads": dict(self._store.loads), "asked": self._asked})

    async def is_idle(self, request: Request) -> Response:
        """Answers when nobody generates any more."""
        del request
        await self._idle.wait()
        return JSONResponse({"running": self._running})

    async def is_busy(self, request: Request) -> Response:
        """Answers when somebody generates."""
        del request
        await self._busy.wait()
        return JSONResponse({"running": self._running})

    async def tags(self, request: Request) -> Response:
        del request
        return JSONResponse(
            {
                "models": [
                    {
                        "name": name,
                        "model": name,
                        "modified_at": now(),
                        "size": content.size,
                        "digest": content.digest,
                        "details": content.details,
                    }
                    for name, content in self._store.models.items()
                ]
            }
        )

    async def ps(self, request: Request) -> Response:
        del request
        return JSONResponse(
            {
                "models": [
                    {
                        "name": one.name,
                        "model": one.name,
                        "size": one.size,
                        "digest": one.content.digest,
                        "details": one.content.details,
                        "expires_at": (SystemClock().now() + lasting(one)).isoformat(),
                        "size_vram": 0,
                        "context_length": one.context,
                    }
                    for one in self._store.loaded.values()
                ]
            }
        )

    async def show(self, request: Request, body: Body) -> Response:
        del request
        content = self._store.content(body.get("model") or body.get("name") or "")
        header = content.header
        if header is None:
            raise Refused(500, "invalid file magic")
        name = header.architecture
        info = {
            **{key: value for key, value in header.provenance.items() if key != "general.name"},
            "general.architecture": name,
            "general.parameter_count": header.parameter_count,
            f"{name}.context_length": header.context_length,
            f"{name}.embedding_length": header.embedding_length,
            "tokenizer.ggml.tokens": None,
        }
        return JSONResponse(
            {
                "license": f"{header.licence}\nand so on" if header.licence else "",
                "template": content.template or header.chat_template or "",
                "details": content.details,
                "model_info": info,
                "tensors": [{"name": "token_embd.weight", "type": "F16", "shape": [1, 1]}],
                "capabilities": sorted(content.capabilities),
                "modified_at": now(),
            }
        )

    async def generate(self, request: Request, body: Body) -> Response:
        content = self._store.content(body["model"])
        prompt = body.get("prompt", "")
        if not prompt:
            return await self._only_loaded(content, body, {"response": ""})
        if body.get("suffix"):
            raise Refused(400, f'"{body["model"]}" does not support insert')
        can_write(content, body["model"], "generate")
        work: Chat | Completion = Completion(prompt=prompt)
        if not body.get("raw"):
            said = Message(role="user", content=prompt)
            work = Chat(messages=(said,), shape=shape(body.get("format")))
        return await self._answered(request, body, work, lambda text: {"response": text})

    async def chat(self, request: Request, body: Body) -> Response:
        content = self._store.content(body["model"])
        empty = {"message": {"role": "assistant", "content": ""}}
        if not body.get("messages"):
            return await self._only_loaded(content, body, empty)
        can_write(content, body["model"], "chat")
        if body.get("tools") and "tools" not in content.capabilities:
            raise Refused(400, f"{body['model']} does not support tools")
        work = Chat(
            messages=tuple(message(one) for one in body["messages"]),
            tools=tools(body, must_call=self._must_call),
            shape=shape(body.get("format")),
        )
        return await self._answered(
            request, body, work, lambda text: {"message": {"role": "assistant", "content": text}}
        )

    async def embed(self, request: Request, body: Body) -> Response:
        del request
        given = body.get("input", [])
        texts = (given,) if isinstance(given, str) else tuple(given)
        began = time.perf_counter_ns()
        async with self._store.used(body["model"], *load_options(body)) as one:
            loaded = time.perf_counter_ns() - began
            if not texts:
                return JSONResponse({"model": body["model"], "embeddings": []})
            found, finish = await one.runner.embed(Embedding(inputs=texts))
        wanted = body.get("dimensions") or None
        return JSONResponse(
            {
                "model": body["model"],
                "embeddings": [unit(list(vector)[:wanted]) for vector in found.vectors],
                "total_duration": time.perf_counter_ns() - began,
                "load_duration": loaded,
                "prompt_eval_count": finish.usage.prompt_tokens or 0,
            }
        )

    async def pull(self, request: Request, body: Body) -> Response:
        del request
        name = tagged(body.get("model") or body.get("name") or "")
        fetched = self._store.library.get(name)
        steps: list[Body] = [{"status": "pulling manifest"}]
        if fetched is None:
            steps.append({"error": "pull model manifest: file does not exist"})
        else:
            part = {"digest": f"sha256:{fetched.digest}", "total": fetched.size}
            steps += [
                {"status": f"pulling {fetched.digest[:12]}", **part, "completed": done}
                for done in (fetched.size // 2, fetched.size)
            ]
            ending = ("verifying sha256 digest", "writing manifest", "success")
            steps += [{"status": status} for status in ending]

        async def progress() -> AsyncIterator[bytes]:
            for step in steps:
                if step.get("status") == "success" and fetched is not None:
                    self._store.models[name] = fetched
                yield line(step)

        if body.get("stream") is False:
            async for last in progress():
                steps = [json.loads(last)]
            return JSONResponse(steps[0], status_code=500 if "error" in steps[0] else 200)
        return StreamingResponse(progress(), media_type="application/x-ndjson")

    async def copy(self, request: Request, body: Body) -> Response:
        del request
        if tagged(body["source"]) not in self._store.models:
            raise Refused(404, f'model "{body["source"]}" not found')
        self._store.models[tagged(body["destination"])] = self._store.content(body["source"])
        return Response()

    async def delete(self, request: Request, body: Body) -> Response:
        del request
        name = body.get("model") or body.get("name") or ""
        self._store.content(name)
        del self._store.models[tagged(name)]
        return Response()

    def _reading(
        self, handle: Callable[[Request, Body], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """A route that takes a JSON body, and has what goes wrong told in Ollama's way."""

        async def handled(request: Request) -> Response:
            try:
                body: Body = json.loads(await request.body())
                self._asked.append((request.url.path, body))
                return await handle(request, body)
            except NoSuchModel as error:
                return failed(404, f"model '{error.args[0]}' not found")
            except Refused as error:
                return failed(error.status, str(error))
            except ArbiterError as error:
                return failed(*in_its_words(error))
            except (ValueError, KeyError, TypeError) as error:
                return failed(400, str(error))

        return handled

    async def _only_loaded(self, content: Content, body: Body, nothing: Body) -> Response:
        end = {"model": body["model"], "created_at": now(), **nothing, "done": True}
        if body.get("keep_alive") == 0:
            await self._store.unload(body["model"])
            return JSONResponse({**end, "done_reason": "unload"})
        can_write(content, body["model"], "generate")
        async with self._store.used(body["model"], *load_options(body)):
            return JSONResponse({**end, "done_reason": "load"})

    async def _answered(
        self,
        request: Request,
        body: Body,
        work: Chat | Completion,
        said: Callable[[str], Body],
    ) -> Response:
        pieces = self._pieces(body, work, said)
        if body.get("stream") is False:
            return await self._whole(request, pieces, said)
        # an error before the first piece has a status of its own
        first = await anext(pieces)

        async def lines() -> AsyncIterator[bytes]:
            async with aclosing(pieces):
                yield line(first)
                try:
                    async for piece in pieces:
                        yield line(piece)
                except ArbiterError as error:
                    yield line({"error": in_its_words(error)[1]})

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def _whole(
        self, request: Request, pieces: AsyncGenerator[Body, None], said: Callable[[str], Body]
    ) -> Response:
        """One answer of all pieces; a client that hangs up ends the work."""

        async def gathered() -> Body:
            text, calls, last = "", [], Body()
            async with aclosing(pieces):
                async for last in pieces:
                    part = last.get("message", last)
                    text += part.get("content") or part.get("response") or ""
                    calls += part.get("tool_calls", [])
            answer = {**last, **said(text)}
            if calls:
                answer["message"]["tool_calls"] = calls
            return answer

        async def hung_up() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        work, watch = asyncio.create_task(gathered()), asyncio.create_task(hung_up())
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            return JSONResponse(work.result()) if work.done() else Response(status_code=499)
        finally:
            work.cancel()
            watch.cancel()
            await asyncio.gather(work, watch, return_exceptions=True)

    async def _pieces(
        self, body: Body, work: Chat | Completion, said: Callable[[str], Body]
    ) -> AsyncGenerator[Body, None]:
        """The answer as objects; the last has the figures."""
        began = time.perf_counter_ns()
        request = Generation(work=work, sampling=sampling(body), stream=True)
        options, keep_alive = load_options(body)
        async with self._store.used(body["model"], options, keep_alive) as one, self._counted():
            loaded = time.perf_counter_ns() - began
            calls: dict[int, ToolCall] = {}
            async with aclosing(one.runner.generate(request)) as chunks:
                async for chunk in chunks:
                    head = {"model": body["model"], "created_at": now()}
                    match chunk:
                        case Delta(text=text):
                            yield {**head, **said(text), "done": False}
                        case Called():
                            put_together(calls, chunk)
                        case Finish():
                            if whole(calls):
                                yield {**head, "message": called(whole(calls)), "done": False}
                            yield {
                                **head,
                                **said(""),
                                "done": True,
                                "done_reason": "length" if chunk.reason == "length" else "stop",
                                "total_duration": time.perf_counter_ns() - began,
                                "load_duration": loaded,
                                **figures(chunk),
                            }

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        self._running += 1
        self._idle.clear()
        self._busy.set()
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()
                self._busy.clear()


def failed(status: int, words: str) -> Response:
    return JSONResponse({"error": words}, status_code=status)


def can_write(content: Content, name: str, what: str) -> None:
    if "completion" not in content.capabilities:
        raise Refused(400, f'"{name}" does not support {what}')


def pairs(given: list[str]) -> dict[str, Path]:
    found = (one.partition("=") for one in given)
    return {tagged(name): Path(path) for name, _, path in found}


async def serve(asked: argparse.Namespace) -> None:
    templates = {name: p.read_text(encoding="utf-8") for name, p in pairs(asked.template).items()}

    def contents(given: list[str]) -> dict[str, Content]:
        named = pairs(given).items()
        return {name: Content(path, templates.get(name)) for name, path in named}

    with tempfile.TemporaryDirectory(prefix="ollama-") as folder:
        store = Store(
            contents(asked.model),
            contents(asked.library),
            Path(folder),
            cache_prompt=not asked.no_cache,
        )
        app = Ollama(store, must_call=asked.must_call).app()
        listening = socket.create_server(("127.0.0.1", asked.port))
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
        )
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        sys.stdout.write(json.dumps({"url": url, "pid": os.getpid()}) + "\n")
        sys.stdout.flush()
        while await asyncio.to_thread(os.read, 0, 4096):
            pass
        server.should_exit = True
        await serving
        await store.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--model", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--library", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--template", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--must-call", action="store_true")
    parser.add_argument("--no-cache", action="store_true")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
