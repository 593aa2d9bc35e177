"""What Arbiter understands beyond OpenAI's fields, from headers and from ``metadata``.

Each has one name: the header ``X-Arbiter-Max-Latency-Ms`` and the metadata key
``max_latency_ms`` are the same thing, and the header comes first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from arbiter.errors import InvalidField
from arbiter.gateway.security import Head
from arbiter.inference import NO_LIMITS, Limits
from arbiter.refs import TaskName, parse_task

NAMES = (
    "task",
    "expected",
    "conversation",
    "needs",
    "max_latency_ms",
    "max_memory_mb",
    "threshold",
    "helper",
)

MAX_CONVERSATION = 256

_PREFIX = b"x-arbiter-"
_HEADERS = {_PREFIX + name.replace("_", "-").encode(): name for name in NAMES}
_PERCENT_ENCODED = frozenset({"expected", "conversation"})
_NUMBER = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?")
_NEED = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What a request says to the house rather than to a model.

    helper: its answer serves only another one, as a judge's does.
    """

    task: TaskName | None = None
    expected: str | None = None
    conversation: str | None = None
    limits: Limits = NO_LIMITS
    helper: bool = False


_NONE = Extras()


def header_extras(head: Head) -> dict[str, str]:
    """The extras that the headers carry, as text. Raises `InvalidField`."""
    found: dict[str, str] = {}
    for header in head.keys() & _HEADERS.keys():
        name = _HEADERS[header]
        if header in head.doubled:
            raise InvalidField(f"{header.decode()} is given twice.", param=name)
        try:
            text = head[header].decode("ascii")
            found[name] = unquote(text, errors="strict") if name in _PERCENT_ENCODED else text
        except UnicodeDecodeError:
            raise InvalidField(
                f"{header.decode()} is not percent-encoded UTF-8.", param=name
            ) from None
    return found


def read_extras(headers: Mapping[str, str], metadata: Mapping[str, str] | None) -> Extras:
    """Both together, checked.

    >>> read_extras({"needs": "tools, vision"}, {"threshold": "0.8"}).limits.threshold
    0.8
    """
    if not headers and not metadata:
        return _NONE
    said = {**(metadata or {}), **headers}
    conversation = said.get("conversation") or None
    if conversation is not None and len(conversation) > MAX_CONVERSATION:
        raise InvalidField(
            "conversation is too long.",
            hint=f"At most {MAX_CONVERSATION} letters.",
            param="conversation",
        )
    return Extras(
        task=parse_task(said["task"]) if said.get("task") else None,
        expected=said.get("expected"),
        conversation=conversation,
        limits=Limits(
            needs=_needs(said.get("needs", "")),
            threshold=_number(said, "threshold", at_most=1),
            max_latency_ms=_number(said, "max_latency_ms"),
            max_memory_mb=_number(said, "max_memory_mb"),
        ),
        helper=_truth(said, "helper"),
    )


def _truth(said: Mapping[str, str], name: str) -> bool:
    text = said.get(name) or "false"
    if text not in {"true", "false"}:
        raise InvalidField(
            f"{text!r:.40} is not a value for {name}.", hint="true or false", param=name
        )
    return text == "true"


def _needs(text: str) -> frozenset[str]:
    needs = frozenset([need.strip() for need in text.split(",") if need.strip()])
    for need in needs:
        if not _NEED.fullmatch(need):
            raise InvalidField(f"{need!r:.80} is not a capability.", param="needs")
    return needs


def _number(said: Mapping[str, str], name: str, at_most: float | None = None) -> float | None:
    text = said.get(name)
    if not text:
        return None
    if not _NUMBER.fullmatch(text) or (at_most is not None and float(text) > at_most):
        raise InvalidField(f"{text!r:.40} is not a value for {name}.", param=name)
    return float(text)
