"""The page of the errors."""

from __future__ import annotations

from collections.abc import Iterator

from tests.docs.markdown import NOTE, prose, table

from arbiter import errors
from arbiter.gateway import rendering


def error_classes() -> list[type[errors.ArbiterError]]:
    """Every error that a client can meet, in the order of the tree."""

    def below(one: type[errors.ArbiterError]) -> Iterator[type[errors.ArbiterError]]:
        yield one
        for child in one.__subclasses__():
            if child.__module__ in {errors.__name__, rendering.__name__}:
                yield from below(child)

    return list(below(errors.ArbiterError))


def errors_page() -> str:
    """Every error code."""
    rows = [
        (
            f"`{one.code}`",
            str(one.status),
            "yes" if one.retryable else "no",
            "no" if one.ours else "yes",
            prose(one.__doc__ or ""),
        )
        for one in error_classes()
    ]
    return (
        "# Errors\n\n" + NOTE + "\nAn error under `/v1` and `/control` has OpenAI's shape, with "
        "one part of our own:\n\n"
        '```json\n{\n  "error": {\n    "message": "No model or alias is called \'gpt-4\'. '
        'Known: sparrow.",\n    "type": "invalid_request_error",\n    "param": "model",\n'
        '    "code": "model_not_found"\n  },\n  "arbiter": {"ours": true, "decision": null}\n}\n'
        "```\n\n"
        "`code` is stable: match on it. `arbiter.ours` is false when an engine failed and true\n"
        "otherwise. `arbiter.decision` is the decision that the error ended, if there was one;\n"
        "`arbiter why` tells more about it. On `/v1` the header `x-should-retry` says whether\n"
        "the same request may succeed later, and `retry-after` when.\n\n"
        "Under `/v1/messages` it has [Anthropic's](anthropic-door.md) shape, and under `/api`\n"
        "[Ollama's](ollama-door.md): the same sentence in other fields, and `arbiter.code` is the\n"
        "code. That holds for a key that is missing too, and for an address that is not there.\n\n"
        "An error of 500 or above says only the fixed sentence of its class. What an engine or a\n"
        "disk wrote may hold paths, so it goes to the log.\n\n"
        "Once a stream has begun, an error is its last event, in the form of its\n"
        "dialect, and no `[DONE]` or other usual end follows.\n\n"
        + table(("code", "status", "may be retried", "the engine's fault", "meaning"), rows)
    )
