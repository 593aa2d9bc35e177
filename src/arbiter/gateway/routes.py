"""THE DOOR: one table of routes, and the order in which a request is let through.

Every route declares what it asks of its caller; there is no default. What is not in the table is
not reachable. Pure ASGI throughout: a middleware class that wraps responses would hide the
client's hang-up and collect the stream.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from arbiter.errors import MethodNotAllowed, OriginNotAllowed, UnknownModel, UnknownRoute
from arbiter.gateway import anthropic, ollama, ollama_models
from arbiter.gateway.body import ClientGone, read_body
from arbiter.gateway.chat import chat_completions
from arbiter.gateway.completions import completions
from arbiter.gateway.dialects import errors_at
from arbiter.gateway.embeddings import embeddings
from arbiter.gateway.exchange import Request
from arbiter.gateway.origins import Sharing, listed, preflight_of, say_what_is_allowed
from arbiter.gateway.rendering import Header, encoded, known, send_error, send_json
from arbiter.gateway.request_ids import REQUEST_ID, X_REQUEST_ID, client_id, id_header_at
from arbiter.gateway.responses import responses
from arbiter.gateway.rooms import ModelCard, Rooms
from arbiter.gateway.security import (
    NOBODY,
    Access,
    Caller,
    Head,
    Policy,
    admit,
    check_body_head,
    check_host,
    check_origin,
    identify,
    is_foreign,
    read_head,
)

Handler = Callable[[Request, Rooms], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """An address. In ``path``, ``{name}`` is one segment and ``{name:path}`` all that follows.

    handler: None sends the request on to the control application.
    """

    methods: frozenset[str]
    path: str
    access: Access
    handler: Handler | None


async def healthz(request: Request, rooms: Rooms) -> None:
    """Say whether the house is well."""
    state = rooms.healthy()
    status = 503 if state.get("ok") is False else 200
    await send_json(request.send, encoded(dict(state)), status=status)


async def readyz(request: Request, rooms: Rooms) -> None:
    """Say whether the house takes requests now: not while it closes."""
    state = rooms.ready()
    status = 503 if state.get("ok") is False else 200
    await send_json(request.send, encoded(dict(state)), status=status)


async def metrics(request: Request, rooms: Rooms) -> None:
    """Show what can be seen of the house, for Prometheus."""
    from arbiter.gateway.metrics import CONTENT_TYPE, exposition  # noqa: PLC0415  # 10 ms of a start

    await send_json(request.send, exposition(rooms.watched()), kind=CONTENT_TYPE)


async def welcome(request: Request, rooms: Rooms) -> None:  # noqa: ARG001  # every handler's form
    """Say what this is, for people who open it in a browser, and in Ollama's words for programs."""
    told = {
        "name": "arbiter",
        "openai": "/v1",
        "anthropic": "/",
        "ollama": "Ollama is running",
        "control": "/control/v1/docs",
    }
    await send_json(request.send, encoded(told))


async def list_models(request: Request, rooms: Rooms) -> None:
    """List every name that can be asked for."""
    cards = [_shown(card) for card in rooms.models()]
    ends = {"first_id": cards[0]["id"], "last_id": cards[-1]["id"]} if cards else {}
    told = {"object": "list", "data": cards, "has_more": False, **ends}
    await send_json(request.send, encoded(told), headers=_named(rooms))


async def one_model(request: Request, rooms: Rooms) -> None:
    """Show one name."""
    name = request.path.removeprefix("/v1/models/")
    for card in rooms.models():
        if card.id == name:
            await send_json(request.send, encoded(_shown(card)), headers=_named(rooms))
            return
    raise UnknownModel(f"No model or alias is called {name!r:.130}.", param="model")


def _named(rooms: Rooms) -> list[Header]:
    """The id of an answer that the clients of OpenAI and of Anthropic both may read."""
    name = rooms.new_request().encode()
    return [(X_REQUEST_ID, name), (REQUEST_ID, name)]


def _shown(card: ModelCard) -> dict[str, object]:
    """A model as OpenAI's clients and Anthropic's expect it: their fields have different names."""
    return {
        "id": card.id,
        "object": "model",
        "created": card.created,
        "owned_by": card.owned_by,
        "version": card.version,
        "context_length": card.context_length,
        "capabilities": list(card.capabilities),
        "type": "model",
        "display_name": card.id,
        "created_at": f"{datetime.fromtimestamp(card.created, UTC):%Y-%m-%dT%H:%M:%SZ}",
    }


_GET = frozenset({"GET", "HEAD"})
_POST = frozenset({"POST"})
_ANY = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})

