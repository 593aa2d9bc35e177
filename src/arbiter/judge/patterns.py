"""Patterns that a hostile answer cannot make run for ever.

The answers come from models and the patterns from whoever wrote a task; `re` may take time
exponential in the answer for an innocent-looking pattern. RE2 matches in linear time, and refuses
what cannot be: references to groups, looking ahead or behind. Its syntax is the rule here.
"""

from __future__ import annotations

from functools import lru_cache

import re2

from arbiter.errors import InvalidField

LONGEST_PATTERN = 1_000
_MEMORY = 8 << 20


class Pattern:
    """A compiled pattern."""

    def __init__(self, pattern: str, *, ignore_case: bool) -> None:
        if len(pattern) > LONGEST_PATTERN:
            raise InvalidField(
                f"A pattern has at most {LONGEST_PATTERN} characters.", param="grader"
            )
        options = re2.Options()
        options.log_errors = False
        options.max_mem = _MEMORY
        options.case_sensitive = not ignore_case
        try:
            self._compiled = re2.compile(_encodable(pattern), options)
        except re2.error as error:
            reason = error.args[0]
            words = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
            raise InvalidField(
                f"{pattern!r:.80} is no pattern: {words}.",
                hint="Patterns have RE2's syntax: no references to groups, no looking around.",
                param="grader",
            ) from error

    def is_in(self, text: str) -> bool:
        """Whether the pattern matches somewhere in the text, the white space around it aside."""
        return self._compiled.search(_encodable(text.strip())) is not None


@lru_cache(maxsize=128)
def compiled(pattern: str, *, ignore_case: bool) -> Pattern:
    """A pattern, compiled once. Raises `InvalidField` that says what is wrong with it.

    >>> compiled("^[A-Z]{2}-[0-9]+$", ignore_case=False).is_in("AB-12")
    True
    """
    return Pattern(pattern, ignore_case=ignore_case)


def _encodable(text: str) -> str:
    """Half a surrogate pair has no UTF-8, which is what RE2 reads."""
    return text.encode(errors="replace").decode()
