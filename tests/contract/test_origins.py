"""Pages of other addresses: none gets in but those that are listed, and those not everywhere."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.contract.door_security_support import LOCKED, Inside
from tests.contract.door_support import (
    ADMIN_KEY,
    CHAT,
    CHAT_PATH,
    STREAMED_CHAT,
    Answered,
    ScriptedHouse,
    at_the_door,
    exchanged,
    get,
    post,
    request,
)

from arbiter.errors import Busy, ConfigError
from arbiter.gateway.origins import read_origins
from arbiter.gateway.security import Policy, Ring
from arbiter.gateway.serving import Address

PAGE = "http://localhost:3000"
OPEN = Policy(origins=read_origins([PAGE], has_keys=False))
ANYBODY = replace(LOCKED, origins=read_origins(["*"], has_keys=True))
STRANGERS = [
    "https://evil.example",
    "null",
    "file://",
    "http://localhost.evil",
    "http://localhost",
    "http://localhost:30000",
    "https://localhost:3000",
    "http://localhost:3000.evil.example",
    "http://localhost:3000/",
    "*",
    "",
]
FEEDBACK = "/control/v1/decisions/dec_1/feedback"
ALLOWED = "access-control-allow-origin"


async def asked_first(
    address: Address,
    path: str = CHAT_PATH,
    *,
    origin: str = PAGE,
    method: str = "POST",
    headers: str = "authorization,content-type",
    host: str | None = None,
) -> Answered:
    """What a browser asks before it sends a page's request."""
    lines = [
        f"Origin: {origin}",
        f"Access-Control-Request-Method: {method}",
        f"Access-Control-Request-Headers: {headers}",
    ]
    return await exchanged(address, request("OPTIONS", path, address, headers=lines, host=host))


async def test_a_listed_page_is_told_what_it_may_send_and_reads_the_answer() -> None:
    house = ScriptedHouse()
    async with at_the_door(house, OPEN) as address:
        first = await asked_first(address)
        answers = [
            await post(address, body, headers=[f"Origin: {PAGE}"]) for body in (CHAT, STREAMED_CHAT)
        ]
        listed = await get(address, "/v1/models", [f"Origin: {PAGE}"])
    assert (first.status, first.body) == (204, b"")
    assert first.headers["access-control-allow-methods"] == "POST"
    assert first.headers["access-control-allow-headers"] == "authorization, content-type"
    assert first.headers["access-control-max-age"] == "600"
    for one in (first, *answers, listed):
        assert one.headers[ALLOWED] == PAGE
        assert "access-control-allow-credentials" not in one.headers
    for one in (*answers, listed):
        assert one.status == 200
        assert one.headers["vary"] == "origin"
        shown = one.headers["access-control-expose-headers"].split(", ")
        assert {"x-request-id", "x-arbiter-decision", "x-arbiter-receipt"} <= set(shown)
    assert len(house.asks) == 2


async def test_every_header_that_an_answer_may_have_is_shown_to_a_page() -> None:
    async with at_the_door(ScriptedHouse(tally="wall_ms=4.0"), OPEN) as address:
        answer = await post(address, headers=[f"Origin: {PAGE}"])
    ours = {name for name in answer.headers if name.startswith("x-")}
    assert ours <= set(answer.headers["access-control-expose-headers"].split(", "))


async def test_a_page_reads_what_went_wrong() -> None:
    async with at_the_door(ScriptedHouse(fails_at=-1, failure=Busy()), OPEN) as address:
        failed = await post(address, headers=[f"Origin: {PAGE}"])
        refused = await post(address, b"{", headers=[f"Origin: {PAGE}"])
        missing = await get(address, "/v1/nothing", [f"Origin: {PAGE}"])
    assert [one.status for one in (failed, refused, missing)] == [429, 400, 404]
    assert {one.headers[ALLOWED] for one in (failed, refused, missing)} == {PAGE}


