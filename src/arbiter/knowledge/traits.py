"""What is seen of a request when its task is to be guessed: a set of small numbers, no text.

Looked at is how a conversation begins: its system prompt, its first user message, the tools that
are offered, the form that is asked for. Later turns are not looked at, so the guess hardly changes
while a conversation goes on. Of each text the first and the last characters count, so a huge
prompt costs no more than a long one.

A trait is a hash of a word, of two words side by side, of a tool's name, and so on, folded into
`BUCKETS` numbers; digits count by their number only. Words are runs of letters; in scripts without
spaces every character is one. Nothing here knows a task, and the same request has the same traits
in every process.
"""

from __future__ import annotations

import re
from itertools import repeat
from zlib import crc32

from arbiter.inference import Chat, Completion, Message, Role, Tools

BUCKETS = 1 << 16
"""How many different traits there are. Two that share a number are taken for the same."""

MOST_TRAITS = 1024
"""No request has more."""

HEAD = 600
TAIL = 200
"""Characters of a text that count, from its beginning and from its end."""

# Of a system prompt fewer words count: it counts as a whole too, and it is the same each time.
_SYSTEM_HEAD, _SYSTEM_TAIL = 300, 100
_WHOLE_HEAD, _WHOLE_TAIL = 8_000, 2_000
_MOST_TOOLS = 32

# A run of letters, a run of digits, a mark; beyond ASCII also accented letters, and one character
# at a time of the scripts that have three bytes or more. On bytes, so that one call hashes a token.
_PLAIN = re.compile(rb"[a-z]+|0+|[^\x00-\x20a-z0]")
_TOKEN = re.compile(
    rb"(?:[a-z]+|[\xc3-\xdf][\x80-\xbf]|[\xe0\xe1][\x80-\xbf]{2})+"
    rb"|0+|[\xe2-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}|[^\x00-\x20a-z0\x80-\xff]"
)
_FOLD_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_CODE = b'{}()[];=<>_#"\\'


def traits(work: Chat | Completion) -> tuple[int, ...]:
    """The traits of a request, each once, in rising order; at most `MOST_TRAITS`.

    >>> work = Completion(prompt="Add 17 and 25.")
    >>> traits(work) == traits(Completion(prompt="add 31 and  99."))
    True
    """
    if isinstance(work, Chat):
        found = _text_traits(_first(work.messages, "user"))
        found |= _system_traits(_first(work.messages, "system"), weight=4 + len(found) // 8)
        if work.tools is not None and work.tools.offered:
            found |= _tool_traits(work.tools)
        if work.shape is not None:
            found.add(crc32(_cut(work.shape.schema or "", HEAD, TAIL), _SHAPE))
    else:
        found = _text_traits(work.prompt)
        found.add(_COMPLETION if work.suffix is None else _INSERT)
    return tuple(sorted({trait % BUCKETS for trait in found})[:MOST_TRAITS])


def fingerprint(work: Chat | Completion) -> int:
    """A number that requests with the same beginning share, and hardly ever two others."""
    if isinstance(work, Chat):
        system, text = _first(work.messages, "system"), _first(work.messages, "user")
    else:
        system, text = "", work.prompt
    mark = 0
    for part in (system, text):
        ends = _ends(part, _WHOLE_HEAD, _WHOLE_TAIL).encode("utf-8", "replace")
        mark = crc32(b"\0%d" % len(part), crc32(ends, mark))
    return mark


# What a hash starts from says where its trait comes from: a word of a system prompt is another
# trait than the same word of a user.
_TEXT, _SYSTEM, _PROMPT, _TOOL, _SHAPE = map(
    crc32, (b"text", b"system", b"prompt", b"tool", b"shape")
)
_LENGTH, _CODING, _DIGITS = map(crc32, (b"length", b"coding", b"digits"))
_BEGINNING, _END = map(crc32, (b"beginning", b"end"))
_COMPLETION, _INSERT = map(crc32, (b"completion", b"insert"))


def _first(messages: tuple[Message, ...], role: Role) -> str:
    return next((message.content for message in messages if message.role == role), "")


def _ends(text: str, head: int, tail: int) -> str:
    return text if len(text) <= head + tail else f"{text[:head]}\n{text[-tail:]}"


def _cut(text: str, head: int, tail: int) -> bytes:
    """What counts of a text, in small letters, and every digit a zero."""
    return _ends(text, head, tail).lower().encode("utf-8", "replace").translate(_FOLD_DIGITS)


def _tokens(raw: bytes) -> list[bytes]:
    return (_PLAIN if raw.isascii() else _TOKEN).findall(raw)


def _text_traits(text: str) -> set[int]:
    """Words, pairs of words, how it begins and ends, its length, how much is code or digits."""
    raw = _cut(text, HEAD, TAIL)
    tokens = _tokens(raw)
    words = list(map(crc32, tokens, repeat(_TEXT)))
    found = set(words)
    found.update(map(crc32, tokens[1:], words))
    found.add(crc32(b"%d" % len(text).bit_length(), _LENGTH))
    code = len(raw) - len(raw.translate(None, _CODE))
    found.add(crc32(b"%d" % (64 * code // (len(raw) + 1)).bit_length(), _CODING))
    found.add(crc32(b"%d" % (64 * raw.count(b"0") // (len(raw) + 1)).bit_length(), _DIGITS))
    for n in (1, 2):
        found.add(crc32(b" ".join(tokens[:n]), _BEGINNING))
        found.add(crc32(b" ".join(tokens[-n:]), _END))
    return found


def _system_traits(text: str, *, weight: int) -> set[int]:
    """A system prompt as a whole, and some of its words for one that is only like another.

    weight: how many traits it has as a whole. With only one, a long message would drown what
    says most. Having none is one trait: it makes no request look more familiar.
    """
    if not text:
        return {_SYSTEM}
    found = set(map(crc32, _tokens(_cut(text, _SYSTEM_HEAD, _SYSTEM_TAIL)), repeat(_SYSTEM)))
    whole = crc32(b"%d" % len(text), crc32(_cut(text, _WHOLE_HEAD, _WHOLE_TAIL), _PROMPT))
    found.update([crc32(b"%d" % number, whole) for number in range(weight)])
    return found


def _tool_traits(tools: Tools) -> set[int]:
    names = [_cut(tool.name, HEAD, TAIL) for tool in tools.offered[:_MOST_TOOLS]]
    found = set(map(crc32, names, repeat(_TOOL)))
    found.add(crc32(b" ".join(sorted(names)), _TOOL))
    return found
