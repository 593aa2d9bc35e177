"""The table of the graders, which stands in the middle of a page that people write."""

from __future__ import annotations

from collections.abc import Mapping

from tests.docs.markdown import table

from arbiter.judge.graders import KINDS, needs_expected, parse_grader

OPTIONS = {
    "ignore_case": "`ignore_case` (true or false)",
    "labels": "`labels` (a list of words, of which one is right; needed)",
    "pattern": "`pattern` (a regular expression; without it the expected answer is one)",
    "tolerance": "`tolerance` (a number; how far from the expected number is still right)",
    "schema": "`schema` (a JSON schema that refers to nothing outside itself; needed)",
}

MEANINGS = {
    "exact": "the answer is the expected one, apart from white space around it",
    "choice": "the answer names the expected label and no other",
    "contains": "the expected text is somewhere in the answer",
    "regex": "the pattern is found in the answer",
    "number": "the last number in the answer is the expected one",
    "json-schema": "the answer is JSON that the schema allows",
    "json-fields": "the share of expected fields that the answer's JSON object has right",
}

_NEEDED: Mapping[str, Mapping[str, object]] = {
    "choice": {"labels": ["a", "b"]},
    "json-schema": {"schema": {}},
}


def graders_table() -> str:
    """Every grader with its options."""
    rows = [
        (
            f"`{kind}`",
            MEANINGS[kind],
            ", ".join(OPTIONS[option] for option in sorted(options)) or "none",
            _expects(kind),
        )
        for kind, options in KINDS.items()
    ]
    return table(("grader", "1 when", "options", "expected answer"), rows)


def _expects(kind: str) -> str:
    if not needs_expected(parse_grader(kind, _NEEDED.get(kind, {}))):
        return "not used"
    return "needed, unless `pattern` is given" if "pattern" in KINDS[kind] else "needed"
