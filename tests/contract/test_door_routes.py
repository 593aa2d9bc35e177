"""Addresses of the door: each declares its scope, and what is none says what there is."""

from __future__ import annotations

import json

import pytest
from starlette.types import Message
from tests.contract.door_security_support import LOCKED, Inside
from tests.contract.door_support import (
    CHAT_PATH,
    ScriptedHouse,
    at_the_door,
    get,
    rooms,
)

from arbiter.errors import HostNotAllowed
from arbiter.gateway.routes import ROUTES, Route, door
from arbiter.gateway.security import (
    Access,
    Policy,
    check_host,
    read_head,
)

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
        ("/anthropic/v1/messages", "/v1/messages"),
        ("/openai/chat/completions", "/v1/chat/completions"),
        ("/v1/engines/tiny/completions", "/v1/completions"),
        ("/" * 9 + "v1/models", "/v1/models"),
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
