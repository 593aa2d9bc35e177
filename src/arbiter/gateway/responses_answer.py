"""The answers of /v1/responses: items, and the events in which they come.

An item is what was thought, what is said, or a call. It begins with its first piece and ends when
another begins, or the answer does. A whole answer is made of the same items as a stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from arbiter.errors import ArbiterError, EngineError
from arbiter.gateway.chat_answer import call_id, odds_shown
from arbiter.gateway.rendering import encoded, error_type, is_internal, told_of
from arbiter.gateway.responses_asked import ResponsesRequest, passed_on
from arbiter.inference import (
    Called,
    Chunk,
    Decided,
    Delta,
    Finish,
    FinishReason,
    Odds,
    Thought,
    Usage,
)

Plain = dict[str, object]
_Kind = Literal["message", "reasoning", "function_call"]
_Status = Literal["completed", "incomplete"]
_PREFIXES: Final = {"message": "msg", "reasoning": "rs", "function_call": "fc"}


@dataclass(slots=True, kw_only=True)
class _Item:
    """An item that is being put together. index: of the call among the calls."""

    kind: _Kind
    id: str
    place: int
    index: int | None = None
    call: str = ""
    name: str = ""
    texts: list[str] = field(default_factory=list)
    odds: list[Odds] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All of it so far."""
        return "".join(self.texts)

    def part(self, *, is_empty: bool = False) -> Plain:
        """The one part of what is thought or said."""
        text = "" if is_empty else self.text
        if self.kind == "reasoning":
            return {"type": "reasoning_text", "text": text}
        odds = [] if is_empty else _shown(self.odds)
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": odds}

    def shown(self, status: str, *, is_empty: bool = False) -> Plain:
        """The item."""
        head: Plain = {"id": self.id, "type": self.kind, "status": status}
        if self.kind == "function_call":
            arguments = "" if is_empty else self.text or "{}"
            return {**head, "call_id": self.call, "name": self.name, "arguments": arguments}
        content = [] if is_empty else [self.part()]
        if self.kind == "reasoning":
            return {**head, "summary": [], "content": content}
        return {**head, "role": "assistant", "content": content}


def broken_response(error: ArbiterError, decision: str | None = None) -> bytes:
    """The only event of a stream that fails before its answer began."""
    return _event("error", 0, _failure(error, decision))


def _event(kind: str, number: int, told: Plain) -> bytes:
    data = _written({"type": kind, "sequence_number": number, **told})
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), data)


def _failure(error: ArbiterError, decision: str | None) -> Plain:
    told: Plain = {
        "code": error.code,
        "message": told_of(error),
        "param": None if is_internal(error) else error.param,
    }
    return {
        **told,
        "error": {**told, "type": error_type(error.status)},
        "arbiter": {"ours": error.ours, "decision": error.decision or decision},
    }