ROUTES = (
    Route(methods=_GET, path="/", access=Access.PUBLIC, handler=welcome),
    Route(methods=_GET, path="/healthz", access=Access.PUBLIC, handler=healthz),
    Route(methods=_GET, path="/readyz", access=Access.PUBLIC, handler=readyz),
    Route(methods=_GET, path="/metrics", access=Access.USE, handler=metrics),
    Route(methods=_GET, path="/v1/models", access=Access.USE, handler=list_models),
    Route(methods=_GET, path="/v1/models/{id:path}", access=Access.USE, handler=one_model),
    Route(methods=_POST, path="/v1/chat/completions", access=Access.USE, handler=chat_completions),
    Route(methods=_POST, path="/v1/completions", access=Access.USE, handler=completions),
    Route(methods=_POST, path="/v1/embeddings", access=Access.USE, handler=embeddings),
    Route(methods=_POST, path="/v1/responses", access=Access.USE, handler=responses),
    Route(methods=_POST, path="/v1/messages", access=Access.USE, handler=anthropic.messages),
    Route(
        methods=_POST,
        path="/v1/messages/count_tokens",
        access=Access.USE,
        handler=anthropic.count_tokens,
    ),
    Route(methods=_GET, path="/api/version", access=Access.USE, handler=ollama_models.version),
    Route(methods=_GET, path="/api/tags", access=Access.USE, handler=ollama_models.tags),
    Route(methods=_GET, path="/api/ps", access=Access.USE, handler=ollama_models.running),
    Route(methods=_POST, path="/api/show", access=Access.USE, handler=ollama_models.show),
    Route(methods=_POST, path="/api/generate", access=Access.USE, handler=ollama.generate),
    Route(methods=_POST, path="/api/chat", access=Access.USE, handler=ollama.chat),
    Route(methods=_POST, path="/api/embed", access=Access.USE, handler=ollama.embed),
    Route(methods=_POST, path="/api/embeddings", access=Access.USE, handler=ollama.embeddings),
    Route(methods=_POST, path="/api/pull", access=Access.ADMIN, handler=ollama_models.pull),
    Route(
        methods=frozenset({"DELETE"}),
        path="/api/delete",
        access=Access.ADMIN,
        handler=ollama_models.delete,
    ),
    *[
        Route(
            methods=_POST | {"HEAD"} if "{" in path else _POST,
            path=path,
            access=Access.USE,
            handler=ollama_models.not_provided,
        )
        for path in ("/api/create", "/api/copy", "/api/push", "/api/blobs/{digest}")
    ],
    Route(
        # control looks whose decision it is
        methods=_POST,
        path="/control/v1/decisions/{id}/feedback",
        access=Access.FEEDBACK,
        handler=None,
    ),
    Route(
        # the same: what an answer cost is also told to who asked for it
        methods=_GET,
        path="/control/v1/decisions/{id}/receipt",
        access=Access.USE,
        handler=None,
    ),
    Route(methods=_ANY, path="/control/{rest:path}", access=Access.ADMIN, handler=None),
)
"""The first that fits counts."""


_DOCS = frozenset({"/docs", "/redoc", "/openapi.json", "/swagger", "/v1/docs"})
"""Where other servers describe themselves."""

_LONGEST = 6
"""Parts of an address that are looked at for the one that was meant."""


class Table:
    """Routes, found by path and method: literal paths at once, patterns in order."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._exact = {(route.path, method): route for route in routes for method in route.methods}
        self._patterns = [(_pattern(route.path), route) for route in routes]

    def find(self, path: str, method: str) -> Route:
        """The route for a request. Raises `UnknownRoute`, `MethodNotAllowed`."""
        exact = self._exact.get((path, method))
        if exact is not None and "{" not in path:
            return exact
        there = [route for pattern, route in self._patterns if pattern.fullmatch(path)]
        if not there:
            raise UnknownRoute(f"There is nothing at {path!r:.120}.", hint=self._hint(path))
        for route in there:
            if method in route.methods:
                return route
        raise MethodNotAllowed(allowed=frozenset().union(*[route.methods for route in there]))

    def _hint(self, path: str) -> str | None:
        """What to do about an address that a client made from the wrong one of the house."""
        there = {known for known, _ in self._exact}
        path = path.rstrip("/")
        for other in _ends(path):
            if other in there:
                return (
                    f"Did you mean {other}? OpenAI's clients take the address of the house with "
                    "/v1 at its end, those of Ollama and Anthropic without."
                )
        if path in _DOCS:
            return "Did you mean /control/v1/docs?"
        beside = sorted(
            one for one in there if one.startswith(_first(f"{path}/")) and "{" not in one
        )
        return f"What there is: {', '.join(beside)}." if beside else None


def _ends(path: str) -> list[str]:
    """An address without what may have been put before it, and with the /v1 that may be missing.

    >>> _ends("/v1/api/chat")
    ['/v1/api/chat', '/v1/v1/api/chat', '/api/chat', '/v1/api/chat', '/chat', '/v1/chat']
    """
    parts = path.split("/")[-_LONGEST:]
    ends = ["/" + "/".join(parts[at:]) for at in range(len(parts)) if parts[at]]
    return [one for end in ends for one in (end, f"/v1{end}")]


def _first(path: str) -> str:
    """The dialect's part of an address; what is none of any dialect is no beginning of one."""
    return next((one for one in ("/v1/", "/api/") if path.startswith(one)), " ")


