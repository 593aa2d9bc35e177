"""Who gets through the door, and what may never come out of it."""

from __future__ import annotations

import asyncio
import json
import logging
import socket

import pytest
from starlette.types import Message, Receive, Scope, Send
from tests.contract.door_support import (
    ADMIN_KEY,
    CHAT,
    CHAT_PATH,
    USE_KEY,
    Answered,
    ScriptedHouse,
    at_the_door,
    exchanged,
    get,
    parsed,
    post,
    request,
    rooms,
)

from arbiter.errors import ConfigError, Forbidden, HostNotAllowed
from arbiter.gateway.routes import ROUTES, Route, door
from arbiter.gateway.security import (
    LOOPBACK_NAMES,
    Access,
    Caller,
    Policy,
    Ring,
    admit,
    binding,
    caller_of,
    check_host,
    identify,
    read_head,
)
from arbiter.gateway.serving import Address, Patience, serving

LOCKED = Policy(ring=Ring((USE_KEY, ADMIN_KEY)))
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


class Inside:
    """An application behind the door that notes who came, and what they brought."""

    def __init__(self) -> None:
        self.callers: list[Caller] = []
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.callers.append(caller_of(scope))
        self.bodies.append((await receive())["body"])
        if scope["path"].endswith("/fails"):
            raise RuntimeError("/secret/path")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"].endswith("/breaks"):
            raise RuntimeError("/secret/path")
        text = f"{scope['root_path']} {scope['path']}".encode()
        await send({"type": "http.response.body", "body": text})


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


# Keys


CREDENTIALS = [
    ([], 401),
    (["Authorization: Bearer wrong"], 401),
    (["Authorization: Basic sk-use"], 401),
    (["Authorization: Bearer"], 401),
    (["x-api-key: "], 401),
    (["x-api-key: sk-use "], 200),
    (["Authorization: Bearer sk-use"], 200),
    (["authorization: bearer sk-use"], 200),
    (["Authorization: Bearer sk-admin"], 200),
    (["Authorization: Bearer sk-use", "x-api-key: sk-use"], 200),
    (["Authorization: Bearer sk-use", "x-api-key: sk-admin"], 401),
    (["Authorization: Bearer sk-use", "Authorization: Bearer sk-use"], 401),
]


@pytest.mark.security("S-32")
@pytest.mark.parametrize(("headers", "status"), CREDENTIALS)
async def test_a_key_is_asked_for_however_it_is_carried(headers: list[str], status: int) -> None:
    async with at_the_door(ScriptedHouse(), LOCKED) as address:
        answered = await post(address, headers=headers)
    assert answered.status == status
    assert ("www-authenticate" in answered.headers) == (status == 401)


@pytest.mark.security("S-32")
@pytest.mark.parametrize("carrier", ["Authorization: Bearer {}", "x-api-key: {}"])
async def test_a_key_for_use_does_not_administer_by_any_carrier(carrier: str) -> None:
    inside = Inside()
    async with at_the_door(ScriptedHouse(), LOCKED, control=inside) as address:
        use = await get(address, "/control/v1/rollouts", [carrier.format("sk-use")])
        admin = await get(address, "/control/v1/rollouts", [carrier.format("sk-admin")])
    assert (use.status, admin.status) == (403, 200)
    assert inside.callers == [Caller(id="k-admin", access=Access.ADMIN)]


@pytest.mark.parametrize(
    ("has", "needs", "told"),
    [
        (Access.USE | Access.FEEDBACK, Access.ADMIN, "the scope admin."),
        (Access.USE, Access.ADMIN, "the scope admin."),
        (Access.USE, Access.FEEDBACK, "the scope feedback."),
        (Access.FEEDBACK, Access.USE, "the scope use."),
    ],
)
def test_a_key_that_does_not_reach_is_told_which_scope_does(
    has: Access, needs: Access, told: str
) -> None:
    with pytest.raises(Forbidden) as refused:
        admit(Caller(id="k", access=has), needs)
    assert refused.value.sentence.endswith(told)


