"""Where llama.cpp differs from the OpenAI dialect, so that nobody above has to know.

It leaves unread what it does not know, and says of its errors what a person who started it by
hand could do.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from msgspec import structs

from arbiter.errors import EngineRefused, PromptTooLong
from arbiter.inference import Chat, Generation, Vectors

_LARGEST_SCHEMA: Final = 64 * 1024
"""Letters. llama.cpp makes a grammar of a schema, in time that grows with the square of its size,
while every other answer of the model waits: this much takes seconds, ten times as much minutes."""
_TOO_LARGE: Final = re.compile(r"input \((\d+) tokens\) is too large")


def understood(request: Generation) -> Generation:
    """The same request in llama.cpp's words.

    It takes a tool that must be called by its name for no choice at all; so that tool is the only
    one that it hears of, and one must be called. Raises `EngineRefused` for a schema that would
    keep the model busy for minutes.
    """
    work = request.work
    if not isinstance(work, Chat):
        return request
    if work.shape is not None:
        _check_schema(work.shape.schema, "response_format")
    if work.tools is None:
        return request
    for index, tool in enumerate(work.tools.offered):
        _check_schema(tool.parameters, f"tools[{index}].function.parameters")
    if work.tools.named is None:
        return request
    only = tuple(tool for tool in work.tools.offered if tool.name == work.tools.named)
    tools = replace(work.tools, offered=only, choice="required", named=None)
    return structs.replace(request, work=structs.replace(work, tools=tools))


def _check_schema(schema: str | None, field: str) -> None:
    if schema is not None and len(schema) > _LARGEST_SCHEMA:
        raise EngineRefused(
            f"This schema has {len(schema)} letters, and llama.cpp is given at most "
            f"{_LARGEST_SCHEMA}.",
            hint="Send a smaller schema.",
            param=field,
        )


def of_input(refusal: EngineRefused, context: int) -> EngineRefused:
    """The refusal of an embedding, about the field that it is about.

    llama.cpp would have the user increase a batch size, which is the context here.
    """
    too_large = _TOO_LARGE.search(refusal.message)
    refusal.param = "input"
    if too_large is None:
        return refusal
    return PromptTooLong(
        f"A text has {too_large[1]} tokens, and this model is loaded with room for {context}.",
        hint="Send shorter texts, or load the model with a larger context (pool.context).",
        param="input",
        tokens=int(too_large[1]),
        room=context,
    )


def check_length(vectors: Vectors, wanted: int | None) -> None:
    """Raise `EngineRefused` for vectors of another length than was asked for.

    llama.cpp leaves that field unread, and a vector that is cut short means something only for
    models that were trained for it, which a file does not say.
    """
    found = len(vectors.vectors[0]) if vectors.vectors else 0
    if wanted is not None and wanted != found:
        raise EngineRefused(
            f"This model's vectors have {found} numbers, and cannot be made to have {wanted}.",
            hint="Leave dimensions out.",
            param="dimensions",
        )