def _pattern(path: str) -> re.Pattern[str]:
    """The pattern of a path: ``{name}`` is one segment, ``{name:path}`` the rest.

    >>> bool(_pattern("/a/{id}/b").fullmatch("/a/x/y/b"))
    False
    """
    literal = re.escape(path).replace(r"\{", "{").replace(r"\}", "}")
    return re.compile(
        re.sub(r"\{\w+\}", "[^/]+", re.sub(r"\{\w+:path\}", ".*", literal)), re.DOTALL
    )


_READING = frozenset({"GET", "HEAD"})
_NEEDS_KEYS = (
    "A listed page may ask and be answered. For what needs the scope admin the house must have "
    "keys, and the page one of them: arbiter keys add NAME --scope admin."
)


class _Passage:
    """One request's way through the door."""

    __slots__ = ("caller", "has_begun", "head", "is_read", "receive", "scope", "send")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.head = Head()
        self.caller: Caller = NOBODY
        self.is_read = False
        """Whether the whole body is in; if not, the connection ends with the reply."""
        self.has_begun = False
        """Whether control has begun to reply; the other handlers answer for themselves."""

    async def enter(self, table: Table, rooms: Rooms, policy: Policy) -> None:
        """Let the request through, or raise what keeps it out."""
        scope = self.scope
        head = self.head = read_head(scope)
        check_host(head, scope, policy)
        if policy.origins:
            if await self._shared(table, policy):
                return
        else:
            check_origin(head, scope)
        route = table.find(scope["path"], scope["method"])
        if route.access is not Access.PUBLIC:
            self.caller = identify(head, scope, policy)
            admit(self.caller, route.access)
        body = b""
        if check_body_head(head, scope, policy):
            body = await read_body(
                self.receive,
                limit=policy.max_body_bytes,
                deadline_s=policy.body_deadline_s,
                whole=scope.pop("arbiter.whole", None),
            )
        self.is_read = True
        if route.handler is None:
            await self._send_on(rooms, body)
            return
        request = Request(
            receive=self.receive,
            send=self.send,
            head=head,
            caller=self.caller,
            path=scope["path"],
            body=body,
            line=scope.get("arbiter.line"),
        )
        await route.handler(request, rooms)

    async def _shared(self, table: Table, policy: Policy) -> bool:
        """Let pages of the listed origins in and no others; whether that answered it already."""
        head, scope = self.head, self.scope
        origin = listed(head, policy)
        sharing = Sharing(self.send, origin)
        self.send = sharing.send
        check_origin(head, scope, is_listed=origin is not None)
        if origin is None or not is_foreign(head, scope):
            return False
        asked = preflight_of(head, scope)
        route = table.find(scope["path"], asked or scope["method"])
        if Access.ADMIN in route.access and not policy.ring:
            sharing.origin = None
            if asked is not None or scope["method"] not in _READING:
                raise OriginNotAllowed(hint=_NEEDS_KEYS)
        if asked is None:
            return False
        check_body_head(head, scope, policy)
        await say_what_is_allowed(sharing, head, asked)
        return True

    async def _send_on(self, rooms: Rooms, body: bytes) -> None:
        """To the control application."""
        if rooms.control is None:
            raise UnknownRoute
        inner = dict(self.scope, root_path="/control")
        inner["arbiter.caller"] = self.caller
        await rooms.control(inner, _replay(body, self.receive), self._sending)

    async def _sending(self, message: Message) -> None:
        self.has_begun = True
        await self.send(message)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that first hands out the body that was read already."""
    is_first = True

    async def again() -> Message:
        nonlocal is_first
        if is_first:
            is_first = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again


def door(rooms: Rooms, policy: Policy, routes: Sequence[Route] = ROUTES) -> ASGIApp:
    """The application that a server serves."""
    table = Table(routes)

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # No web sockets, and the house has its own opening and closing. Raising is how an
            # application tells its server so.
            raise NotImplementedError(f"there is no {scope['type']} here")
        passage = _Passage(scope, receive, send)
        try:
            await passage.enter(table, rooms, policy)
        except ClientGone:
            return
        except Exception as error:
            if passage.has_begun:
                raise  # the server ends the connection, which is all that can be said now
            path, request = scope["path"], rooms.new_request()
            told = known(error, request=request, sent_as=client_id(passage.head))
            headers = [(id_header_at(path), request.encode())]
            body = errors_at(path)
            await send_error(
                passage.send, told, body=body, headers=headers, close=not passage.is_read
            )

    return enter
