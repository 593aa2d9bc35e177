"""The answers of /v1/completions: bytes as OpenAI's clients expect them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from arbiter.errors import ArbiterError
from arbiter.gateway.chat_answer import odds_shown
from arbiter.gateway.rendering import encoded, encoded_text, error_body, usage_of
from arbiter.gateway.several import Begun, Ended, Placed, apart, by
from arbiter.inference import Chunk, Decided, Delta, Finish, text_of
from arbiter.refs import short

_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What the client said of how it wants its texts.

    others: how many other tokens at each place. echoes: what stands before each text, in the order
    of the answers; empty where nothing is to.
    """

    model: str
    created: int
    with_usage: bool = False
    others: int = 0
    echoes: tuple[str, ...] = ()

    def echo(self, place: int) -> str:
        """What stands before one of the texts."""
        return self.echoes[place] if self.echoes else ""


class TextFrames:
    """The chunks of one stream."""

    __slots__ = ("_decision", "_form", "_head", "_letters", "_tail", "opening")

    def __init__(self, decided: Decided, *, form: Form) -> None:
        self._form = form
        self._letters = 0
        """How many came before, where somebody wants to know at which a token begins."""
        self._decision = decided.decision
        self._head = b"data: " + _head(form, decided)
        self._tail = b'],"usage":null}\n\n' if form.with_usage else b"]}\n\n"
        echo = form.echo(0)
        self.opening = self._said(_choice(echo, b"null")) if echo else b""

    def piece(self, chunk: Chunk) -> bytes:
        """A chunk of text."""
        if not isinstance(chunk, Delta) or not chunk.text:
            return b""
        odds = b"null"
        if chunk.odds:
            odds = odds_of((chunk,), others=self._form.others, before=self._letters)
        self._letters += len(chunk.text)
        return self._said(_choice(chunk.text, b"null", odds))

    def ending(self, finish: Finish) -> bytes:
        """The last chunks: why it ended, what it used when that was asked for, and ``[DONE]``."""
        return self._said(_choice("", b'"%s"' % finish.reason.value.encode())) + self._used(finish)

    def failing(self, error: ArbiterError) -> bytes:
        """The last event of a stream that breaks off; no ``[DONE]`` follows."""
        return b"data: %s\n\n" % error_body(error, self._decision)

    def _said(self, choice: bytes) -> bytes:
        return self._head + choice + self._tail

    def _used(self, finish: Finish) -> bytes:
        """What was used when that was asked for, and ``[DONE]``."""
        if not self._form.with_usage:
            return _DONE
        return self._head + b'],"usage":%s}\n\n' % encoded(usage_of(finish.usage)) + _DONE


class ManyTextFrames(TextFrames):
    """The chunks of one stream of several answers, one after another."""

    __slots__ = ("_by",)

    def __init__(self, decided: Decided, *, form: Form) -> None:
        super().__init__(decided, form=form)
        self._by = b""
        """Who gives the answer that is being written."""
        self.opening = b""

    def piece(self, chunk: Chunk) -> bytes:
        """A chunk of one of the texts, or the end of one."""
        match chunk:
            case Begun(place=place, decided=decided):
                self._letters, self._by, self._decision = 0, by(decided), decided.decision
                echo = self._form.echo(place)
                return self._said(_choice(echo, b"null", place=place)) if echo else b""
            case Placed(place=place, text=text, odds=found) if text:
                odds = odds_of((chunk,), others=self._form.others, before=self._letters)
                self._letters += len(text)
                return self._said(_choice(text, b"null", odds if found else b"null", place=place))
            case Ended(place=place, reason=reason):
                why = b'"%s"' % reason.value.encode()
                return self._said(_choice("", why, place=place, by=self._by))
        return b""

    def ending(self, finish: Finish) -> bytes:
        """What all used, when that was asked for, and ``[DONE]``."""
        return self._used(finish)


def whole_text(decided: Decided, chunks: Sequence[Chunk], finish: Finish, *, form: Form) -> bytes:
    """A text in one piece."""
    text = "".join([chunk.text for chunk in chunks if isinstance(chunk, Delta)])
    return b'%s%s],"usage":%s}' % (
        _head(form, decided),
        _choice(
            form.echo(0) + text,
            b'"%s"' % finish.reason.value.encode(),
            odds_of(chunks, others=form.others),
        ),
        encoded(usage_of(finish.usage)),
    )


def whole_texts(decided: Decided, chunks: Sequence[Chunk], finish: Finish, *, form: Form) -> bytes:
    """Several texts in one piece."""
    choices = [
        _choice(
            form.echo(one.place) + text_of(one.chunks),
            b'"%s"' % one.reason.value.encode(),
            odds_of(one.chunks, others=form.others),
            place=one.place,
            by=one.by,
        )
        for one in apart(chunks)
    ]
    return b'%s%s],"usage":%s}' % (
        _head(form, decided),
        b",".join(choices),
        encoded(usage_of(finish.usage)),
    )


def _head(form: Form, decided: Decided) -> bytes:
    return (
        b'{"id":"cmpl-%s","object":"text_completion","created":%d,"model":%s,'
        b'"system_fingerprint":"%s","choices":['
        % (
            decided.decision.encode(),
            form.created,
            encoded_text(form.model),
            short(decided.version).encode(),
        )
    )


def _choice(
    text: str,
    reason: bytes,
    odds: bytes = b"null",
    *,
    place: int = 0,
    by: bytes = b"",
) -> bytes:
    """One choice; by: who gave it, where a response has several and each is to be told."""
    return b'{"text":%s,"index":%d,"logprobs":%s,"finish_reason":%s%s}' % (
        encoded_text(text),
        place,
        odds,
        reason,
        by,
    )


def odds_of(chunks: Sequence[Chunk], *, others: int, before: int = 0) -> bytes:
    """How probable tokens were, in four lists side by side; null where nobody told.

    others: how many at each place beside the token itself, which is always among them. before: how
    many letters came earlier.
    """
    found = [one for chunk in chunks if isinstance(chunk, Delta) for one in chunk.odds]
    if not found:
        return b"null"
    tokens = [str(odds_shown(one)["token"]) for one in found]
    lengths = [len(token) for token in tokens]
    return encoded(
        {
            "tokens": tokens,
            "token_logprobs": [odds_shown(one)["logprob"] for one in found],
            "top_logprobs": [
                {
                    str(shown["token"]): shown["logprob"]
                    for shown in map(odds_shown, (*one.others[:others], one))
                }
                for one in found
            ],
            "text_offset": [*accumulate(lengths[:-1], initial=before)],
        }
    )
