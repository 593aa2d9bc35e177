"""What the tests of the door's locks share."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send
from tests.contract.door_support import (
    ADMIN_KEY,
    USE_KEY,
)

from arbiter.gateway.security import (
    Caller,
    Policy,
    Ring,
    caller_of,
)

LOCKED = Policy(ring=Ring((USE_KEY, ADMIN_KEY)))


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