@pytest.mark.security("S-03")
@pytest.mark.parametrize("origin", STRANGERS)
@pytest.mark.parametrize("policy", [Policy(), OPEN, LOCKED], ids=["none", "listed", "keys"])
async def test_another_page_changes_nothing_and_reads_nothing(policy: Policy, origin: str) -> None:
    house, inside = ScriptedHouse(), Inside()
    async with at_the_door(house, policy, control=inside) as address:
        first = await asked_first(address, origin=origin)
        sent = await post(address, headers=[f"Origin: {origin}", "Authorization: Bearer sk-admin"])
        read = await get(address, "/v1/models", [f"Origin: {origin}"])
    assert first.status == 405
    assert sent.status == 403
    assert f"the web origin {origin!r} " in json.loads(sent.body)["error"]["message"]
    assert all(ALLOWED not in one.headers for one in (first, sent, read))
    assert (house.asks, inside.callers) == ([], [])


@pytest.mark.security("S-03")
async def test_an_origin_that_is_given_twice_is_nobodys() -> None:
    async with at_the_door(ScriptedHouse(), OPEN) as address:
        answer = await post(address, headers=[f"Origin: {PAGE}", "Origin: http://evil.example"])
    assert (answer.status, ALLOWED in answer.headers) == (403, False)


@pytest.mark.security("S-01", "S-03")
async def test_a_page_whose_name_was_pointed_here_is_refused_though_it_is_listed() -> None:
    policy = Policy(origins=read_origins(["http://evil.example"], has_keys=False))
    async with at_the_door(ScriptedHouse(), policy) as address:
        first = await asked_first(address, origin="http://evil.example", host="evil.example")
        data = request(
            "POST",
            CHAT_PATH,
            address,
            body=CHAT,
            host="evil.example",
            headers=["Origin: http://evil.example"],
        )
        sent = await exchanged(address, data)
    assert [first.status, sent.status] == [403, 403]
    assert [ALLOWED in one.headers for one in (first, sent)] == [False, False]


ADMIN_PATHS = ["/control/v1/rollouts", "/control/v1/keys", "/api/pull"]


@pytest.mark.security("S-03")
@pytest.mark.parametrize("path", ADMIN_PATHS)
async def test_without_keys_a_listed_page_may_not_do_what_an_administrator_may(path: str) -> None:
    inside = Inside()
    async with at_the_door(ScriptedHouse(), OPEN, control=inside) as address:
        first = await asked_first(address, path)
        sent = await post(address, b"{}", headers=[f"Origin: {PAGE}"], path=path)
        read = await get(address, path, [f"Origin: {PAGE}"])
    assert [first.status, sent.status] == [403, 403]
    assert "the house must have keys" in sent.text
    assert all(ALLOWED not in one.headers for one in (first, sent))
    assert read.status == 405 or ALLOWED not in read.headers
    assert all(not body for body in inside.bodies)


@pytest.mark.security("S-03")
@pytest.mark.parametrize("path", ADMIN_PATHS[:2])
async def test_with_an_admin_key_a_listed_page_may(path: str) -> None:
    inside = Inside()
    policy = replace(LOCKED, origins=OPEN.origins)
    page = f"Origin: {PAGE}"
    async with at_the_door(ScriptedHouse(), policy, control=inside) as address:
        assert (await asked_first(address, path)).status == 204
        admin = await post(address, b"{}", [page, "Authorization: Bearer sk-admin"], path)
        user = await post(address, b"{}", [page, "Authorization: Bearer sk-use"], path)
        nobody = await post(address, b"{}", [page], path)
    assert [one.status for one in (admin, user, nobody)] == [200, 403, 401]
    assert {one.headers[ALLOWED] for one in (admin, user, nobody)} == {PAGE}
    assert [caller.id for caller in inside.callers] == [ADMIN_KEY.id]


async def test_a_listed_page_may_judge_an_answer_without_a_key() -> None:
    inside = Inside()
    async with at_the_door(ScriptedHouse(), OPEN, control=inside) as address:
        assert (await asked_first(address, FEEDBACK)).status == 204
        judged = await post(address, b"{}", [f"Origin: {PAGE}"], FEEDBACK)
    assert (judged.status, judged.headers[ALLOWED]) == (200, PAGE)


async def test_the_houses_own_page_is_no_stranger() -> None:
    inside = Inside()
    async with at_the_door(ScriptedHouse(), OPEN, control=inside) as address:
        own = f"Origin: http://127.0.0.1:{address.port}"
        assert (await post(address, b"{}", [own], "/control/v1/rollouts")).status == 200