async def test_a_key_for_use_may_give_feedback_and_control_learns_whose_it_is() -> None:
    inside = Inside()
    path = "/control/v1/decisions/dec_1/feedback"
    key = ["x-api-key: sk-use"]
    async with at_the_door(ScriptedHouse(), LOCKED, control=inside) as address:
        answered = await post(address, b'{"score":1}', key, path=path)
        deeper = await post(address, b"{}", key, path="/control/v1/decisions/a/b/feedback")
    assert (answered.text, deeper.status) == (f"/control {path}", 403)
    assert inside.callers == [Caller(id="k-use", access=Access.USE | Access.FEEDBACK)]
    assert inside.bodies == [b'{"score":1}']


async def test_what_is_public_needs_no_key() -> None:
    async with at_the_door(ScriptedHouse(), LOCKED) as address:
        assert (await get(address, "/healthz")).status == 200
        assert (await get(address, "/")).status == 200


async def test_the_house_learns_the_name_of_the_key_and_never_the_key() -> None:
    house = ScriptedHouse()
    async with at_the_door(house, LOCKED) as address:
        await post(address, headers=["x-api-key: sk-use"])
    assert house.asks[0].caller == "k-use"
    assert "sk-use" not in repr(house.asks)


def test_without_a_key_only_this_machine_is_let_in() -> None:
    scope = {"type": "http", "headers": [], "client": ("192.168.1.7", 4000)}
    with pytest.raises(Exception, match="Only this machine"):
        identify(read_head(scope), scope, Policy(is_loopback=False))
    scope["client"] = ("::1", 4000)
    assert identify(read_head(scope), scope, Policy()).access is Access.ADMIN


@pytest.mark.security("S-09")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "box.lan", "127.0.0.1.nip.io"])
def test_an_address_that_others_reach_needs_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match=r"there is no key.*listen at 127\.0\.0\.1"):
        binding(host)
    assert not binding(host, ring=Ring((USE_KEY,))).is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1", "LocalHost"])
def test_an_address_of_this_machine_alone_needs_none(host: str) -> None:
    assert binding(host).hosts >= LOOPBACK_NAMES


# Routes


@pytest.mark.security("S-08")
def test_every_route_declares_what_it_asks_of_its_caller() -> None:
    declared = {(route.path, route.access) for route in ROUTES}
    assert declared == {
        ("/", Access.PUBLIC),
        ("/healthz", Access.PUBLIC),
        ("/readyz", Access.PUBLIC),
        ("/metrics", Access.USE),
        ("/v1/models", Access.USE),
        ("/v1/models/{id:path}", Access.USE),
        (CHAT_PATH, Access.USE),
        ("/v1/completions", Access.USE),
        ("/v1/embeddings", Access.USE),
        ("/v1/responses", Access.USE),
        ("/v1/messages", Access.USE),
        ("/v1/messages/count_tokens", Access.USE),
        ("/api/version", Access.USE),
        ("/api/tags", Access.USE),
        ("/api/ps", Access.USE),
        ("/api/show", Access.USE),
        ("/api/generate", Access.USE),
        ("/api/chat", Access.USE),
        ("/api/embed", Access.USE),
        ("/api/embeddings", Access.USE),
        ("/api/pull", Access.ADMIN),
        ("/api/delete", Access.ADMIN),
        ("/api/create", Access.USE),
        ("/api/copy", Access.USE),
        ("/api/push", Access.USE),
        ("/api/blobs/{digest}", Access.USE),
        ("/control/v1/decisions/{id}/feedback", Access.FEEDBACK),
        ("/control/v1/decisions/{id}/receipt", Access.USE),
        ("/control/{rest:path}", Access.ADMIN),
    }
    with pytest.raises(TypeError, match="access"):
        Route(methods=frozenset(), path="/", handler=None)  # type: ignore[call-arg]  # the point


WAYS_AROUND = ["/control", "/CONTROL/v1/x", "//control/v1/x", "/v1/../control/v1/x", "/./control/x"]


@pytest.mark.security("S-07")
@pytest.mark.parametrize("path", WAYS_AROUND)
async def test_there_is_no_way_around_to_control(path: str) -> None:
    inside = Inside()
    async with at_the_door(ScriptedHouse(), LOCKED, control=inside) as address:
        answered = await get(address, path, ["x-api-key: sk-use"])
    assert (answered.status in {400, 403, 404}, inside.callers) == (True, [])


