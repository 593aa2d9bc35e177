"""Identifiers, and nothing else: how they look, how they are made, how they are checked.

Every name or id that comes from outside passes through here before it reaches a query, a header
or a log. None of them is ever used as a path.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from random import Random
from typing import NewType

from arbiter.errors import InvalidField

VersionId = NewType("VersionId", str)
"""``sha256:`` and 64 hexadecimal digits: the content of a version."""

ModelName = NewType("ModelName", str)
"""A registered name or an alias: both are looked up in the same table."""

TaskName = NewType("TaskName", str)
DecisionId = NewType("DecisionId", str)
RolloutId = NewType("RolloutId", str)

GENERAL = TaskName("general")
"""The task of a request that names none."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}\Z")
_VERSION = re.compile(r"sha256:[0-9a-f]{64}\Z")
_SHORT = re.compile(r"[0-9a-f]{6,64}\Z")
_ID = re.compile(r"(dec|rol)_[0-9a-z]{26}\Z")
_HOUSE = re.compile(r"hou_[0-9a-z]{26}\Z")
_RESERVED = frozenset({"auto"})
_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(one + other for one in _BASE32 for other in _BASE32)
_SHIFTS = tuple(range(120, -1, -10))


def parse_name(text: str, *, what: str = "name") -> ModelName:
    """A model name or alias as the user wrote it.

    >>> parse_name("gemma3n:e2b")
    'gemma3n:e2b'

    Raises `InvalidField` for anything that is not letters, digits and ``. _ : / -``, for
    ``..``, and for the reserved words ``auto`` and ``task:...``.
    """
    if not _NAME.match(text) or ".." in text or "//" in text:
        raise InvalidField(
            f"{text!r:.80} is not a {what}.",
            hint="Use up to 128 letters, digits and . _ : / - and start with a letter or digit.",
            param=what,
        )
    if text in _RESERVED or text.startswith("task:"):
        raise InvalidField(f"{text!r} is reserved.", hint="Choose another name.", param=what)
    return ModelName(text)


def parse_task(text: str) -> TaskName:
    """A task name as the user wrote it; the same letters as a model name."""
    return TaskName(parse_name(text, what="task"))


def parse_version(text: str) -> VersionId:
    """A full version id. Raises `InvalidField` when it is not one."""
    if not _VERSION.match(text):
        raise InvalidField(
            f"{text!r:.90} is not a version.", hint="It looks like sha256:<64 hex digits>."
        )
    return VersionId(text)


def is_short_digest(text: str) -> bool:
    """Whether this could be the beginning of a digest: at least six hexadecimal digits."""
    return bool(_SHORT.match(text))


def is_id(text: str) -> bool:
    """Whether this looks like an id that `new_id` made."""
    return bool(_ID.match(text))


def is_house(text: str) -> bool:
    """Whether this looks like the id of a house."""
    return bool(_HOUSE.match(text))


def legible(text: str, *, most: int = 200) -> str:
    """A text from elsewhere as people may see it: on one line, of what can be printed.

    >>> legible("a" + chr(27) + "[2Jb" + chr(10) + "c")
    'a?[2Jb c'
    """
    return "".join(ch if ch.isprintable() else " " if ch in "\n\t" else "?" for ch in text[:most])


def short(version: VersionId | None) -> str:
    """The first twelve digits of a version, for people.

    >>> short(VersionId("sha256:" + "ab" * 32))
    'abababababab'
    """
    return "" if version is None else version.removeprefix("sha256:")[:12]


def new_id(prefix: str, *, now: datetime, dice: Random) -> str:
    """A new id: sorts by time to the millisecond, then 80 random bits.

    >>> from datetime import UTC
    >>> new_id("dec", now=datetime(2026, 1, 1, tzinfo=UTC), dice=Random(1))[:14]
    'dec_01kdvdna00'
    """
    number = (int(now.timestamp() * 1000) << 80) | dice.getrandbits(80)
    pairs = _PAIRS
    return f"{prefix}_" + "".join([pairs[number >> shift & 1023] for shift in _SHIFTS])


def canonical(value: object) -> bytes:
    """The one byte form of a JSON value: sorted keys, no spaces, UTF-8, no NaN.

    >>> canonical({"b": 1, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest(domain: str, value: object) -> str:
    """``sha256:`` of the domain, a NUL and the canonical form; the domain keeps kinds apart."""
    return "sha256:" + hashlib.sha256(domain.encode() + b"\0" + canonical(value)).hexdigest()