class ResponsesFrames:
    """The events of one stream."""

    __slots__ = ("_asked", "_created", "_decision", "_items", "_number", "opening")

    def __init__(self, decided: Decided, *, asked: ResponsesRequest, created: int) -> None:
        self._decision = decided.decision
        self._asked = asked
        self._created = created
        self._items: list[_Item] = []
        self._number = 0
        begun = self._response("in_progress")
        self.opening = self._event("response.created", response=begun) + self._event(
            "response.in_progress", response=begun
        )

    def piece(self, chunk: Chunk) -> bytes:
        """The events for a piece: it may end one item and begin another."""
        return b"".join(self._piece(chunk))

    def ending(self, finish: Finish) -> bytes:
        """The last events: the end of the last item, and the whole response."""
        status = _status(finish)
        end = b"".join(self._end(status))
        return end + self._event(
            f"response.{status}", response=self._response(status, usage_told(finish.usage))
        )

    def failing(self, error: ArbiterError) -> bytes:
        """The last event of a stream that breaks off."""
        if not self._items:
            self._number = 0  # nothing is out yet, the opening neither
        return self._event("error", **_failure(error, self._decision))

    def _piece(self, chunk: Chunk) -> Iterator[bytes]:
        match chunk:
            case Delta(text=text, odds=odds) if text:
                yield from self._begin("message")
                item = self._items[-1]
                item.odds += odds
                yield self._grow(item, text, "response.output_text.delta", logprobs=_shown(odds))
            case Thought(text=text) if text:
                yield from self._begin("reasoning")
                yield self._grow(self._items[-1], text, "response.reasoning_text.delta")
            case Called():
                yield from self._call(chunk)

    def _call(self, piece: Called) -> Iterator[bytes]:
        last = self._items[-1] if self._items else None
        if last is None or last.index != piece.index:
            if any(item.index == piece.index for item in self._items):
                raise EngineError("A piece of a call came after the call was over.")
            yield from self._end()
            last = self._item("function_call")
            last.index = piece.index
            last.call = piece.id or call_id(self._decision, piece.index)
            last.name = piece.name or ""
            yield self._added(last)
        if piece.arguments:
            yield self._grow(last, piece.arguments, "response.function_call_arguments.delta")

    def _begin(self, kind: _Kind) -> Iterator[bytes]:
        """Begin an item, unless it is open already."""
        if self._items and self._items[-1].kind == kind:
            return
        yield from self._end()
        item = self._item(kind)
        yield self._added(item)
        yield self._in_part(item, "response.content_part.added", part=item.part(is_empty=True))

    def _end(self, status: _Status = "completed") -> Iterator[bytes]:
        """End the item that is open, if one is."""
        if not self._items:
            return
        item = self._items[-1]
        match item.kind:
            case "function_call":
                yield self._of(
                    item, "response.function_call_arguments.done", arguments=item.text or "{}"
                )
            case "message":
                yield self._in_part(
                    item, "response.output_text.done", text=item.text, logprobs=_shown(item.odds)
                )
                yield self._in_part(item, "response.content_part.done", part=item.part())
            case "reasoning":
                yield self._in_part(item, "response.reasoning_text.done", text=item.text)
                yield self._in_part(item, "response.content_part.done", part=item.part())
        yield self._event(
            "response.output_item.done", output_index=item.place, item=item.shown(status)
        )

    def _item(self, kind: _Kind) -> _Item:
        place = len(self._items)
        item = _Item(kind=kind, id=f"{_PREFIXES[kind]}_{self._decision}_{place}", place=place)
        self._items.append(item)
        return item

    def _added(self, item: _Item) -> bytes:
        return self._event(
            "response.output_item.added",
            output_index=item.place,
            item=item.shown("in_progress", is_empty=True),
        )

    def _grow(self, item: _Item, text: str, kind: str, **more: object) -> bytes:
        item.texts.append(text)
        if item.kind == "function_call":
            return self._of(item, kind, delta=text)
        return self._in_part(item, kind, delta=text, **more)

    def _in_part(self, item: _Item, kind: str, **told: object) -> bytes:
        return self._of(item, kind, content_index=0, **told)

    def _of(self, item: _Item, kind: str, **told: object) -> bytes:
        return self._event(kind, item_id=item.id, output_index=item.place, **told)

    def _event(self, kind: str, **told: object) -> bytes:
        number, self._number = self._number, self._number + 1
        return _event(kind, number, told)

    def _response(self, status: str, usage: Plain | None = None) -> Plain:
        return response(
            self._asked,
            decision=self._decision,
            created=self._created,
            status=status,
            output=self._shown(status),
            usage=usage,
        )

    def _shown(self, status: str) -> list[Plain]:
        """The items; where the answer was cut short, so was the last of them."""
        shown = [item.shown("completed") for item in self._items[:-1]]
        return shown + [item.shown(status) for item in self._items[-1:]]

    def whole(self, chunks: Sequence[Chunk], finish: Finish) -> bytes:
        """The whole response at once."""
        for chunk in chunks:
            self.piece(chunk)
        status = _status(finish)
        return _written(self._response(status, usage_told(finish.usage)))


def _status(finish: Finish) -> _Status:
    return "incomplete" if finish.reason is FinishReason.LENGTH else "completed"


def whole_response(
    decided: Decided,
    chunks: Sequence[Chunk],
    finish: Finish,
    *,
    asked: ResponsesRequest,
    created: int,
) -> bytes:
    """A whole answer."""
    return ResponsesFrames(decided, asked=asked, created=created).whole(chunks, finish)


def response(
    asked: ResponsesRequest,
    *,
    decision: str,
    created: int,
    status: str,
    output: Sequence[Plain],
    usage: Plain | None,
) -> Plain:
    """A response, with what was asked for as clients expect to read it again."""
    form = None if asked.text is None else asked.text.format
    return {
        "id": f"resp_{decision}",
        "object": "response",
        "created_at": created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": asked.instructions,
        "max_output_tokens": asked.max_output_tokens,
        "metadata": asked.metadata or {},
        "model": asked.model,
        "output": output,
        "parallel_tool_calls": asked.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": asked.reasoning,
        "store": False,
        "temperature": asked.temperature,
        "text": {"format": {"type": "text"} if form is None else form},
        "tool_choice": asked.tool_choice or "auto",
        "tools": passed_on(asked),
        "top_p": asked.top_p,
        "truncation": "disabled",
        "usage": usage,
        "user": asked.user,
    }


def usage_told(usage: Usage) -> Plain | None:
    """The usage; None when the engine did not count both sides."""
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if prompt is None or completion is None:
        return None
    told: Plain = {"input_tokens": prompt}
    if usage.cached_tokens is not None:
        told["input_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    return {**told, "output_tokens": completion, "total_tokens": prompt + completion}


def _shown(odds: Sequence[Odds]) -> list[Plain]:
    return [
        {**odds_shown(one), "top_logprobs": [odds_shown(other) for other in one.others]}
        for one in odds
    ]


def _written(value: Plain) -> bytes:
    """As JSON; half a surrogate pair, which no JSON can carry, becomes ``?``."""
    try:
        return encoded(value)
    except UnicodeEncodeError:
        return encoded(_mended(msgspec.to_builtins(value)))


def _mended(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {name: _mended(one) for name, one in value.items()}
    return [_mended(one) for one in value] if isinstance(value, list) else value
