"""The answers of /v1/chat/completions: bytes as OpenAI's clients expect them."""

from __future__ import annotations

from collections.abc import Sequence

from arbiter.errors import ArbiterError
from arbiter.gateway.rendering import encoded, encoded_text, error_body, usage_of
from arbiter.inference import (
    Called,
    Chunk,
    Decided,
    Delta,
    Finish,
    FinishReason,
    Odds,
    Thought,
    ToolCall,
    calls_of,
    text_of,
    thought_of,
)
from arbiter.refs import short

_DONE = b"data: [DONE]\n\n"


class ChatFrames:
    """The chunks of one stream. Only the text differs between them, so only it is encoded.

    place: of the answer among several. first: the decision whose id such a stream has.
    """

    __slots__ = (
        "_bare",
        "_begin",
        "_decision",
        "_head",
        "_indexes",
        "_tail",
        "_with_usage",
        "opening",
    )

    def __init__(
        self,
        decided: Decided,
        *,
        model: str,
        created: int,
        with_usage: bool,
        place: int = 0,
        first: Decided | None = None,
    ) -> None:
        of = first or decided
        self._decision = decided.decision
        self._with_usage = with_usage
        self._indexes: frozenset[int] = frozenset()
        self._bare: frozenset[int] = frozenset()
        """Calls that have no arguments so far."""
        self._head = (
            b'data: {"id":"chatcmpl-%s","object":"chat.completion.chunk","created":%d,'
            b'"model":%s,"system_fingerprint":"%s","choices":['
            % (
                of.decision.encode(),
                created,
                encoded_text(model),
                short(of.version).encode(),
            )
        )
        self._begin = self._head + b'{"index":%d,"delta":' % place
        self._tail = b'],"usage":null}\n\n' if with_usage else b"]}\n\n"
        self.opening = self._choice(b'{"role":"assistant","content":""}', b"null")

    def _choice(
        self, delta: bytes, reason: bytes, odds: bytes = b"null", more: bytes = b""
    ) -> bytes:
        return b'%s%s,"logprobs":%s,"finish_reason":%s%s}%s' % (
            self._begin,
            delta,
            odds,
            reason,
            more,
            self._tail,
        )

    def piece(self, chunk: Chunk) -> bytes:
        """A chunk of text, or of a tool call."""
        if isinstance(chunk, Delta):
            if not chunk.text:
                return b""
            delta = b'{"content":%s}' % encoded_text(chunk.text)
            return self._choice(delta, b"null", odds_of((chunk,)) if chunk.odds else b"null")
        if isinstance(chunk, Thought):
            return self._choice(b'{"reasoning_content":%s}' % encoded_text(chunk.text), b"null")
        return self._called(chunk) if isinstance(chunk, Called) else b""

    def _called(self, piece: Called) -> bytes:
        arguments = encoded_text(piece.arguments)
        if piece.arguments:
            self._bare -= {piece.index}
        if piece.index in self._indexes:
            call = b'{"index":%d,"function":{"arguments":%s}}' % (piece.index, arguments)
        else:
            if not piece.arguments:
                self._bare |= {piece.index}
            if not self._indexes:
                # used when nothing was said before: then there is no content, not an empty one
                self.opening = self._choice(b'{"role":"assistant","content":null}', b"null")
            self._indexes |= {piece.index}
            call = (
                b'{"index":%d,"id":%s,"type":"function","function":{"name":%s,"arguments":%s}}'
                % (
                    piece.index,
                    encoded_text(piece.id or call_id(self._decision, piece.index)),
                    encoded_text(piece.name or ""),
                    arguments,
                )
            )
        return self._choice(b'{"tool_calls":[%s]}' % call, b"null")

    def ending(self, finish: Finish) -> bytes:
        """The last chunks: why it ended, what it used when that was asked for, and ``[DONE]``."""
        return self.closing(finish) + self.used(finish)

    def closing(self, finish: Finish, more: bytes = b"") -> bytes:
        """Why it ended. more: further fields of the last choice."""
        # clients read the arguments as JSON, which an empty text is not; but what was cut off had
        # some that nobody knows
        is_cut = finish.reason is FinishReason.LENGTH
        bare = () if is_cut else sorted(self._bare)
        none = [Called(index=index, arguments="{}") for index in bare]
        end = b"".join([self._called(one) for one in none])
        reason = b'"%s"' % _reason(finish, has_calls=bool(self._indexes))
        return end + self._choice(b"{}", reason, more=more)

    def used(self, finish: Finish) -> bytes:
        """What was used when that was asked for, and ``[DONE]``."""
        if not self._with_usage:
            return _DONE
        return self._head + b'],"usage":%s}\n\n' % encoded(usage_of(finish.usage)) + _DONE

    def failing(self, error: ArbiterError) -> bytes:
        """The last event of a stream that breaks off; no ``[DONE]`` follows."""
        return b"data: %s\n\n" % error_body(error, self._decision)


