"""The page of the control API."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, cast

from fastapi import FastAPI
from tests.docs.markdown import NOTE, prose, table

from arbiter.gateway.control import control_app
from arbiter.gateway.control_rooms import ControlRooms
from arbiter.gateway.routes import ROUTES


def control() -> FastAPI:
    """The control API of a house that is not there: what it would answer to."""
    nothing = cast("Any", _Nothing())
    names = dict.fromkeys(inspect.signature(ControlRooms).parameters, nothing)
    return control_app(ControlRooms(**names))


def openapi() -> Mapping[str, Any]:
    """The control API's own description; no house is needed for it."""
    return control().openapi()


class _Nothing:
    """Stands for rooms that nobody enters."""

    def __getattr__(self, name: str) -> _Nothing:
        return self


def control_routes() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Every route of the control API: method, path, what it is."""
    for path, methods in openapi()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), f"/control{path}", operation


def _by_subject(route: tuple[str, str, Mapping[str, Any]]) -> tuple[str, str]:
    _, path, operation = route
    return str(operation["tags"][0]), path


def _does(operation: Mapping[str, Any]) -> str:
    return " ".join(f"{operation['summary']} {operation.get('description', '')}".split())


def _queries(operation: Mapping[str, Any]) -> str:
    names = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
    return ", ".join(f"`{name}`" for name in names)


def control_page() -> str:
    """Every route, and every field of every body."""
    schemas = openapi()["components"]["schemas"]
    parts = [
        "# The control API\n\n"
        + NOTE
        + "\nEverything that a person may look at or change, as JSON under `/control/v1`. The\n"
        "command line uses nothing else. `GET /control/v1/openapi.json` describes it for\n"
        "programs, and `/control/v1/docs` shows the same in a browser (without a script, and\n"
        "from nowhere else). Bodies are `application/json`; errors look as in\n"
        "[errors](errors.md).\n\n"
        "Adding a model or a task and checking models or a swap take long. They answer with\n"
        "one JSON object a line:\n"
        '`{"progress": {"task": ..., "done": ..., "total": ...}}` while they work and\n'
        '`{"result": ...}` at the end. They go on to their end even when nobody listens.\n\n'
        "A profile tells how a version does at a task: means, and under `speed` how its times\n"
        "are spread: `latency_ms`, `first_token_ms` (of streams), `tokens_per_s`, and\n"
        "`prompt_tokens_per_s` where the engine tells it. Each has `samples`, of the latest 200\n"
        "at most, the median `p50`, and what 9 of 10 answers keep to: `p90` of times, `p10` of\n"
        "rates. Older answers count less. What was never timed is null. `speed` of a model\n"
        "itself is that of all its tasks together.\n\n"
        "## Lists\n\n"
        "What is listed comes in parts, in an order that stays: by name, or the oldest first;\n"
        "rollouts and the ledger the newest first. `?limit=` says how many at most, 200 unless\n"
        "you say so and never more than 1000. `next` in the answer is null at the end. Else send\n"
        "it as `?after=`, as it is. What comes and goes meanwhile neither repeats nor skips what\n"
        "stays. The commands put the parts together. Sums and states (`/costs`, `/calibration`,\n"
        "`/prompts`) are no lists and come whole.\n\n"
        "## Changing what somebody else may have changed\n\n"
        "An alias, a task, a rule and a rollout have an `etag`: in the answer, in lists, and\n"
        "as a header where one of them is shown or changed. It changes with what people\n"
        "decided: what an alias points at, what a task or a rule says, the phase and the step of\n"
        "a rollout.\n"
        "Send it in `If-Match` with the next `PUT`, `DELETE` or verb, and nothing is done unless\n"
        "the state is still that one. Otherwise the answer is 412 with the code\n"
        "`changed_meanwhile` and the tag that it has now. `If-Match: *` wants something to be\n"
        "there, `If-None-Match: *` nothing. `/undo` goes by the tag of its alias.\n\n"
        "Without these headers a change is meant whatever the state is, and so are the\n"
        "commands: who writes `arbiter alias set` has said what is wanted. Nothing is lost by\n"
        "it unseen: moves, rollouts and the ledger tell who did what, and a rule's answer has\n"
        "the one that it replaced.\n\n"
        "Settings have no tag: they are a file of yours, which the house only reads.\n\n"
        "## Routes\n\n",
    ]
    routes = [
        (method, f"`{path}`", _does(operation), _queries(operation), _body(operation))
        for method, path, operation in sorted(control_routes(), key=_by_subject)
    ]
    parts.append(table(("method", "path", "what it does", "query", "body"), routes))
    parts.append("\n## Bodies\n")
    for name, schema in sorted(schemas.items()):
        if name == "Error":
            continue
        about = prose(str(schema.get("description", "")))
        parts.append(f"\n### {name}\n\n{about}\n\n")
        needed = set(schema.get("required", ()))
        fields = [
            (
                f"`{field}`",
                _schema_kind(facts),
                "yes" if field in needed else "no",
                str(facts["description"]),
            )
            for field, facts in schema["properties"].items()
        ]
        parts.append(table(("field", "kind", "needed", "meaning"), fields))
    doors = [
        (", ".join(sorted(route.methods)), f"`{route.path}`", (route.access.name or "").lower())
        for route in ROUTES
    ]
    parts.append(
        "\n## Every route of the door\n\nWhat is not in this table cannot be reached. *public* "
        "needs no key, *use*,\n*feedback* and *admin* a key with that scope; an admin key has them "
        "all, and so has every key of\nthe configuration.\n\n"
    )
    parts.append(table(("methods", "path", "access"), doors))
    return "".join(parts)


def _body(operation: Mapping[str, Any]) -> str:
    body = operation.get("requestBody")
    if body is None:
        return ""
    name = str(body["content"]["application/json"]["schema"]["$ref"]).rpartition("/")[2]
    return f"[{name}](#{name.lower()})"


def _schema_kind(facts: Mapping[str, Any]) -> str:
    if "$ref" in facts:
        name = str(facts["$ref"]).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in facts:
        return " or ".join(_schema_kind(part) for part in facts["anyOf"])
    if "enum" in facts:
        return " or ".join(f"`{word}`" for word in facts["enum"])
    words = {
        "array": "list",
        "string": "text",
        "boolean": "true or false",
        "null": "null",
        "integer": "whole number",
        "number": "number",
        "object": "object",
    }
    return words.get(str(facts.get("type")), "any")
