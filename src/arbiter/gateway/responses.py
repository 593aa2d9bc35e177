"""POST /v1/responses: OpenAI's newer form of a conversation, for text and functions.

The engine is asked as for any chat, whatever it may speak itself: so every model can be asked so,
and a rollout of one is judged the same way.
"""

from __future__ import annotations

from functools import partial

from arbiter.gateway.exchange import Request, Writer, exchange
from arbiter.gateway.extras import header_extras
from arbiter.gateway.responses_answer import ResponsesFrames, broken_response, whole_response
from arbiter.gateway.responses_asked import ask_of, read_responses
from arbiter.gateway.rooms import Rooms


async def responses(request: Request, rooms: Rooms) -> None:
    """Answer a request."""
    asked = read_responses(request.body)
    ask = ask_of(asked, header_extras(request.head), request.caller)
    created = int(rooms.clock.now().timestamp())
    writer = Writer(
        whole=partial(whole_response, asked=asked, created=created),
        streamed=partial(ResponsesFrames, asked=asked, created=created),
        broken=broken_response,
    )
    await exchange(request, rooms, ask, writer)
