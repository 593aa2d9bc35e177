"""How a command reaches the house: the one that runs, or one opened for this command alone.

Either way it speaks HTTP to the control API, so that a command does the same in both cases.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from arbiter.app import open_house
from arbiter.config import Settings
from arbiter.errors import ArbiterError, EngineError
from arbiter.gateway.security import LOCAL, Key, hashed
from arbiter.tracing.extra import is_installed

if TYPE_CHECKING:
    # 70 ms of a start, and `arbiter up` asks no house
    import aiohttp

Json = dict[str, object]


class Refused(ArbiterError):
    """The house refused."""

    code = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A connection to a house. own: it was opened for this command alone."""

    session: aiohttp.ClientSession
    url: str
    own: bool

    async def call(self, method: str, path: str, body: Json | None = None) -> Json:
        """One answer of the control API. Raises `Refused` with the house's own sentence."""
        async with self.session.request(method, f"{self.url}/control/v1{path}", json=body) as got:
            return _checked(got.status, await got.read())

    async def listed(self, path: str, what: str, *, most: int | None = None) -> Json:
        """A list that comes in parts, as one. what: its field. most: how many are wanted."""
        whole = await self.call("GET", path)
        found, after = _part(whole, what)
        while after is not None and (most is None or len(found) < most):
            sign = "&" if "?" in path else "?"
            part, after = _part(await self.call("GET", f"{path}{sign}after={quote(after)}"), what)
            found = [*found, *part]
        whole.pop("next", None)
        return {**whole, what: found[:most]}

    async def data(self, method: str, path: str) -> bytes:
        """One answer as it comes. Raises `Refused` with the house's own sentence."""
        async with self.session.request(method, f"{self.url}/control/v1{path}") as got:
            data = await got.read()
            if got.status >= 400:
                _checked(got.status, data)
            return data

    async def lines(
        self, method: str, path: str, body: Json, *, still: str | None = None
    ) -> AsyncIterator[Json]:
        """The lines of an answer that comes with its progress.

        still: what is changed only if it is as it was when it had this etag.
        """
        headers = {} if still is None else {"If-Match": still}
        async with self.session.request(
            method, f"{self.url}/control/v1{path}", json=body, headers=headers
        ) as got:
            if got.status >= 400:
                _checked(got.status, await got.read())
            async for line in got.content:
                yield _checked(200, line)

    @asynccontextmanager
    async def chat(
        self, body: Json, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A chat completion at the OpenAI door."""
        async with self.session.post(
            f"{self.url}/v1/chat/completions", json=body, headers=headers
        ) as got:
            if got.status >= 400:
                _checked(got.status, await got.read())
            yield got


def _part(answer: Json, what: str) -> tuple[list[object], str | None]:
    items, after = answer.get(what), answer.get("next")
    return items if isinstance(items, list) else [], None if after is None else str(after)


def _checked(status: int, raw: bytes) -> Json:
    try:
        found = json.loads(raw)
    except ValueError as error:
        raise Refused(f"The house answered {status} with something that is not JSON.") from error
    if isinstance(found, dict) and isinstance(found.get("error"), dict):
        message = str(found["error"].get("message", "The house refused."))
        ours = found["error"].get("arbiter", found.get("arbiter", {}))
        if isinstance(ours, dict) and ours.get("ours") is False:
            decision = ours.get("decision")
            hint = f"More: arbiter why {decision}" if decision else None
            raise EngineError(message, hint=hint)
        raise Refused(message, hint=_KEY_HINT if status == 401 else None)
    if status >= 400 or not isinstance(found, dict):
        raise Refused(f"The house answered {status}.")
    return found


_KEY_HINT = "Put the house's key into the environment variable ARBITER_KEY."


def segment(text: str) -> str:
    """A name as part of an address."""
    return quote(text, safe="/:@")


def _headers(note: Mapping[str, object]) -> dict[str, str]:
    """The key to send: one that was given, or that of whoever may read the data directory."""
    key = os.environ.get("ARBITER_KEY") or note.get("key")
    return {"authorization": f"Bearer {key}"} if key else {}


@asynccontextmanager
async def reach(settings: Settings) -> AsyncIterator[Client]:
    """The running house of this data directory, or the data directory itself."""
    import aiohttp  # noqa: PLC0415  # as above

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        note = await _running(session, settings.data_dir)
    if note is not None:
        async with aiohttp.ClientSession(timeout=timeout, headers=_headers(note)) as session:
            yield Client(session=session, url=str(note["url"]), own=False)
            return
    # a door for this command alone: nobody else on this machine knows its port or its key
    secret = secrets.token_urlsafe(32)
    door = settings.door.model_copy(update={"host": "127.0.0.1", "port": 0})
    # what traces lack is told by `arbiter up` and by `arbiter doctor`, not by each command
    off = settings.telemetry.disabled or not is_installed()
    telemetry = settings.telemetry.model_copy(update={"disabled": off})
    # whoever may open the data directory runs the house, whatever keys its door has
    key = Key(id=LOCAL.id, digest=hashed(secret), access=LOCAL.access)
    headers = {"authorization": f"Bearer {secret}"}
    async with (
        open_house(settings.model_copy(update={"door": door, "telemetry": telemetry})) as house,
        house.door(only=key) as address,
        aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
    ):
        yield Client(session=session, url=address.url, own=True)


async def door_of(data_dir: Path) -> str | None:
    """The address of the house of this data directory that runs; None: none does."""
    import aiohttp  # noqa: PLC0415  # as above

    async with aiohttp.ClientSession() as session:
        note = await _running(session, data_dir)
        return None if note is None else str(note["url"])


async def _running(session: aiohttp.ClientSession, data_dir: Path) -> Json | None:
    import aiohttp  # noqa: PLC0415  # as above

    try:
        note: Json = json.loads((data_dir / "house.json").read_text(encoding="utf-8"))
        async with session.get(f"{note['url']}/healthz") as got:
            return note if got.status == 200 else None
    except (OSError, ValueError, KeyError, TypeError, aiohttp.ClientError):
        # no note, a stale note of a house that was killed, or nobody there
        return None
