"""What holds at every address of the door, whoever wrote it: read from the tables themselves.

A new route is in these tests as soon as it is in the table, or in the control application.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send
from tests.contract.door_support import ADMIN_KEY, USE_KEY, ScriptedHouse, rooms
from tests.docs.control import control, openapi

from arbiter.gateway.routes import ROUTES, Table, door
from arbiter.gateway.security import Access, Key, Policy, Ring, binding, hashed

FEEDBACK_KEY = Key(id="k-judge", digest=hashed("sk-judge"), access=Access.FEEDBACK)
KEYS = Ring((USE_KEY, ADMIN_KEY, FEEDBACK_KEY))
LOCKED = Policy(ring=KEYS)
EVERYWHERE = binding("0.0.0.0", ring=KEYS)
TABLE = Table(ROUTES)


def filled(path: str) -> str:
    """An address that a pattern fits."""
    return re.sub(r"\{\w+(:path)?\}", "x", path)


def of_control() -> Iterator[tuple[str, str]]:
    """Whatever the control application answers to, its own description included."""
    for path, methods in openapi()["paths"].items():
        for method in methods:
            yield method.upper(), f"/control{filled(path)}"
    for route in control().routes:
        if isinstance(route, Route):
            for method in route.methods or ():
                yield method, f"/control{filled(route.path)}"


def addresses() -> list[tuple[str, str]]:
    """Every method and address that leads anywhere."""
    own = {(method, filled(route.path)) for route in ROUTES for method in route.methods}
    return sorted(own | set(of_control()))


def access(method: str, path: str) -> Access:
    """What it asks of its caller."""
    return TABLE.find(path, method).access


class Inside:
    """What stands behind the door: nobody may come here who was not let in."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        self.asked.append(scope["path"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


class Knock:
    """One request handed to the door, without a socket; its body may not be touched."""

    def __init__(self, policy: Policy) -> None:
        self.house = ScriptedHouse()
        self.inside = Inside()
        self._app = door(rooms(self.house, control=self.inside), policy)

    async def __call__(self, method: str, path: str, *headers: tuple[bytes, bytes]) -> int:
        """The status that it is answered with."""
        statuses: list[int] = []

        async def receive() -> Message:
            raise AssertionError("the body was read")

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        scope = {
            "type": "http", "method": method, "path": path, "scheme": "http", "query_string": b"",
            "headers": [*headers], "client": ("127.0.0.1", 4000), "server": ("127.0.0.1", 8017),
        }  # fmt: skip
        await self._app(scope, receive, send)
        return statuses[0]

    @property
    def is_untouched(self) -> bool:
        """Whether nobody came in."""
        return not self.house.asks and not self.inside.asked


HOST = (b"host", b"localhost")
ADMIN = (b"authorization", b"Bearer sk-admin")


@pytest.mark.security("S-01", "S-02", "S-07")
@pytest.mark.parametrize("policy", [Policy(), LOCKED, EVERYWHERE], ids=["open", "locked", "wide"])
async def test_no_address_answers_under_another_name(policy: Policy) -> None:
    knock = Knock(policy)
    hosts = [
        b"evil.com",
        b"localhost.evil.com",
        b"127.0.0.1.nip.io",
        b"x/?",
        b"x#",
        b"localhost.",
        b"",
    ]
    for method, path in addresses():
        for host in hosts:
            status = await knock(method, path, (b"host", host), ADMIN)
            assert status == 403, (method, path, host)
    assert knock.is_untouched


@pytest.mark.security("S-03")
async def test_no_address_that_changes_anything_takes_another_sites_word() -> None:
    knock = Knock(Policy())
    for method, path in addresses():
        if method in {"GET", "HEAD"}:
            continue
        for origin in (b"https://evil.example", b"null", b"file://", b"http://localhost:1"):
            told = (b"origin", origin), (b"content-type", b"text/plain")
            assert await knock(method, path, HOST, *told) == 403, (method, path)
    assert knock.is_untouched


@pytest.mark.security("S-04")
async def test_no_address_takes_a_body_that_a_form_could_send() -> None:
    knock = Knock(Policy())
    forms = (b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data", b"")
    for method, path in addresses():
        if method in {"GET", "HEAD"}:
            continue
        for form in forms:
            told = (b"content-type", form), (b"content-length", b"2")
            assert await knock(method, path, HOST, *told) == 415, (method, path, form)
    assert knock.is_untouched


@pytest.mark.security("S-08")
async def test_without_a_key_only_what_is_declared_public_answers() -> None:
    knock = Knock(LOCKED)
    let_in = {path for method, path in addresses() if await knock(method, path, HOST) != 401}
    assert let_in == {"/", "/healthz", "/readyz"}
    assert knock.is_untouched


@pytest.mark.security("S-08", "S-32")
@pytest.mark.parametrize("carrier", [(b"x-api-key", b""), (b"authorization", b"Bearer ")])
async def test_every_address_refuses_a_key_that_does_not_reach_so_far(
    carrier: tuple[bytes, bytes],
) -> None:
    knock = Knock(LOCKED)
    header, before = carrier
    for method, path in addresses():
        needed = access(method, path)
        for key in (USE_KEY, FEEDBACK_KEY):
            if needed in key.access:
                continue
            secret = b"sk-use" if key is USE_KEY else b"sk-judge"
            status = await knock(method, path, HOST, (header, before + secret))
            assert status == 403, (method, path, key.id)
    assert knock.is_untouched


@pytest.mark.security("S-08", "S-13", "S-26")
def test_all_of_the_control_api_but_feedback_and_receipts_takes_an_admin_key() -> None:
    weaker = {(m, path): access(m, path) for m, path in of_control()}
    assert {one: needed for one, needed in weaker.items() if needed is not Access.ADMIN} == {
        ("POST", "/control/v1/decisions/x/feedback"): Access.FEEDBACK,
        ("GET", "/control/v1/decisions/x/receipt"): Access.USE,  # of the key's own answers
    }


def test_the_description_of_the_control_api_is_behind_the_door_too() -> None:
    assert ("GET", "/control/v1/openapi.json") in addresses()
    assert access("GET", "/control/v1/openapi.json") is Access.ADMIN
    assert ("GET", "/control/v1/docs") in addresses()
    assert access("GET", "/control/v1/docs") is Access.ADMIN
    assert access("GET", "/metrics") is Access.USE
