"""A stand-in for a model's worker: ``python -m arbiter_worker.echo``. Standard library only.

It speaks exactly as `arbiter_worker.llama_cpp` does, on the wire and to its parent, and answers
with the words of the last message, or of the text that it is to go on with, one word a token.
A vector of it is made of the letters of its text. Measuring the house against it measures the
house alone. When the last message begins with one of these, it fails on purpose, after N words
(0 unless given):

    !endless        go on until the client leaves
    !stall N        fall silent       !cut N     close the connection
    !die N          end the process   !break N   report an error in the stream
    !refuse         answer with 400   !absurd    report impossible numbers
    !slices         send the answer a byte at a time
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from arbiter_worker.launch import (
    Configuration,
    become_private,
    claim_stdout,
    read_configuration,
    remove_socket,
    when_parent_dies,
)

_LARGEST: Final = 64 * 1024 * 1024
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    501: "Not Implemented",
}
_DIMENSIONS: Final = 8
_ABSURD: Final[Mapping[str, object]] = {
    "usage": {
        "prompt_tokens": -1,
        "completion_tokens": 1e30,
        "prompt_tokens_details": {"cached_tokens": 0.5},
    },
    "timings": {"prompt_ms": -3, "predicted_ms": 1e300},
}

Asked = Mapping[str, object]


class _Door(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, configuration: Configuration) -> None:
        self._context = configuration.context
        self._embeds = configuration.embeddings
        self._bearer = f"bearer {configuration.key}".encode().lower()
        self._rest = b""
        self._stream: Iterator[bytes] | None = None
        self._is_full = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self._stream = None

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while (end := self._rest.find(b"\r\n\r\n")) >= 0:
            head, length = self._rest[:end], 0
            lines = head.split(b"\r\n")
            headers = {
                key.strip().lower(): value.strip()
                for key, _, value in (line.partition(b":") for line in lines[1:])
            }
            length = int(headers.get(b"content-length", b"0"))
            if length > _LARGEST:
                self._transport.abort()
            if len(self._rest) < end + 4 + length or length > _LARGEST:
                return
            body, self._rest = (
                self._rest[end + 4 : end + 4 + length],
                self._rest[end + 4 + length :],
            )
            self._route(lines[0], headers.get(b"authorization", b"").lower(), body)

    def _route(self, line: bytes, bearer: bytes, body: bytes) -> None:
        if line.startswith(b"GET /health "):
            self._reply(200, {"status": "ok"})
        elif bearer != self._bearer:
            self._problem(401, "Invalid API Key", "authentication_error")
        elif line.startswith(b"POST /v1/chat/completions "):
            self._chat(json.loads(body))
        elif line.startswith(b"POST /v1/completions "):
            self._complete(json.loads(body))
        elif line.startswith(b"POST /v1/embeddings "):
            self._embed(json.loads(body))
        else:
            self._problem(404, "File Not Found", "not_found_error")

    def _chat(self, asked: Asked) -> None:
        messages = asked["messages"]
        assert isinstance(messages, list)  # noqa: S101  # what the house sends is known
        words = str(messages[-1]["content"]).split()
        prompt = sum(len(str(message["content"]).split()) for message in messages)
        if self._is_too_long(prompt):
            return
        order = words.pop(0) if words and words[0].startswith("!") else ""
        if order == "!refuse":
            self._problem(400, "refused, as told", "invalid_request_error")
            return
        tokens, reason = _spoken(words, asked)
        report = _ABSURD if order == "!absurd" else _report(prompt, len(tokens))
        if order not in _ORDERS:
            self._answer(asked, tokens, reason, report)
            return
        count = int(words[0]) if words and words[0].isdigit() else 0
        self._begin_stream()
        self._say(count)
        _ORDERS[order](self, tokens)

    def _complete(self, asked: Asked) -> None:
        words = str(asked["prompt"]).split()
        if self._is_too_long(len(words)):
            return
        tokens, reason = _spoken(words, asked)
        report = _report(len(words), len(tokens))
        if not asked.get("stream"):
            choice = {"index": 0, "text": "".join(tokens), "finish_reason": reason}
            self._reply(200, {"choices": [choice], **report})
            return
        self._transport.write(_STREAM_HEAD)
        pieces = [{"text": token, "finish_reason": None} for token in tokens]
        pieces.append({"text": "", "finish_reason": reason})
        events = [_event({"choices": [{"index": 0, **piece}]}) for piece in pieces]
        self._end_stream([*events, _event({"choices": [], **report})])

    def _embed(self, asked: Asked) -> None:
        if not self._embeds:
            self._problem(501, "This server does not make vectors", "not_supported_error")
            return
        texts = asked["input"]
        assert isinstance(texts, list)  # noqa: S101  # what the house sends is known
        counts = [len(text.split()) for text in texts]
        if self._is_too_long(max(counts)):
            return
        data = [{"index": at, "embedding": _vector(text)} for at, text in enumerate(texts)]
        usage = {"prompt_tokens": sum(counts), "total_tokens": sum(counts)}
        # a server may give them in any order: the index counts
        self._reply(200, {"object": "list", "data": data[::-1], "usage": usage})

    def _is_too_long(self, count: int) -> bool:
        if count > self._context:
            self._problem(
                400,
                "too long",
                "exceed_context_size_error",
                n_prompt_tokens=count,
                n_ctx=self._context,
            )
        return count > self._context

    def _answer(self, asked: Asked, tokens: list[str], reason: str, report: Asked) -> None:
        if not asked.get("stream"):
            message = {"role": "assistant", "content": "".join(tokens)}
            choice = {"index": 0, "message": message, "finish_reason": reason}
            self._reply(200, {"choices": [choice], **report})
            return
        self._begin_stream()
        last = {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
        self._end_stream([*map(_delta, tokens), _event(last), _event({"choices": [], **report})])

    def _end_stream(self, events: list[bytes]) -> None:
        self._transport.write(b"".join([*events, _framed(b"data: [DONE]\n\n"), b"0\r\n\r\n"]))
        self._transport.close()

    def _begin_stream(self) -> None:
        self._transport.write(
            _STREAM_HEAD
            + _event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]})
        )

    def _say(self, count: int) -> None:
        self._transport.write(_delta("on ") * count)

    def stall(self, _: list[str]) -> None:
        """Say no more, and stay."""

    def cut(self, _: list[str]) -> None:
        """Close the connection before the end."""
        self._transport.close()

    def die(self, _: list[str]) -> None:
        """End the process, as a crash would."""
        os._exit(9)

    def break_off(self, _: list[str]) -> None:
        """Report an error where a token should be."""
        self._transport.write(_event({"error": {"code": 500, "message": "broken, as told"}}))
        self._transport.close()

    def endless(self, _: list[str]) -> None:
        """Go on until the client leaves."""
        self._stream = itertools.repeat(_delta("on "))
        self._pump()

    def slices(self, tokens: list[str]) -> None:
        """Answer a byte at a time."""
        # the frames of the transfer coding stay whole; the events in them are cut anywhere
        last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        events = [json.dumps(event, ensure_ascii=False) for event in [*map(_content, tokens), last]]
        text = "".join(f"data: {event}\n\n" for event in events).encode()
        frames = [_framed(text[at : at + 1]) for at in range(len(text))]
        self._stream = iter([*frames, b"0\r\n\r\n"])
        self._pump()

    def _pump(self) -> None:
        """Write the next piece and come again, for as long as the client is there."""
        if self._stream is None or self._transport.is_closing():
            return
        piece = next(self._stream, None)
        if piece is None:
            self._transport.close()
            return
        self._transport.write(piece)
        if not self._is_full:
            asyncio.get_running_loop().call_soon(self._pump)

    def pause_writing(self) -> None:
        """Called by the loop."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._is_full = False
        self._pump()

    def _problem(self, status: int, message: str, kind: str, **more: int) -> None:
        self._reply(status, {"error": {"code": status, "message": message, "type": kind, **more}})

    def _reply(self, status: int, body: Asked) -> None:
        data = json.dumps(body).encode()
        self._transport.write(
            b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (status, _REASONS[status].encode(), len(data), data)
        )


_STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_ORDERS: Final[Mapping[str, Callable[[_Door, list[str]], None]]] = {
    "!endless": _Door.endless,
    "!stall": _Door.stall,
    "!cut": _Door.cut,
    "!die": _Door.die,
    "!break": _Door.break_off,
    "!slices": _Door.slices,
}


def _spoken(words: list[str], asked: Asked) -> tuple[list[str], str]:
    """The answer's tokens, and why it ends."""
    text = " ".join(words)
    stops = asked.get("stop")
    for stop in stops if isinstance(stops, list) else []:
        text = text.partition(str(stop))[0]
    parts = text.split(" ")
    tokens = [f"{part} " for part in parts[:-1]] + [part for part in parts[-1:] if part]
    most = asked.get("max_tokens")
    if isinstance(most, int) and 0 <= most < len(tokens):
        return tokens[:most], "length"
    return tokens, "stop"


def _vector(text: str) -> list[float]:
    """Where the letters of a text lie, as a direction of length 1."""
    sums = [1.0] + [0.0] * (_DIMENSIONS - 1)
    for letter in text.encode():
        sums[letter % _DIMENSIONS] += 1.0
    length = math.hypot(*sums)
    return [one / length for one in sums]


def _report(prompt: int, completion: int) -> Asked:
    return {
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
        "timings": {"prompt_ms": 0.01 * prompt, "predicted_ms": 0.01 * completion},
    }


def _content(text: str) -> Asked:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}


def _delta(text: str) -> bytes:
    return _event(_content(text))


def _event(body: Asked) -> bytes:
    return _framed(b"data: " + json.dumps(body).encode() + b"\n\n")


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def main() -> None:
    """Read what is wanted, announce, serve."""
    announce = claim_stdout()
    become_private()
    try:
        configuration = read_configuration()
        with Path(configuration.model).open("rb") as file:
            is_model = file.read(4) == b"GGUF"
    except (OSError, ValueError) as error:
        announce({"error": str(error)})
        sys.exit(1)
    if not is_model:
        announce({"error": "this is no model file"})
        sys.exit(1)
    asyncio.run(_serve(configuration, announce))


async def _serve(
    configuration: Configuration, announce: Callable[[Mapping[str, object]], None]
) -> None:
    loop = asyncio.get_running_loop()

    def leave() -> None:
        remove_socket(configuration.socket)
        os._exit(0)

    def heed() -> None:
        if not os.read(0, 4096):
            leave()

    loop.add_reader(0, heed)
    loop.add_signal_handler(signal.SIGTERM, leave)
    when_parent_dies(signal.SIGTERM)
    if configuration.socket is not None:
        server = await loop.create_unix_server(lambda: _Door(configuration), configuration.socket)
        address = configuration.socket
    else:
        server = await loop.create_server(lambda: _Door(configuration), "127.0.0.1", 0)
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    announce({"ready": True, "address": address, "pid": os.getpid()})
    await server.serve_forever()


if __name__ == "__main__":
    main()
