"""The locks of the door: hosts, origins, content types, and what never comes out."""

from __future__ import annotations

import json
import logging

import pytest
from tests.contract.door_security_support import LOCKED, Inside
from tests.contract.door_support import (
    ADMIN_KEY,
    CHAT,
    CHAT_PATH,
    USE_KEY,
    ScriptedHouse,
    at_the_door,
    exchanged,
    get,
    post,
    request,
)

from arbiter.gateway.security import (
    Policy,
    Ring,
    binding,
)
from arbiter.gateway.serving import Address

EVERYWHERE = binding("0.0.0.0", names=["box.lan"], ring=Ring((USE_KEY, ADMIN_KEY)))
PATHS = [
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/v1/models",
    "/v1/models/x",
    CHAT_PATH,
    "/control/v1/rollouts",
    "/no",
]

BAD_HOSTS = [
    "evil.com",
    "evil.com:8017",
    "localhost.evil.com",
    "127.0.0.1.nip.io",
    "127.0.0.1.",
    "localhost.",
    "localhost:",
    "localhost:0",
    "localhost:99999",
    "localhost:80:80",
    "localhost@evil.com",
    "localhost, evil.com",
    "http://localhost",
    "x/?",
    "x#",
    "localhost/health?",
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
    "0.0.0.0",
    "[::2]",
    "[::1",
    "[0:0:0:0:0:0:0:1]",
    "löcalhost",
    "",
]


def sent(address: Address, path: str, *, host: str) -> bytes:
    """A request for another host, to any route."""
    if path == CHAT_PATH:
        return request("POST", path, address, body=CHAT, host=host)
    return request("GET", path, address, host=host)


# Hosts


@pytest.mark.security("S-01", "S-02", "S-07")
@pytest.mark.parametrize("policy", [Policy(), LOCKED, EVERYWHERE], ids=["open", "locked", "wide"])
async def test_a_request_for_another_host_is_refused_on_every_route(policy: Policy) -> None:
    house = ScriptedHouse()
    inside = Inside()
    refusals = set()
    async with at_the_door(house, policy, control=inside) as address:
        for path in PATHS:
            for host in BAD_HOSTS:
                data = sent(address, path, host=host)
                refusals.add((await exchanged(address, data)).status)
    assert refusals <= {400, 403}
    assert (house.asks, inside.callers) == ([], [])


@pytest.mark.security("S-01")
async def test_a_host_is_refused_before_the_body_is_read_or_a_key_is_asked_for() -> None:
    async with at_the_door(ScriptedHouse(), LOCKED) as address:
        head = request("POST", CHAT_PATH, address, host="evil.com", headers=["Content-Length: 900"])
        answered = await exchanged(address, head)
    assert (answered.status, "host_not_allowed" in answered.text) == (403, True)


HOST_LINES = [
    "Host: localhost\r\nHost: localhost",
    "Host: localhost\r\nHost: evil.com",
    "Host: evil.com\r\nHost: localhost",
    "X: y",
]


@pytest.mark.security("S-01")
@pytest.mark.parametrize("lines", HOST_LINES)
async def test_a_host_must_be_given_exactly_once(lines: str) -> None:
    async with at_the_door(ScriptedHouse()) as address:
        data = f"GET /v1/models HTTP/1.1\r\n{lines}\r\nConnection: close\r\n\r\n"
        answered = await exchanged(address, data.encode())
    assert answered.status in {400, 403}


TARGETS = ["http://evil.com/v1/models", "http://localhost/v1/models", "//", "evil", "*"]


@pytest.mark.security("S-01")
@pytest.mark.parametrize("target", TARGETS)
async def test_a_target_that_is_no_path_of_this_house_is_refused(target: str) -> None:
    async with at_the_door(ScriptedHouse()) as address:
        answered = await get(address, target)
    assert answered.status in {400, 403, 404}
    assert '"data"' not in answered.text


