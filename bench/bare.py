"""A program: the least that a proxy in Python can do, to compare with. Prints where it listens.

Usage: python -m bench.bare SOCKET KEY. uvicorn with httptools and uvloop, aiohttp to the worker;
it reads the request's JSON and passes the bytes on: no checks, no choice, no record.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys

import aiohttp
import msgspec
import uvicorn
import uvloop
from bench.client import PATH
from starlette.types import ASGIApp, Receive, Scope, Send


def proxy(whole: aiohttp.ClientSession, streamed: aiohttp.ClientSession, key: str) -> ASGIApp:
    """The application."""
    decode = msgspec.json.decode
    sent = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        session = streamed if decode(body).get("stream") else whole
        async with session.post(f"http://worker{PATH}", data=body, headers=sent) as got:
            kind = got.headers.get("content-type", "").encode()
            await send(
                {
                    "type": "http.response.start",
                    "status": got.status,
                    "headers": [(b"content-type", kind)],
                }
            )
            async for piece in got.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


async def _serve(path: str, key: str) -> None:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=path, limit=0)) as whole,
        # a worker closes after a stream, and a pool would offer the connection again
        aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path=path, limit=0, force_close=True)
        ) as streamed,
    ):
        config = uvicorn.Config(
            proxy(whole, streamed, key),
            http="httptools",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
        )
        server = uvicorn.Server(config)
        print(json.dumps({"url": f"http://127.0.0.1:{listening.getsockname()[1]}"}), flush=True)
        await server.serve(sockets=[listening])


if __name__ == "__main__":
    logging.disable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(sys.argv[1], sys.argv[2]))
