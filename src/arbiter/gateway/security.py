"""Who may come in: hosts, origins, keys, and the bounds of a request's head.

Everything here is a check on headers and addresses that raises when something is wrong; nothing
reads a body or knows a route. The order in which `arbiter.gateway.routes` asks is the order of
this file.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Flag
from functools import lru_cache
from ipaddress import ip_address

from starlette.types import Scope

from arbiter.errors import (
    BadRequest,
    ConfigError,
    Forbidden,
    HeadersTooLarge,
    HostNotAllowed,
    OriginNotAllowed,
    TooLarge,
    Unauthorized,
    UnsupportedMedia,
)
from arbiter.gateway.limits import Allowance

MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 1024

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

# Listening there is fine, being called so is not: browsers take 0.0.0.0 for this machine and do
# not count it as a private address.
_ANYWHERE = frozenset({"0.0.0.0", "[::]", ""})  # noqa: S104  # nothing is bound here
_LOOPBACK = frozenset({"127.0.0.1", "::1"})
_HOST = re.compile(rb"(\[[0-9a-f:.]{2,45}\]|[0-9a-z._-]{1,253})(?::([0-9]{1,5}))?")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_TYPED = frozenset({"POST", "PUT", "PATCH"})
# Two of any of these would let two readers of one request disagree about it.
_SINGLE = frozenset(
    {b"authorization", b"x-api-key", b"content-length", b"content-type", b"content-encoding"}
    | {b"transfer-encoding", b"origin"}
)


class Access(Flag):
    """What a route asks of its caller, and what a key gives. Who may change things may do all."""

    PUBLIC = 0
    USE = 1
    FEEDBACK = 2
    ADMIN = 4 | USE | FEEDBACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sent a request. The id of a key is a name, never the key. allowance: None: no bounds."""

    id: str
    access: Access
    allowance: Allowance | None = None


