"""A graded case, and cases read from lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from arbiter.errors import InvalidField
from arbiter.inference import Message, Role
from arbiter.refs import digest

CASES_BYTES = 16 * 1024 * 1024
_ROLES: Mapping[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A stored prompt with its known right answer (None when the grader needs none)."""

    messages: tuple[Message, ...]
    expected: str | None

    def to_plain(self) -> dict[str, object]:
        """As JSON."""
        return {
            "messages": [{"role": m.role, "content": m.content} for m in self.messages],
            "expected": self.expected,
        }

    @property
    def digest(self) -> str:
        """Identity of the case: the same prompt with the same answer is the same case."""
        return digest("arbiter.case.v1", self.to_plain())


def _message(value: object, *, line: int) -> Message:
    match value:
        case {"role": str(role), "content": str(content)} if role in _ROLES:
            return Message(role=_ROLES[role], content=content)
    raise InvalidField(
        f"Line {line}: a message needs a role (system, user, assistant) and a text content.",
        param="cases",
    )


def parse_case(value: object, *, line: int = 1) -> Case:
    """A case from what `Case.to_plain` wrote. Raises `InvalidField` that names the line."""
    if not isinstance(value, dict):
        raise InvalidField(
            f"Line {line} is not a JSON object.", hint="One JSON object a line.", param="cases"
        )
    match value:
        case {"prompt": str(prompt)} if prompt:
            messages: tuple[Message, ...] = (Message(role="user", content=prompt),)
        case {"messages": [_, *_] as found}:
            messages = tuple(_message(message, line=line) for message in found)
        case _:
            raise InvalidField(
                f'Line {line} has neither a "prompt" nor "messages".',
                hint='A case is {"prompt": "...", "expected": "..."}.',
                param="cases",
            )
    expected = value.get("expected")
    if expected is not None and not isinstance(expected, str):
        expected = json.dumps(expected, ensure_ascii=False, separators=(",", ":"))
    return Case(messages=messages, expected=expected)


def parse_cases(text: str) -> tuple[Case, ...]:
    """Cases from JSON lines; blank lines are skipped and repeated cases kept once.

    >>> parse_cases('{"prompt": "2+2", "expected": 4}')[0].expected
    '4'

    Raises `InvalidField` that names the line.
    """
    if len(text) > CASES_BYTES:
        raise InvalidField("The cases are larger than 16 MB.", param="cases")
    found: dict[str, Case] = {}
    for number, one in enumerate(text.split("\n"), start=1):
        if not one.strip():
            continue
        try:
            case = parse_case(json.loads(one), line=number)
            found.setdefault(case.digest, case)
        except (ValueError, RecursionError) as error:
            raise InvalidField(
                f"Line {number} is not JSON: {error}.",
                hint="One JSON object a line.",
                param="cases",
            ) from error
    return tuple(found.values())
