"""The answers of /v1/chat/completions: bytes as OpenAI's clients expect them."""

from __future__ import annotations

from collections.abc import Sequence

from arbiter.gateway.rendering import encoded, encoded_text, usage_of
from arbiter.inference import (
    Called,
    Chunk,
    Decided,
    Delta,
    Finish,
    FinishReason,
    ToolCall,
    calls_of,
)
from arbiter.refs import short

_DONE = b"data: [DONE]\n\n"


class ChatFrames:
    """The chunks of one stream. Only the text differs between them, so only it is encoded."""

    __slots__ = ("_decision", "_head", "_indexes", "_tail", "_with_usage", "opening")

    def __init__(self, decided: Decided, *, model: str, created: int, with_usage: bool) -> None:
        self._decision = decided.decision
        self._with_usage = with_usage
        self._indexes: frozenset[int] = frozenset()
        self._head = (
            b'data: {"id":"chatcmpl-%s","object":"chat.completion.chunk","created":%d,'
            b'"model":%s,"system_fingerprint":"%s","choices":['
            % (
                decided.decision.encode(),
                created,
                encoded_text(model),
                short(decided.version).encode(),
            )
        )
        self._tail = b'],"usage":null}\n\n' if with_usage else b"]}\n\n"
        self.opening = self._choice(b'{"role":"assistant","content":""}', b"null")

    def _choice(self, delta: bytes, reason: bytes) -> bytes:
        return b'%s{"index":0,"delta":%s,"logprobs":null,"finish_reason":%s}%s' % (
            self._head,
            delta,
            reason,
            self._tail,
        )

    def piece(self, chunk: Chunk) -> bytes:
        """A chunk of text, or of a tool call."""
        if isinstance(chunk, Delta):
            if not chunk.text:
                return b""
            return self._choice(b'{"content":%s}' % encoded_text(chunk.text), b"null")
        return self._called(chunk) if isinstance(chunk, Called) else b""

    def _called(self, piece: Called) -> bytes:
        arguments = encoded_text(piece.arguments)
        if piece.index in self._indexes:
            call = b'{"index":%d,"function":{"arguments":%s}}' % (piece.index, arguments)
        else:
            if not self._indexes:
                # used when nothing was said before: then there is no content, not an empty one
                self.opening = self._choice(b'{"role":"assistant","content":null}', b"null")
            self._indexes |= {piece.index}
            call = (
                b'{"index":%d,"id":%s,"type":"function","function":{"name":%s,"arguments":%s}}'
                % (
                    piece.index,
                    encoded_text(piece.id or _id(self._decision, piece.index)),
                    encoded_text(piece.name or ""),
                    arguments,
                )
            )
        return self._choice(b'{"tool_calls":[%s]}' % call, b"null")

    def ending(self, finish: Finish) -> bytes:
        """The last chunks: why it ended, what it used when that was asked for, and ``[DONE]``."""
        end = self._choice(b"{}", b'"%s"' % _reason(finish, has_calls=bool(self._indexes)))
        if self._with_usage:
            end += self._head + b'],"usage":%s}\n\n' % encoded(usage_of(finish.usage))
        return end + _DONE


def whole_chat(
    decided: Decided, chunks: Sequence[Chunk], finish: Finish, *, model: str, created: int
) -> bytes:
    """A whole answer."""
    texts = [chunk.text for chunk in chunks if isinstance(chunk, Delta)]
    text = "".join(texts)
    calls = calls_of(chunks) if len(texts) < len(chunks) else ()
    return (
        b'{"id":"chatcmpl-%s","object":"chat.completion","created":%d,"model":%s,'
        b'"system_fingerprint":"%s","choices":[{"index":0,"message":{"role":"assistant",'
        b'"content":%s,"refusal":null%s},"logprobs":null,"finish_reason":"%s"}],"usage":%s}'
        % (
            decided.decision.encode(),
            created,
            encoded_text(model),
            short(decided.version).encode(),
            encoded_text(text) if text or not calls else b"null",
            b',"tool_calls":[%s]' % _calls(decided, calls) if calls else b"",
            _reason(finish, has_calls=bool(calls)),
            encoded(usage_of(finish.usage)),
        )
    )


def _calls(decided: Decided, calls: Sequence[ToolCall]) -> bytes:
    return b",".join(
        b'{"id":%s,"type":"function","function":{"name":%s,"arguments":%s}}'
        % (
            encoded_text(call.id or _id(decided.decision, index)),
            encoded_text(call.name),
            encoded_text(call.arguments),
        )
        for index, call in enumerate(calls)
    )


def _id(decision: str, index: int) -> str:
    """The id of a call that its engine gave none."""
    return f"call_{decision}_{index}"


def _reason(finish: Finish, *, has_calls: bool) -> bytes:
    """Why an answer ended. Some engines call tools and say that they simply stopped."""
    if has_calls and finish.reason is FinishReason.STOP:
        return FinishReason.TOOL_CALLS.value.encode()
    return finish.reason.value.encode()
