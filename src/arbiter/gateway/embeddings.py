"""POST /v1/embeddings: a vector for each text."""

from __future__ import annotations

import sys
from array import array
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Literal

import msgspec

from arbiter.errors import InvalidField, Unsupported
from arbiter.gateway.exchange import Request, Writer, exchange
from arbiter.gateway.extras import header_extras
from arbiter.gateway.openai import AnyRequest, conversation_of, read_request, read_whom
from arbiter.gateway.rendering import encoded
from arbiter.gateway.rooms import Rooms
from arbiter.gateway.security import Caller
from arbiter.inference import Ask, Chunk, Decided, Embedding, Finish, Vectors

MAX_INPUTS = 2048

Encoding = Literal["float", "base64"]
Dimensions = Annotated[int, msgspec.Meta(ge=1, le=65536)]


class EmbeddingRequest(AnyRequest, frozen=True, kw_only=True):
    """An embedding request: the fields that mean something here."""

    input: str | list[object]
    dimensions: Dimensions | None = None
    encoding_format: Encoding | None = None


async def embeddings(request: Request, rooms: Rooms) -> None:
    """Answer an embedding request."""
    asked = read_request(request.body, EmbeddingRequest, {})
    ask = ask_of(asked, header_extras(request.head), request.caller)
    writer = Writer(
        whole=partial(_whole, model=asked.model, encoding=asked.encoding_format or "float")
    )
    await exchange(request, rooms, ask, writer)


def ask_of(request: EmbeddingRequest, headers: Mapping[str, str], caller: Caller) -> Ask:
    """The request as the house understands it."""
    target, task, extras = read_whom(request, headers)
    inputs = _inputs(request.input)
    return Ask(
        target=target,
        work=Embedding(inputs=inputs, dimensions=request.dimensions),
        task=task,
        limits=extras.limits,
        helper=extras.helper,
        conversation=conversation_of(request, extras, caller, inputs),
        expected=extras.expected,
        caller=caller.id,
    )


def _inputs(given: str | list[object]) -> tuple[str, ...]:
    if isinstance(given, str):
        if not given:
            raise InvalidField("An empty text has no vector.", param="input")
        return (given,)
    if not 1 <= len(given) <= MAX_INPUTS:
        raise InvalidField(f"input has 1 to {MAX_INPUTS} texts, not {len(given)}.", param="input")
    found = []
    for index, text in enumerate(given):
        if isinstance(text, int | list):
            raise Unsupported(
                "Token ids are not supported here, only texts.",
                hint="LangChain sends texts with check_embedding_ctx_length=False.",
                param="input",
            )
        if not isinstance(text, str):
            raise InvalidField("This is no text.", param=f"input[{index}]")
        if not text:
            raise InvalidField("An empty text has no vector.", param=f"input[{index}]")
        found.append(text)
    return tuple(found)


def _whole(
    decided: Decided, chunks: Sequence[Chunk], finish: Finish, *, model: str, encoding: Encoding
) -> bytes:
    del decided  # OpenAI's form has no place for it; the headers say it
    vectors = [vector for chunk in chunks if isinstance(chunk, Vectors) for vector in chunk.vectors]
    prompt = finish.usage.prompt_tokens
    return encoded(
        {
            "object": "list",
            "data": [
                {
                    "object": "embedding",
                    "index": index,
                    "embedding": vector if encoding == "float" else _packed(vector),
                }
                for index, vector in enumerate(vectors)
            ],
            "model": model,
            # as for text: clients add these up, so a zero must not be made up
            "usage": None if prompt is None else {"prompt_tokens": prompt, "total_tokens": prompt},
        }
    )


def _packed(vector: Sequence[float]) -> str:
    """The numbers as OpenAI packs them: 32-bit floats, the lowest byte first, in base64.

    >>> _packed([1.0])
    'AACAPw=='
    """
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return b64encode(numbers).decode()