GOOD_HOSTS = ["localhost", "LOCALHOST:8017", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8017"]


@pytest.mark.security("S-01")
async def test_the_hosts_own_names_are_let_in() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        for host in GOOD_HOSTS:
            answered = await exchanged(address, sent(address, "/v1/models", host=host))
            assert answered.status == 200, host


async def test_a_configured_name_and_the_address_that_was_reached_are_let_in() -> None:
    policy = Policy(hosts=frozenset({"box.lan"}))
    async with at_the_door(ScriptedHouse(), policy) as address:
        for host in ("Box.lan:80", f"127.0.0.1:{address.port}"):
            answered = await exchanged(address, sent(address, "/", host=host))
            assert answered.status == 200, host
        assert (await exchanged(address, sent(address, "/", host="localhost"))).status == 403


# Origins

ORIGINS = [
    "https://evil.example",
    "null",
    "file://",
    "http://localhost.evil",
    "http://localhost:1",
    "http://127.0.0.1",
    "https://127.0.0.1:{port}",
    "http://127.0.0.1:{port}, http://x",
    "http://127.0.0.1:{port}\r\nOrigin: http://evil.example",
    "",
]


@pytest.mark.security("S-03")
@pytest.mark.parametrize("origin", ORIGINS)
async def test_another_sites_page_may_change_nothing_and_read_nothing(origin: str) -> None:
    house, inside = ScriptedHouse(), Inside()
    async with at_the_door(house, control=inside) as address:
        line = "Origin: " + origin.format(port=address.port)
        plain = await post(address, headers=[line, "Content-Type: text/plain"])
        typed = await post(address, headers=[line])
        control = await post(address, b"{}", [line], path="/control/v1/rollouts")
        read = await get(address, "/v1/models", [line])
    assert [plain.status, typed.status, control.status] == [403, 403, 403]
    assert read.status == (400 if "Origin" in origin else 200)
    assert (house.asks, inside.callers) == ([], [])
    for answered in (plain, typed, control, read):
        assert not [name for name in answered.headers if name.startswith("access-control")]


async def test_the_houses_own_pages_may_change_things() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        answered = await post(address, headers=[f"Origin: http://127.0.0.1:{address.port}"])
    assert answered.status == 200


MEDIA = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]


@pytest.mark.security("S-04")
@pytest.mark.parametrize("media", MEDIA)
async def test_only_json_is_taken(media: str) -> None:
    async with at_the_door(house := ScriptedHouse(), control=(inside := Inside())) as address:
        chat = await post(address, headers=[f"Content-Type: {media}"])
        empty = await post(address, b"", [f"Content-Type: {media}"], path="/control/v1/x")
    assert (chat.status, empty.status) == (415, 415)
    assert "Send the header Content-Type: application/json." in chat.text
    assert (house.asks, inside.callers) == ([], [])


@pytest.mark.security("S-04")
async def test_json_with_a_charset_is_taken_and_compressed_json_is_not() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        charset = await post(address, headers=["Content-Type: Application/JSON; charset=utf-8"])
        packed = await post(address, headers=["Content-Encoding: gzip"])
    assert (charset.status, packed.status) == (200, 415)


# Nothing comes out


@pytest.mark.security("S-30")
@pytest.mark.parametrize("path", ["/control/v1/fails", "/control/v1/breaks"])
async def test_a_failure_inside_says_nothing_outside(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        async with at_the_door(ScriptedHouse(), control=Inside()) as address:
            answered = await get(address, path)
    assert "secret" not in answered.text
    assert "secret" in caplog.text


@pytest.mark.security("S-30")
async def test_an_unexpected_failure_is_a_fixed_sentence_and_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    house = ScriptedHouse(fails_at=-1, failure=RuntimeError("at 0x7f00 in /home/you/x.py"))
    async with at_the_door(house) as address:
        answered = await post(address)
    assert answered.status == 500
    assert json.loads(answered.body)["error"]["message"] == (
        "Something went wrong in the house; its log says what."
    )
    assert "/home/you/x.py" in caplog.text


async def test_the_server_does_not_say_what_it_is() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        assert "server" not in (await get(address, "/")).headers
