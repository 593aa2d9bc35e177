"""The words that may stand at a place of a request, for whoever wrote another one there.

Asked only once something is wrong: it looks through the types of a whole request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
from msgspec import inspect

_STEP = re.compile(r"\[[^\]]*\]|\w+")


def words_at(kind: type[msgspec.Struct], path: str) -> tuple[str, ...]:
    """The words that a field may be; none where it may be anything.

    >>> from typing import Literal
    >>> turn = msgspec.defstruct("Turn", [("role", Literal["user", "tool"])])
    >>> talk = msgspec.defstruct("Talk", [("turns", list[turn])])
    >>> words_at(talk, "turns[0].role"), words_at(talk, "turns")
    (('tool', 'user'), ())
    """
    found = [*_each(inspect.type_info(kind))]
    for step in _STEP.findall(path):
        found = [one for outer in found for one in _inside(outer, step)]
    literals = (one.values for one in found if isinstance(one, inspect.LiteralType))
    return tuple(str(value) for values in literals for value in values)


def _each(found: inspect.Type) -> Iterator[inspect.Type]:
    if isinstance(found, inspect.UnionType):
        yield from found.types
    else:
        yield found


def _inside(outer: inspect.Type, step: str) -> Iterator[inspect.Type]:
    if isinstance(outer, inspect.StructType):
        for field in outer.fields:
            if field.encode_name == step:
                yield from _each(field.type)
    elif isinstance(outer, inspect.ListType) and step.startswith("["):
        yield from _each(outer.item_type)
