"""Pages of other addresses that may use the house: those of the list, and no others.

A browser lets a page of another origin send what it likes to this machine, and asks the answer
whether the page may read it. Without a list no answer ever says so, and nothing is changed for such
a page (`arbiter.gateway.security.check_origin`). The list takes exact origins. It stands behind the
check of the Host header: a page whose name was pointed at this machine fails there, listed or not.

``*`` takes every page, and only a house with keys has it: nothing in a browser sends a key by
itself, so a page can ask no more than what its user gave it a key for. For the same reason what
only an administrator may do is open to listed pages only where there are keys. Without any,
everybody on this machine is one, and one injected script in a listed page would register files,
read records and change rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.types import Message, Scope, Send

from arbiter.errors import ConfigError
from arbiter.gateway.security import Head, Policy

ANY = b"*"

_ORIGIN = re.compile(
    r"[a-z][a-z0-9+.-]{0,31}://(?:\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(:\d{1,5})?"
)
_USUAL = {"http": ":80", "https": ":443"}
_KEPT_S = 600
"""How long a browser may remember what it was told of an address."""

# The last line means nothing here. But clients in browsers set them, Ollama's own among them, and
# one header that is not allowed stops the request. Ollama allows the same three
# (https://github.com/ollama/ollama-js src/utils.ts, https://github.com/ollama/ollama
# server/routes.go).
_HEADERS = frozenset(
    {b"authorization", b"content-type", b"idempotency-key", b"if-match", b"if-none-match"}
    | {b"last-event-id", b"traceparent", b"tracestate", b"x-api-key"}
    | {b"x-client-request-id", b"x-request-id"}
    | {b"accept", b"user-agent", b"x-requested-with"}
)
_FAMILIES = (b"x-arbiter-", b"x-stainless-", b"anthropic-", b"openai-")
_SHOWN = (
    b"x-request-id, request-id, retry-after, x-should-retry, etag, x-arbiter-decision, "
    b"x-arbiter-task, x-arbiter-task-guessed, x-arbiter-judge, x-arbiter-alias, "
    b"x-arbiter-version, x-arbiter-arm, x-arbiter-reason, x-arbiter-probability, "
    b"x-arbiter-receipt"
)
_VARIES = (b"vary", b"origin")


def read_origins(said: Iterable[str], *, has_keys: bool) -> frozenset[bytes]:
    """The origins of the settings, as browsers write them.

    >>> sorted(read_origins(["https://Chat.example:443", "app://obsidian.md"], has_keys=False))
    [b'app://obsidian.md', b'https://chat.example']

    Raises `ConfigError` for what is no origin, and for ``*`` in a house without keys.
    """
    return frozenset([_read(one.strip().lower(), has_keys=has_keys) for one in said])


def _read(text: str, *, has_keys: bool) -> bytes:
    if text == "*":
        if has_keys:
            return ANY
        raise ConfigError(
            "* lets every web page use this house, and there is no key.",
            hint="Name the origins, or make a key first: `arbiter keys add NAME`.",
            param="door.allowed_origins",
        )
    match = _ORIGIN.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"{text!r:.120} is no web origin.",
            hint="Write it as scheme://host or scheme://host:port, without a path and without a "
            "pattern: http://localhost:3000.",
            param="door.allowed_origins",
        )
    port = _USUAL.get(text.partition(":")[0])
    return (text.removesuffix(port) if match[1] == port and port else text).encode()


class Sharing:
    """The way back of one request in a house that has a list of origins.

    origin: what the answer names as allowed to read it; None: no other page may.
    """

    __slots__ = ("_send", "origin")

    def __init__(self, send: Send, origin: bytes | None) -> None:
        self._send = send
        self.origin = origin

    async def send(self, message: Message) -> None:
        """Send, with what the browser wants to know in the head."""
        if message["type"] == "http.response.start":
            more = [_VARIES]
            if self.origin is not None:
                more.append((b"access-control-allow-origin", self.origin))
                more.append((b"access-control-expose-headers", _SHOWN))
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await self._send(message)


def listed(head: Head, policy: Policy) -> bytes | None:
    """What to name as allowed if the page that asks is on the list; None if it is not, or no page.

    A key may be revoked while the house runs: then ``*`` stands for nothing.
    """
    origin = head.get(b"origin")
    if origin is None or b"origin" in head.doubled:
        return None
    if ANY in policy.origins and policy.ring:
        return ANY
    low = origin.lower()
    # in the letters of the browser, which compares them one by one
    return origin if low != ANY and low in policy.origins else None


def preflight_of(head: Head, scope: Scope) -> str | None:
    """The method that a browser asks about before it sends a page's request, or None."""
    asked = head.get(b"access-control-request-method")
    if scope["method"] != "OPTIONS" or asked is None:
        return None
    return asked.decode("latin-1")


async def say_what_is_allowed(sharing: Sharing, head: Head, method: str) -> None:
    """Answer a browser that asks first: this method, and those of the headers that are known."""
    wanted = head.get(b"access-control-request-headers", b"").lower().split(b",")
    names = [name for one in wanted if _is_taken(name := one.strip())]
    headers = [
        (b"access-control-allow-methods", method.encode("ascii")),
        (b"access-control-max-age", b"%d" % _KEPT_S),
        (b"vary", b"access-control-request-method, access-control-request-headers"),
    ]
    if names:
        headers.append((b"access-control-allow-headers", b", ".join(names)))
    await sharing.send({"type": "http.response.start", "status": 204, "headers": headers})
    await sharing.send({"type": "http.response.body", "body": b""})


_NAME = re.compile(rb"[a-z0-9-]{1,64}")


def _is_taken(name: bytes) -> bool:
    if name in _HEADERS:
        return True
    return name.startswith(_FAMILIES) and _NAME.fullmatch(name) is not None