def odds_of(chunks: Sequence[Chunk]) -> bytes:
    """How probable tokens were, as OpenAI tells it; null where nobody told."""
    found = [one for chunk in chunks if isinstance(chunk, Delta) for one in chunk.odds]
    return encoded({"content": [_odds(one) for one in found], "refusal": None} if found else None)


def _odds(one: Odds) -> dict[str, object]:
    return {**odds_shown(one), "top_logprobs": [odds_shown(other) for other in one.others]}


def odds_shown(one: Odds) -> dict[str, object]:
    """A token and how probable it was, without the others at its place."""
    # half a surrogate pair must not break the reply
    token = one.token.encode("utf-8", "replace").decode()
    raw = None if one.raw is None else list(one.raw)
    return {"token": token, "logprob": max(one.logprob, -9999.0), "bytes": raw}


def whole_chat(
    decided: Decided, chunks: Sequence[Chunk], finish: Finish, *, model: str, created: int
) -> bytes:
    """A whole answer."""
    choice = choice_of(decided, chunks, finish)
    return response_of(decided, choice, finish, model=model, created=created)


def response_of(
    decided: Decided, choices: bytes, finish: Finish, *, model: str, created: int
) -> bytes:
    """What stands around the choices of a whole answer."""
    return (
        b'{"id":"chatcmpl-%s","object":"chat.completion","created":%d,"model":%s,'
        b'"system_fingerprint":"%s","choices":[%s],"usage":%s}'
        % (
            decided.decision.encode(),
            created,
            encoded_text(model),
            short(decided.version).encode(),
            choices,
            encoded(usage_of(finish.usage)),
        )
    )


def choice_of(
    decided: Decided,
    chunks: Sequence[Chunk],
    finish: Finish,
    *,
    place: int = 0,
    more: bytes = b"",
) -> bytes:
    """One choice of a whole answer. more: further fields of it."""
    text, odds, thought = text_of(chunks), b"null", ""
    calls: Sequence[ToolCall] = ()
    if len(chunks) != 1 or not isinstance(chunks[0], Delta) or chunks[0].odds:
        odds, thought, calls = odds_of(chunks), thought_of(chunks), calls_of(chunks)
    return (
        b'{"index":%d,"message":{"role":"assistant","content":%s,"refusal":null%s%s},'
        b'"logprobs":%s,"finish_reason":"%s"%s}'
        % (
            place,
            encoded_text(text) if text or not calls else b"null",
            b',"reasoning_content":%s' % encoded_text(thought) if thought else b"",
            b',"tool_calls":[%s]' % _calls(decided, calls, finish) if calls else b"",
            odds,
            _reason(finish, has_calls=bool(calls)),
            more,
        )
    )


def _calls(decided: Decided, calls: Sequence[ToolCall], finish: Finish) -> bytes:
    none = "" if finish.reason is FinishReason.LENGTH else "{}"
    return b",".join(
        b'{"id":%s,"type":"function","function":{"name":%s,"arguments":%s}}'
        % (
            encoded_text(call.id or call_id(decided.decision, index)),
            encoded_text(call.name),
            encoded_text(call.arguments or none),
        )
        for index, call in enumerate(calls)
    )


def call_id(decision: str, index: int) -> str:
    """The id of a call that its engine gave none."""
    return f"call_{decision}_{index}"


def _reason(finish: Finish, *, has_calls: bool) -> bytes:
    """Why an answer ended. Some engines call tools and say that they simply stopped."""
    if has_calls and finish.reason is FinishReason.STOP:
        return FinishReason.TOOL_CALLS.encode()
    return finish.reason.encode()
