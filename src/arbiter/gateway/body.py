"""Reading a body within bounds, and reading JSON without its traps.

`parse_json` takes less than JSON allows, because readers of one text disagree beyond it: no key
twice, no NUL, no deep nesting. Nothing here knows what the fields mean.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable

import msgspec
from starlette.types import Receive

from arbiter.errors import BodyTooSlow, InvalidJson, TooLarge

MAX_DEPTH = 64
MAX_OBJECTS = 50_000

_DECODER = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder()
# Possessive: a megabyte inside one string must not become a megabyte of backtracking state.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class ClientGone(Exception):
    """The client hung up; there is nobody to answer."""


async def read_body(
    receive: Receive,
    *,
    limit: int,
    deadline_s: float,
    whole: Callable[[], bytes] | None = None,
) -> bytes:
    """The whole body.

    whole: gives it, where all of it has come already: nothing is waited for, and no timer is set.

    Raises `TooLarge` at the first byte past the limit, `BodyTooSlow` when it is not complete in
    time, `ClientGone` when the client hangs up.
    """
    if whole is not None:
        body = whole()
        if len(body) > limit:
            raise TooLarge(hint=f"At most {limit} bytes.")
        return body
    try:
        async with asyncio.timeout(deadline_s):
            return await _collect(receive, limit)
    except TimeoutError:
        raise BodyTooSlow(hint=f"It has {deadline_s:g} seconds.") from None


async def _collect(receive: Receive, limit: int) -> bytes:
    message = await receive()
    parts = bytearray()
    while message["type"] == "http.request":
        parts += message.get("body", b"")
        if len(parts) > limit:
            raise TooLarge(hint=f"At most {limit} bytes.")
        if not message.get("more_body"):
            return bytes(parts)
        message = await receive()
    raise ClientGone


def parse_json(body: bytes) -> dict[str, object]:
    """The JSON object in a body.

    >>> parse_json(b'{"a": [1, 2.5]}')
    {'a': [1, 2.5]}

    Raises `InvalidJson` for anything else: broken UTF-8, a byte order mark, NaN, numbers past
    the range of a double, half a surrogate pair, NUL, a key given twice, nesting past 64.
    """
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        _check_shape(body)
    try:
        value = _DECODER.decode(body)
        # msgspec decides what the text says; json is asked one thing only, which msgspec cannot
        # tell: whether a key was given twice. What is written back as it came had no key twice,
        # and so it is with what clients send that write no spaces, the official ones among them.
        if _ENCODER.encode(value) != body:
            _DOUBLED_KEYS.raw_decode(body.decode().lstrip())
    except msgspec.DecodeError as error:
        raise InvalidJson(f"{error}.") from None
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError too
        raise InvalidJson from None
    if not isinstance(value, dict):
        raise InvalidJson("The body is not a JSON object.")
    if b"\\u0000" in body and _NUL.search(body):
        raise InvalidJson("The JSON holds a NUL character.")
    return value


def _refuse_doubled(pairs: list[tuple[str, object]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise InvalidJson("A key is given twice in one JSON object.")


# Made once: making one costs as much as reading a small body with it.
_DOUBLED_KEYS = json.JSONDecoder(object_pairs_hook=_refuse_doubled)


def _check_shape(body: bytes) -> None:
    """Refuse many and deep brackets outside strings, before anything is made of them.

    Eight megabytes of ``{},`` would otherwise become a fifth of a gigabyte of empty objects.
    """
    brackets = _STRING.sub(b"", body).translate(None, _NOT_BRACKETS)
    if len(brackets) > 2 * MAX_OBJECTS:
        raise InvalidJson(
            "The JSON holds too many objects and lists.", hint=f"At most {MAX_OBJECTS}."
        )
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise InvalidJson("The JSON is nested too deeply.", hint=f"At most {MAX_DEPTH} levels.")
