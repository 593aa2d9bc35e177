"""A program: an upstream that costs nearly nothing and answers every chat alike. Prints its URL.

Usage: python -m bench.upstream. It speaks the OpenAI dialect, whole and streamed, over bare asyncio
and httptools, so that what is measured in front of it is the gateway. A prompt that says how many
words it wants (`LONG`) gets a stream of that many: `burst` all at once, `paced` one by one, each in
a turn of the loop and a packet of its own.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from itertools import islice

import httptools
import uvloop

WORDS = ("one", " two", " three", " four", " five", " six", " seven", " eight")
LONG = re.compile(rb"(burst|paced) of (\d+) words")
PACE_S = 0.001
_USAGE = {"prompt_tokens": 12, "completion_tokens": len(WORDS), "total_tokens": 12 + len(WORDS)}
_MODELS = {"object": "list", "data": [{"id": "fake", "object": "model", "owned_by": "bench"}]}


def _whole() -> bytes:
    message = {"role": "assistant", "content": "".join(WORDS)}
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "fake",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": _USAGE,
        }
    ).encode()


def _chunk(delta: dict[str, str], finish: str | None) -> bytes:
    chunk = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "fake",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    if finish is not None:
        chunk["usage"] = _USAGE
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _answer(kind: str, body: bytes, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


_JSON = "application/json"
WHOLE = _answer(_JSON, _whole())


def _pieces(words: int) -> list[bytes]:
    """The events of a streamed answer."""
    told = (WORDS[number % len(WORDS)] for number in range(words))
    return [
        _chunk({"role": "assistant", "content": ""}, None),
        *(_chunk({"content": word}, None) for word in told),
        _chunk({}, "stop"),
        b"data: [DONE]\n\n",
    ]


STREAM = _answer("text/event-stream", b"".join(_pieces(len(WORDS))))
_BEGINS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
LIST = _answer(_JSON, json.dumps(_MODELS).encode())
NOTHING = _answer(_JSON, b'{"error":{"message":"not here"}}', "404 Not Found")


class _Serving(asyncio.Protocol):
    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.WriteTransport | None = None
        self._path = b""
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._path, self._body = url, b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        long = LONG.search(self._body)
        if long is not None and self._transport is not None:
            self._stream(iter(_pieces(int(long[2]))), 1 if long[1] == b"paced" else None)
            return
        if self._path.endswith(b"/chat/completions"):
            streamed = b'"stream":true' in self._body.replace(b" ", b"")
            answer = STREAM if streamed else WHOLE
        else:
            answer = LIST if self._path.endswith(b"/v1/models") else NOTHING
        if self._transport is not None:
            self._transport.write(answer)

    def _stream(
        self, pieces: Iterator[bytes], at_once: int | None, begins: bytes = _BEGINS
    ) -> None:
        """Write so many of these now, and the others later; all of them where it is not said."""
        now = list(islice(pieces, at_once))
        text = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in now)
        if self._transport is None:
            return
        if at_once is None or not now:
            self._transport.write(begins + text + b"0\r\n\r\n")
            return
        self._transport.write(begins + text)
        loop = asyncio.get_running_loop()
        loop.call_later(PACE_S, self._stream, pieces, at_once, b"")


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Serving, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"url": f"http://127.0.0.1:{port}"}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