NOBODY = Caller(id="anybody", access=Access.PUBLIC)
LOCAL = Caller(id="local", access=Access.ADMIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key as it is kept: the SHA-256 of the secret, never the secret."""

    id: str
    digest: bytes
    access: Access = Access.USE | Access.FEEDBACK
    allowance: Allowance | None = None


class Ring:
    """The keys that open the door now. One writer adds and drops while the door looks into it."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._keys = {key.digest: key for key in keys}
        self.owner: Key | None = None
        """A key of this run, for whoever may read the data directory."""

    def __bool__(self) -> bool:
        """Whether anybody needs a key. The owner's asks it of nobody."""
        return bool(self._keys)

    def find(self, digest: bytes) -> Key | None:
        """The key with this digest.

        What a lookup's time could tell is of a hash, of which nobody can choose the beginning.
        """
        found = self._keys.get(digest, self.owner)
        return found if found is not None and hmac.compare_digest(found.digest, digest) else None

    def add(self, key: Key) -> None:
        """Let a key open the door."""
        self._keys[key.digest] = key

    def drop(self, digest: bytes) -> None:
        """Let it open nothing any more."""
        self._keys.pop(digest, None)


def hashed(secret: str) -> bytes:
    """What is kept of a secret.

    >>> hashed("example").hex()[:12]
    '50d858e0985e'
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the door insists on. `binding` makes one.

    hosts: the names and literal addresses that a Host header may carry, in lower case, an IPv6
        address in brackets; the address that a connection arrived at is allowed as well.
    origins: of pages that may use the house beside its own (`arbiter.gateway.origins`).
    """

    hosts: frozenset[str] = LOOPBACK_NAMES
    origins: frozenset[bytes] = frozenset()
    ring: Ring = field(default_factory=Ring)
    is_loopback: bool = True
    max_body_bytes: int = 8 * 1024 * 1024
    body_deadline_s: float = 30.0


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host in _LOOPBACK or host.lower() == "localhost":
        return True  # nearly every request of a house on one's own machine
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def binding(host: str, *, names: Iterable[str] = (), ring: Ring | None = None) -> Policy:
    """The policy for listening at this address.

    Raises `ConfigError` for an address that others can reach when there is no key.
    """
    ring = ring if ring is not None else Ring()
    local = is_loopback(host)
    if not local and not ring:
        raise ConfigError(
            f"{host} can be reached from other machines, and there is no key.",
            hint="Make one: `arbiter keys add NAME`. Or listen at 127.0.0.1.",
            param="host",
        )
    bound = f"[{host.strip('[]')}]" if ":" in host else host
    hosts = LOOPBACK_NAMES | {name.lower() for name in (bound, *names)} - _ANYWHERE
    return Policy(hosts=hosts, ring=ring, is_loopback=local)


class Head(dict[bytes, bytes]):
    """The headers by their lower-case names, and which of them were given twice."""

    __slots__ = ("doubled",)

    doubled: set[bytes]


def read_head(scope: Scope) -> Head:
    """The headers of a request. Raises `HeadersTooLarge` when they pass the bounds."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    head = Head()
    head.doubled = set()
    size = 0
    for name, value in headers:
        size += len(name) + len(value)
        if name in head:
            head.doubled.add(name)
        head[name] = value
    if len(headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise HeadersTooLarge(
            hint=f"At most {MAX_HEADERS} headers, {MAX_HEADER_BYTES} bytes together."
        )
    return head


def check_host(head: Head, scope: Scope, policy: Policy) -> None:
    """Refuse a request for another name: the defence against DNS rebinding.

    It holds on every route and whatever the door is bound to; a page whose name was pointed at
    this machine sends its own name here.
    """
    name = _named(head.get(b"host", b""))
    # An absolute-form target names a host of its own, which would override this header.
    if name is None or b"host" in head.doubled or not scope["path"].startswith("/"):
        raise HostNotAllowed
    if name not in policy.hosts and name != _arrived_at(scope):
        raise HostNotAllowed(
            hint="Ask for it by its address, or put the name into the setting door.allowed_hosts."
        )


@lru_cache(maxsize=64)
def _named(host: bytes) -> str | None:
    """The host that a header names, in lower case and without its port; None: that is none.

    Kept, because a client says the same at every request.
    """
    match = _HOST.fullmatch(host.lower())
    if match is None or (match[2] is not None and not 0 < int(match[2]) < 65536):
        return None
    return match[1].decode()


def _arrived_at(scope: Scope) -> str | None:
    server: tuple[str, int | None] | None = scope.get("server")
    if server is None or server[1] is None:
        return None  # a unix socket has a path here, and no Host header is a path
    address = server[0].removeprefix("::ffff:")  # how a socket for both kinds writes an IPv4 one
    return f"[{address}]" if ":" in address else address


def check_origin(head: Head, scope: Scope, *, is_listed: bool = False) -> None:
    """Refuse what another site's page wants to change, unless it is listed.

    Reading needs no check: no reply allows another origin to see it that is not listed.
    """
    if scope["method"] in _SAFE or b"origin" not in head or is_listed:
        return
    if is_foreign(head, scope):
        said = head[b"origin"].decode("latin-1")
        raise OriginNotAllowed(
            f"Requests from the web origin {said!r:.120} are not allowed.",
            hint="A page of another address may not; the server that it comes from may. The "
            "setting door.allowed_origins lists pages that may.",
        )


def is_foreign(head: Head, scope: Scope) -> bool:
    """Whether a page of another address asks, and not one of the house's own."""
    if b"origin" not in head:
        return False
    own = f"{scope.get('scheme', 'http')}://".encode() + head[b"host"].lower()
    return b"origin" in head.doubled or head[b"origin"].lower() != own


def identify(head: Head, scope: Scope, policy: Policy) -> Caller:
    """Who is calling, by whichever header carries the key. Raises `Unauthorized`."""
    if not policy.ring:
        client: tuple[str, int] | None = scope.get("client")
        if is_loopback(client[0]) if client else policy.is_loopback:
            return LOCAL
        raise Unauthorized("Only this machine may come in without a key.")
    carried = {value.strip() for value in (_bearer(head), head.get(b"x-api-key")) if value}
    if len(carried) != 1 or not head.doubled.isdisjoint({b"authorization", b"x-api-key"}):
        raise Unauthorized(hint="Send it as `Authorization: Bearer KEY`.")
    found = policy.ring.find(hashlib.sha256(carried.pop()).digest())
    if found is None:
        raise Unauthorized(
            hint="The one that was sent is not known: `arbiter keys add NAME` makes one."
        )
    return Caller(id=found.id, access=found.access, allowance=found.allowance)


def _bearer(head: Head) -> bytes | None:
    scheme, _, token = head.get(b"authorization", b"").partition(b" ")
    return token if scheme.lower() == b"bearer" else None


def admit(caller: Caller, access: Access) -> None:
    """Refuse a caller whose key does not reach this far."""
    if access not in caller.access:
        # what is lacking has no name of its own where the rest of a scope is there
        needed = (access.name or "more").lower()
        raise Forbidden(
            "This key may not do that.", hint=f"It takes a key with the scope {needed}."
        )


def caller_of(scope: Scope) -> Caller:
    """The caller that the door let in; for the application mounted behind it."""
    caller: Caller = scope.get("arbiter.caller", NOBODY)
    return caller


def check_body_head(head: Head, scope: Scope, policy: Policy) -> bool:
    """Whether a body follows; refuse one that is not JSON, is compressed or is too large.

    A page can send a form or plain text anywhere without asking first, but not JSON.
    """
    if not head.doubled.isdisjoint(_SINGLE):
        raise BadRequest("A header is given twice.")
    length = head.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > 18:
        raise BadRequest("Content-Length is not a number.")
    has_body = b"transfer-encoding" in head or int(length) > 0
    method = scope["method"]
    if has_body and method in _SAFE:
        raise BadRequest(f"{method} takes no body.")
    if int(length) > policy.max_body_bytes:
        raise TooLarge(hint=f"At most {policy.max_body_bytes} bytes.")
    if has_body or method in _TYPED:
        media = head.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if media != b"application/json":
            raise UnsupportedMedia(hint="Send the header Content-Type: application/json.")
        if head.get(b"content-encoding", b"identity").lower() != b"identity":
            raise UnsupportedMedia("A compressed body is not accepted here.")
    return has_body
