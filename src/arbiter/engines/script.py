r"""The format of the scripted engine: a model that is a JSON file of rules.

    {"arbiter_script": 1,
     "name": "parrot",
     "context": 4096,
     "capabilities": ["chat"],
     "rules": [
       {"match": "^hello", "reply": "Hello yourself."},
       {"match": "2 \\+ 2", "right": "4", "wrong": "5", "accuracy": 0.8, "salt": "a"},
       {"match": "what time", "call": {"name": "clock", "arguments": {"zone": "utc"}}},
       {"match": "why", "think": "They want a reason.", "reply": "Because."},
       {"match": "^crash", "reply": "one two three", "die_after_tokens": 2}
     ],
     "default": "I do not know.",
     "tokens_per_reply_word": 1,
     "fail_load": null}

The first rule whose pattern is found in the last message answers: the user's, or the result of a
tool. A rule with ``right`` and ``wrong`` answers rightly for that share of all prompts which
``accuracy`` says; which prompts those are depends on the prompt and the salt alone, so the same
prompt always gets the same answer. A rule with ``call`` calls a tool, and is passed over when the
request does not offer that tool; for a script that has such rules, name ``tools`` among its
capabilities. A script calls what its rules say and nothing else, also when a call is required.
What a rule has under ``think`` is thought first, unless the request asks for no thoughts.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from arbiter.errors import ModelFileError

MAX_BYTES: Final = 1024 * 1024
_MAX_RULES: Final = 10_000
_MAX_PATTERN: Final = 500
_SEARCHED: Final = 2000
"""Characters of a prompt that patterns are tried on."""

_NESTED_REPEAT: Final = re.compile(r"[+*}]\)\s*[+*{?]")
"""``(a+)+`` and its like take time exponential in the prompt; no rule needs one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a script says to a prompt, and after how many tokens it dies of it.

    think: what it thinks first, apart from its answer. call: the tool that it calls instead
    of saying something, and its arguments as JSON.
    """

    text: str
    think: str | None = None
    call: tuple[str, str] | None = None
    die_after_tokens: int | None = None


class _Call(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    arguments: dict[str, object] = {}


class _Rule(msgspec.Struct, forbid_unknown_fields=True):
    match: str
    reply: str | None = None
    right: str | None = None
    wrong: str | None = None
    accuracy: float = 1.0
    salt: str = ""
    think: str | None = None
    call: _Call | None = None
    die_after_tokens: int | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    arbiter_script: Literal[1]
    name: str
    context: int = 4096
    capabilities: list[str] = []
    rules: list[_Rule] = []
    default: str = ""
    tokens_per_reply_word: int = 1
    fail_load: str | None = None


class Script:
    """A script that has been read and checked."""

    def __init__(self, file: _File) -> None:
        self.name = file.name
        self.context = file.context
        self.capabilities = tuple(file.capabilities)
        self.tokens_per_reply_word = file.tokens_per_reply_word
        self.fail_load = file.fail_load
        self._default = file.default
        self._rules = [(re.compile(rule.match), rule) for rule in file.rules]

    def answer(self, prompt: str, *, tools: frozenset[str] = frozenset()) -> Line:
        """What it says to a prompt when these tools may be called."""
        searched = prompt[:_SEARCHED]
        for pattern, rule in self._rules:
            call = rule.call
            if (call is None or call.name in tools) and pattern.search(searched):
                return Line(
                    text=_said(rule, prompt),
                    think=rule.think,
                    call=None if call is None else (call.name, _json(call.arguments)),
                    die_after_tokens=rule.die_after_tokens,
                )
        return Line(text=self._default)


def read_script(path: Path) -> Script:
    """Read a script. Raises `ModelFileError` that says what is wrong with it."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ModelFileError(f"{path.name} cannot be read: {error.strerror}.") from error
    if len(data) > MAX_BYTES:
        raise ModelFileError(f"{path.name} is larger than a script may be (1 MB).")
    try:
        return parse_script(data)
    except ModelFileError as error:
        raise ModelFileError(f"{path.name}: {error.message}", hint=error.hint) from error


def parse_script(data: bytes) -> Script:
    """Check a script's text. Raises `ModelFileError`."""
    try:
        file = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelFileError(
            f"It is not a script: {error}.", hint='A script begins {"arbiter_script": 1, ...}.'
        ) from error
    if file.context < 1 or file.tokens_per_reply_word < 1 or len(file.rules) > _MAX_RULES:
        raise ModelFileError("context and tokens_per_reply_word start at 1; rules end at 10,000.")
    for number, rule in enumerate(file.rules):
        wrong = _mistake(rule)
        if wrong:
            raise ModelFileError(f"Rule {number} {wrong}.")
    try:
        return Script(file)
    except re.error as error:
        raise ModelFileError(f"A pattern cannot be read: {error}.") from error


def _mistake(rule: _Rule) -> str | None:
    ways = (
        rule.reply is not None,
        rule.right is not None and rule.wrong is not None,
        rule.call is not None,
    )
    if ways.count(True) != 1:
        return "needs either reply, or right and wrong, or call"
    if not 0 <= rule.accuracy <= 1:
        return "has an accuracy outside 0 to 1"
    if rule.die_after_tokens is not None and rule.die_after_tokens < 0:
        return "has a negative die_after_tokens"
    if len(rule.match) > _MAX_PATTERN or _NESTED_REPEAT.search(rule.match):
        return "has a pattern that is too long or repeats a repetition"
    return None


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _said(rule: _Rule, prompt: str) -> str:
    if rule.right is None or rule.wrong is None:
        return rule.reply or ""
    drawn = hashlib.sha256(rule.salt.encode() + b"\0" + prompt.encode()).digest()
    share = int.from_bytes(drawn[:8]) / 2**64
    return rule.right if share < rule.accuracy else rule.wrong