@pytest.mark.security("S-07")
async def test_an_encoded_path_asks_for_the_same_key_as_the_plain_one() -> None:
    inside = Inside()
    async with at_the_door(ScriptedHouse(), LOCKED, control=inside) as address:
        answered = await get(address, "/%63ontrol/v1/x", ["x-api-key: sk-use"])
    assert (answered.status, inside.callers) == (403, [])


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/messages", "/v1/messages"),
        ("/v1/api/chat", "/api/chat"),
        ("/api/chat/", "/api/chat"),
    ],
)
async def test_an_address_made_from_the_wrong_one_of_the_house_names_the_right_one(
    asked: str, meant: str
) -> None:
    async with at_the_door(ScriptedHouse()) as address:
        answered = await get(address, asked)
    assert answered.status == 404
    assert f"Did you mean {meant}?" in answered.text


async def test_an_unknown_address_and_a_wrong_method_are_said_as_openai_says_them() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        nowhere = await get(address, "/v1/nothing")
        wrong = await get(address, CHAT_PATH)
        no_control = await get(address, "/control/v1/x")
    assert json.loads(nowhere.body) == {
        "error": {
            "message": "There is nothing at '/v1/nothing'. What there is: /v1/chat/completions, "
            "/v1/completions, /v1/embeddings, /v1/messages, /v1/messages/count_tokens, /v1/models, "
            "/v1/responses.",
            "type": "invalid_request_error",
            "param": None,
            "code": "route_not_found",
        },
        "arbiter": {"ours": True, "decision": None},
    }
    assert (nowhere.status, wrong.status, no_control.status) == (404, 405, 404)
    assert wrong.headers["allow"] == "POST"


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_only_http_is_spoken(kind: str) -> None:
    async def receive() -> Message:
        raise AssertionError("nothing is received")

    async def send(message: Message) -> None:
        raise AssertionError(f"nothing is sent, not {message}")

    with pytest.raises(NotImplementedError, match=kind):
        await door(rooms(ScriptedHouse()), Policy())({"type": kind}, receive, send)


def test_an_address_reached_through_a_socket_for_both_kinds_is_its_own_host() -> None:
    headers = [(b"host", b"192.168.1.5:8017")]
    scope = {"type": "http", "path": "/", "headers": headers}
    for server in ("::ffff:192.168.1.5", "192.168.1.5"):
        check_host(read_head(scope), {**scope, "server": (server, 8017)}, Policy())
    for other in (("::ffff:192.168.1.6", 8017), ("192.168.1.5", None), None):
        with pytest.raises(HostNotAllowed):
            check_host(read_head(scope), {**scope, "server": other}, Policy())


async def test_a_sick_house_says_so() -> None:
    async with at_the_door(ScriptedHouse(), healthy=lambda: {"ok": False}) as address:
        answered = await get(address, "/healthz")
    assert (answered.status, answered.body) == (503, b'{"ok":false}')


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


# Bounds


SMALL = Policy(max_body_bytes=100)


@pytest.mark.security("S-29")
async def test_a_body_that_says_it_is_too_large_is_refused_unread() -> None:
    async with at_the_door(house := ScriptedHouse()) as address:
        huge = request("POST", CHAT_PATH, address, headers=[JSON, "Content-Length: 10000000000"])
        answered = await exchanged(address, huge)
    assert (answered.status, answered.headers["connection"]) == (413, "close")
    assert house.asks == []


JSON = "Content-Type: application/json"


def chunked(address: Address) -> bytes:
    """The beginning of a chunked request."""
    return request("POST", CHAT_PATH, address, headers=[JSON, "Transfer-Encoding: chunked"])


@pytest.mark.security("S-29")
async def test_a_chunked_body_is_cut_at_the_limit() -> None:
    async with at_the_door(house := ScriptedHouse(), SMALL) as address:
        answered = await exchanged(
            address,
            chunked(address) + b"32\r\n" + b" " * 50 + b"\r\n" + b"33\r\n" + b" " * 51 + b"\r\n",
        )
    assert (answered.status, answered.headers["connection"]) == (413, "close")
    assert house.asks == []


async def test_a_chunked_body_within_the_limit_is_read_whole() -> None:
    async with at_the_door(house := ScriptedHouse(), SMALL) as address:
        pieces = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (CHAT[:20], CHAT[20:]))
        answered = await exchanged(address, chunked(address) + pieces + b"0\r\n\r\n")
    assert (answered.status, len(house.asks)) == (200, 1)


