"""POST /v1/messages and /v1/messages/count_tokens, for Anthropic's clients."""

from __future__ import annotations

from functools import partial

from arbiter.gateway.anthropic_answer import AnthropicFrames, counted, whole_message
from arbiter.gateway.anthropic_asked import ask_of, read_count, read_messages
from arbiter.gateway.anthropic_error import anthropic_error, anthropic_failure
from arbiter.gateway.exchange import Request, Writer, exchange
from arbiter.gateway.extras import header_extras
from arbiter.gateway.request_ids import REQUEST_ID
from arbiter.gateway.rooms import Rooms


async def messages(request: Request, rooms: Rooms) -> None:
    """Answer a request for the next turn."""
    asked = read_messages(request.body)
    ask = ask_of(asked, header_extras(request.head), request.caller)
    writer = Writer(
        whole=partial(whole_message, model=asked.model),
        streamed=partial(AnthropicFrames, model=asked.model),
        error=anthropic_error,
        broken=anthropic_failure,
        id_header=REQUEST_ID,
    )
    await exchange(request, rooms, ask, writer)


async def count_tokens(request: Request, rooms: Rooms) -> None:
    """Say how many tokens a prompt has for the model that is asked."""
    ask = ask_of(read_count(request.body), header_extras(request.head), request.caller)
    writer = Writer(whole=counted, error=anthropic_error, id_header=REQUEST_ID)
    await exchange(request, rooms, ask, writer)
