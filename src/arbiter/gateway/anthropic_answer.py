"""Answers as Anthropic's clients expect them: blocks, and the events in which they come.

A stream is ``message_start``, then for each block ``content_block_start``, its deltas and
``content_block_stop``, then ``message_delta`` with the reason and the usage, then
``message_stop``. The tokens of the prompt are not known before the answer has ended: the first
event says none yet, the last one says how many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from arbiter.errors import ArbiterError, EngineError
from arbiter.gateway.anthropic_error import anthropic_failure
from arbiter.gateway.chat_answer import call_id
from arbiter.gateway.ollama_answer import object_of
from arbiter.gateway.rendering import encoded, encoded_text
from arbiter.inference import (
    Called,
    Chunk,
    Decided,
    Delta,
    Finish,
    FinishReason,
    Thought,
    Usage,
    calls_of,
    text_of,
    thought_of,
)

_REASONS: Final = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
}
_Open = Literal["text", "thinking"] | int | None
"""Which block is open: of text, of a thought, the call of this index, or none."""


class AnthropicFrames:
    """The events of one stream."""

    __slots__ = ("_block", "_called", "_decision", "_open", "opening")

    def __init__(self, decided: Decided, *, model: str) -> None:
        self._decision = decided.decision
        self._block = -1
        self._open: _Open = None
        self._called: set[int] = set()
        self.opening = _event(
            b"message_start",
            b'"message":{"id":"msg_%s","type":"message","role":"assistant","model":%s,'
            b'"content":[],"stop_reason":null,"stop_sequence":null,'
            b'"usage":{"input_tokens":0,"output_tokens":0}}'
            % (decided.decision.encode(), encoded_text(model)),
        )

    def piece(self, chunk: Chunk) -> bytes:
        """The events for a piece: it may end one block and begin another.

        Raises `EngineError` for a piece of a call that was over already.
        """
        match chunk:
            case Delta(text=text) if text:
                begin = self._begin("text", b'{"type":"text","text":""}')
                return begin + self._delta(b'"type":"text_delta","text":%s' % encoded_text(text))
            case Thought(text=text) if text:
                begin = self._begin("thinking", b'{"type":"thinking","thinking":"","signature":""}')
                told = b'"type":"thinking_delta","thinking":%s' % encoded_text(text)
                return begin + self._delta(told)
            case Called():
                return self._call(chunk)
        return b""

    def ending(self, finish: Finish) -> bytes:
        """The last events: why it ended and what it used."""
        reason = _reason(finish, has_calls=bool(self._called))
        usage = {name: value for name, value in _usage(finish.usage).items() if value is not None}
        return (
            self._end()
            + _event(
                b"message_delta",
                b'"delta":{"stop_reason":"%s","stop_sequence":null},"usage":%s'
                % (reason.encode(), encoded(usage)),
            )
            + _event(b"message_stop", b"")
        )

    def failing(self, error: ArbiterError) -> bytes:
        """The last event of a stream that breaks off."""
        return anthropic_failure(error, self._decision)

    def _call(self, piece: Called) -> bytes:
        begin = b""
        if self._open != piece.index:
            if piece.index in self._called:
                raise EngineError("A piece of a call came after the call was over.")
            self._called.add(piece.index)
            begin = self._begin(
                piece.index,
                b'{"type":"tool_use","id":%s,"name":%s,"input":{}}'
                % (
                    encoded_text(piece.id or call_id(self._decision, piece.index)),
                    encoded_text(piece.name or ""),
                ),
            )
        if not piece.arguments:
            return begin
        told = b'"type":"input_json_delta","partial_json":%s' % encoded_text(piece.arguments)
        return begin + self._delta(told)

    def _begin(self, kind: _Open, block: bytes) -> bytes:
        """Begin a block, unless it is open already."""
        if self._open == kind:
            return b""
        end = self._end()
        self._block += 1
        self._open = kind
        told = b'"index":%d,"content_block":%s' % (self._block, block)
        return end + _event(b"content_block_start", told)

    def _end(self) -> bytes:
        """End the block that is open, if one is."""
        was, self._open = self._open, None
        if was is None:
            return b""
        # clients put a thought together only once it is signed; there is nobody here to sign it
        sign = self._delta(b'"type":"signature_delta","signature":""') if was == "thinking" else b""
        return sign + _event(b"content_block_stop", b'"index":%d' % self._block)

    def _delta(self, told: bytes) -> bytes:
        return _event(b"content_block_delta", b'"index":%d,"delta":{%s}' % (self._block, told))


def whole_message(
    decided: Decided, chunks: Sequence[Chunk], finish: Finish, *, model: str
) -> bytes:
    """A whole answer. Raises `MalformedCall`."""
    thought, text, calls = thought_of(chunks), text_of(chunks), calls_of(chunks)
    blocks: list[bytes] = []
    if thought:
        told = encoded_text(thought)
        blocks.append(b'{"type":"thinking","thinking":%s,"signature":""}' % told)
    if text:
        blocks.append(b'{"type":"text","text":%s}' % encoded_text(text))
    blocks += [
        b'{"type":"tool_use","id":%s,"name":%s,"input":%s}'
        % (
            encoded_text(call.id or call_id(decided.decision, index)),
            encoded_text(call.name),
            encoded(object_of(call)),
        )
        for index, call in enumerate(calls)
    ]
    return (
        b'{"id":"msg_%s","type":"message","role":"assistant","model":%s,"content":[%s],'
        b'"stop_reason":"%s","stop_sequence":null,"usage":%s}'
        % (
            decided.decision.encode(),
            encoded_text(model),
            b",".join(blocks),
            _reason(finish, has_calls=bool(calls)).encode(),
            encoded(_usage(finish.usage)),
        )
    )


def counted(decided: Decided, chunks: Sequence[Chunk], finish: Finish) -> bytes:
    """How many tokens a prompt has. Raises `EngineError` when nobody counted them."""
    del decided, chunks
    if finish.usage.prompt_tokens is None:
        raise EngineError("The engine does not tell how many tokens a prompt has.")
    return encoded({"input_tokens": finish.usage.prompt_tokens})


def _reason(finish: Finish, *, has_calls: bool) -> str:
    """Why an answer ended. Some engines call tools and say that they simply stopped."""
    if has_calls and finish.reason is FinishReason.STOP:
        return _REASONS[FinishReason.TOOL_CALLS]
    return _REASONS[finish.reason]


def _usage(usage: Usage) -> dict[str, int | None]:
    """Anthropic counts what was taken from a cache apart from the rest of the prompt.

    What the engine did not count is null: clients add these numbers up.
    """
    prompt, cached = usage.prompt_tokens, usage.cached_tokens
    if cached is None or prompt is None or cached > prompt:
        return {"input_tokens": prompt, "output_tokens": usage.completion_tokens}
    return {
        "input_tokens": prompt - cached,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.completion_tokens,
    }


def _event(kind: bytes, told: bytes) -> bytes:
    more = b"," + told if told else b""
    return b'event: %s\ndata: {"type":"%s"%s}\n\n' % (kind, kind, more)