async def test_a_body_that_does_not_come_is_given_up() -> None:
    async with at_the_door(house := ScriptedHouse(), Policy(body_deadline_s=0.01)) as address:
        answered = await exchanged(address, request("POST", CHAT_PATH, address, body=CHAT)[:-5])
    assert (answered.status, answered.headers["connection"]) == (408, "close")
    assert house.asks == []


async def test_a_client_that_leaves_within_its_body_leaves_no_trace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with at_the_door(house := ScriptedHouse()) as address:
        _, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(request("POST", CHAT_PATH, address, body=CHAT)[:-5])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await post(address)).status == 200
    assert (len(house.asks), caplog.text) == (1, "")


HEADS = [
    [f"X-{n}: y" for n in range(101)],
    ["X: " + "y" * 33_000],
    ["X: " + "y" * 5_000_000],
    [f"X-{n}: " + "y" * 60_000 for n in range(90)],
]


@pytest.mark.security("S-29")
@pytest.mark.parametrize("headers", HEADS, ids=["many", "large", "huge", "many and large"])
async def test_headers_are_bounded(headers: list[str]) -> None:
    async with at_the_door(ScriptedHouse()) as address:
        first = await first_line(address, request("GET", "/", address, headers=headers))
    assert first in {b"HTTP/1.1 431 Request Header Fields Too Large\r\n", b""}


async def first_line(address: Address, data: bytes) -> bytes:
    """What a client sees first; nothing when the server has cut it off meanwhile."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.readline(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()


DOUBLED = ["Content-Type: application/json\r\nContent-Type: text/plain", "Content-Length: 5"]


@pytest.mark.parametrize("header", DOUBLED)
async def test_a_header_that_two_readers_could_read_differently_is_refused(header: str) -> None:
    async with at_the_door(house := ScriptedHouse()) as address:
        answered = await post(address, headers=[header])
    assert (answered.status, house.asks) == (400, [])


async def test_a_get_with_a_body_is_refused() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        answered = await exchanged(address, request("GET", "/v1/models", address, body=b"{}"))
    assert answered.status == 400


@pytest.mark.parametrize("beginning", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nX: y\r\n", b"\r\n"])
async def test_a_head_that_does_not_come_is_given_up(beginning: bytes) -> None:
    async with at_the_door(ScriptedHouse(), patience=Patience(head_s=0.02)) as address:
        answered = await exchanged(address, beginning)
    assert answered.status == 408


async def test_a_head_that_does_not_come_second_is_given_up_too() -> None:
    async with at_the_door(ScriptedHouse(), patience=Patience(head_s=0.02)) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(request("GET", "/", address).replace(b"Connection: close\r\n", b""))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        await reader.readexactly(int(parsed(head).headers["content-length"]))
        writer.write(b"GET /")
        answered: Answered = parsed(await asyncio.wait_for(reader.read(), 5))
        writer.close()
    assert answered.status == 408


async def test_a_client_that_takes_nothing_is_cut_off() -> None:
    has_ended = asyncio.Event()

    async def pouring(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):  # far more than the buffers between the two hold
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
        has_ended.set()

    async with serving(pouring, port=0, patience=Patience(reader_s=0.05)) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port, limit=1)
        writer.write(request("GET", "/", address))
        await asyncio.wait_for(has_ended.wait(), 10)
        assert not reader.at_eof()
        writer.close()


# Listening


async def test_a_port_that_is_taken_is_named_with_what_to_do() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        with pytest.raises(ConfigError, match=rf"Port {address.port} .*already taken.*0 takes"):
            async with serving(Inside(), port=address.port):
                pass


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
async def test_an_address_that_is_not_ours_is_named_with_what_to_do(host: str) -> None:
    with pytest.raises(ConfigError, match=r"Use 127\.0\.0\.1"):
        async with serving(Inside(), host, 0):
            pass


async def test_a_socket_that_listens_already_is_taken_over() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    async with serving(Inside(), fd=listening.detach()) as address:
        assert address.url == f"http://127.0.0.1:{port}"
        assert (await get(address, "/control/x")).status == 200