async def test_every_page_gets_in_with_a_key_where_the_setting_says_so() -> None:
    async with at_the_door(ScriptedHouse(), ANYBODY) as address:
        page = "Origin: https://anywhere.example"
        first = await asked_first(address, origin="https://anywhere.example")
        with_key = await post(address, headers=[page, "Authorization: Bearer sk-use"])
        without = await post(address, headers=[page])
    assert [one.status for one in (first, with_key, without)] == [204, 200, 401]
    assert {one.headers[ALLOWED] for one in (first, with_key, without)} == {"*"}


@pytest.mark.security("S-03")
async def test_every_page_is_none_once_the_last_key_is_gone() -> None:
    ring = Ring((ADMIN_KEY,))
    policy = Policy(ring=ring, origins=read_origins(["*"], has_keys=True))
    ring.drop(ADMIN_KEY.digest)
    async with at_the_door(ScriptedHouse(), policy) as address:
        sent = await post(address, headers=["Origin: https://evil.example"])
    assert (sent.status, ALLOWED in sent.headers) == (403, False)


@pytest.mark.security("S-03")
async def test_a_page_may_not_be_told_of_headers_that_mean_nothing_here() -> None:
    wanted = "X-Api-Key, x-stainless-lang, anthropic-version,x-arbiter-task, cookie, x-arbiter-\xe9"
    async with at_the_door(ScriptedHouse(), OPEN) as address:
        first = await asked_first(address, headers=wanted)
        none = await asked_first(address, headers="cookie")
    assert first.headers["access-control-allow-headers"] == (
        "x-api-key, x-stainless-lang, anthropic-version, x-arbiter-task"
    )
    assert "access-control-allow-headers" not in none.headers


async def test_what_ollamas_own_client_sets_in_a_browser_is_allowed() -> None:
    # https://github.com/ollama/ollama-js src/utils.ts: fetchWithHeaders
    wanted = "accept,content-type,user-agent"
    async with at_the_door(ScriptedHouse(), OPEN) as address:
        told = await asked_first(address, headers=wanted)
    assert told.headers["access-control-allow-headers"] == "accept, content-type, user-agent"


async def test_a_method_that_an_address_does_not_take_is_not_promised() -> None:
    async with at_the_door(ScriptedHouse(), OPEN) as address:
        assert (await asked_first(address, method="DELETE")).status == 405
        assert (await asked_first(address, "/v1/nothing")).status == 404
        assert (await asked_first(address, method="X\xff")).status == 405


async def test_answers_to_no_page_say_only_that_they_vary() -> None:
    async with at_the_door(ScriptedHouse(), OPEN) as address:
        listed = await get(address, "/v1/models")
        plain = await exchanged(address, request("OPTIONS", "/v1/models", address))
    assert (listed.headers["vary"], ALLOWED in listed.headers) == ("origin", False)
    assert plain.status == 405


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("https://Chat.Example:443", b"https://chat.example"),
        ("http://box.lan:80", b"http://box.lan"),
        ("http://[::1]:3000", b"http://[::1]:3000"),
        ("chrome-extension://abcdef", b"chrome-extension://abcdef"),
        ("tauri://localhost", b"tauri://localhost"),
    ],
)
def test_an_origin_is_kept_as_a_browser_writes_it(said: str, kept: bytes) -> None:
    assert read_origins([said], has_keys=False) == {kept}


@pytest.mark.security("S-03")
@pytest.mark.parametrize(
    "said",
    [
        "localhost:3000",
        "http://a/",
        "http://*.example",
        "null",
        "file://",
        "http://",
        "",
        "a b://c",
    ],
)
def test_what_is_no_origin_is_refused_with_what_to_write(said: str) -> None:
    with pytest.raises(ConfigError, match="scheme://host:port") as raised:
        read_origins([said], has_keys=True)
    assert raised.value.param == "door.allowed_origins"


@pytest.mark.security("S-03")
def test_every_page_is_refused_where_there_is_no_key() -> None:
    with pytest.raises(ConfigError, match="arbiter keys add NAME"):
        read_origins(["*"], has_keys=False)
