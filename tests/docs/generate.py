"""Writes the generated parts of the docs: `make docs`.

Each page is a function from the program to text, so that a test can compare without writing. The
graders stand in the middle of a page that people write; the other pages are generated whole.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import click
import typer.main
from fastapi import FastAPI
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from arbiter import app, errors, house
from arbiter.cli.main import app as commands
from arbiter.config import ENVIRONMENT as VARIABLES
from arbiter.config import Settings
from arbiter.gateway import metrics, rendering
from arbiter.gateway.control import control_app
from arbiter.gateway.control_rooms import ControlRooms
from arbiter.gateway.routes import ROUTES
from arbiter.judge.graders import KINDS, needs_expected, parse_grader
from arbiter.telemetry import MOST_SERIES

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"

NOTE = "<!-- Written by `make docs`; changes by hand are lost. -->\n"

ENVIRONMENT = {setting: name for name, setting in VARIABLES.items()}


def _plain(text: str) -> str:
    """Docstring markup as Markdown: one backtick, and no line ends inside a paragraph."""
    text = inspect.cleandoc(text).replace("``", "`")
    return "\n\n".join(
        part if part.lstrip().startswith(("-", "    ")) else " ".join(part.split())
        for part in text.split("\n\n")
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


# -- the command line


def command_tree() -> click.Group:
    """Every command, as click sees it."""
    return cast("click.Group", typer.main.get_command(commands))


def walk(
    group: click.Group, path: tuple[str, ...] = ("arbiter",)
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it, groups before what they hold."""
    yield path, group
    for name, command in sorted(group.commands.items()):
        if _is_group(command):
            yield from walk(cast("click.Group", command), (*path, name))
        else:
            yield (*path, name), command


def _is_group(command: click.Command) -> bool:
    return hasattr(command, "commands")


def cli_page() -> str:
    """The help of every command."""
    parts = [
        "# The command line\n\n"
        + NOTE
        + "\nEvery command speaks to the running house of its data directory. When none runs, it\n"
        "opens the house for itself and closes it again. Every command takes `--json` and then\n"
        "prints one JSON document on stdout. Progress and errors go to stderr. A command that\n"
        "fails ends with 1, a command line that is not understood with 2.\n\n"
        "When the house asks for a key, put it into the environment variable `ARBITER_KEY`.\n",
    ]
    for path, command in walk(command_tree()):
        words = " ".join(path)
        parts.append(f"\n## {words}\n\n```text\n{_help(command, words)}\n```\n")
    return "".join(parts)


def _help(command: click.Command, words: str) -> str:
    context = click.Context(command, info_name=words, terminal_width=88, max_content_width=88)
    lines = command.get_help(context).strip().splitlines()
    return "\n".join(line.rstrip() for line in lines)


# -- settings


def settings() -> Iterator[tuple[str, str, str, str, str]]:
    """Every setting: name, kind, default, what is allowed, what it means."""
    yield from _fields(Settings, "")


def _fields(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str, str, str]]:
    schema = cast("Mapping[str, Mapping[str, Any]]", model.model_json_schema()["properties"])
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _fields(inner, f"{prefix}{name}.")
            continue
        found = field.get_default(call_default_factory=True)
        default = "`~/.arbiter`" if name == "data_dir" else _default(found)
        facts = schema[name]
        yield f"{prefix}{name}", _kind(facts), default, _bounds(facts), field.description or ""


def _default(value: object) -> str:
    if value is PydanticUndefined:
        raise ValueError("a setting without a default would need one said here")
    if value is None:
        return "none"
    return f"`{json.dumps(value)}`"


def _parts(facts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = cast("list[Mapping[str, Any]]", facts.get("anyOf", [facts]))
    return [part for part in found if part.get("type") != "null"]


def _kind(facts: Mapping[str, Any]) -> str:
    words = {
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "boolean": "true or false",
        "array": "list",
        "object": "table",
    }
    part = _parts(facts)[0]
    kind = words[cast("str", part["type"])]
    if kind == "list":
        kind += f" of {words[part['items']['type']]}s"
    if kind == "table":
        kind += f" of {words[part['additionalProperties']['type']]}s"
    return kind


def _bounds(facts: Mapping[str, Any]) -> str:
    part = _parts(facts)[0]
    if "const" in part:
        return f"`{part['const']}`"
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    words = (
        ("minimum", "from {:g}"),
        ("exclusiveMinimum", "above {:g}"),
        ("maximum", "to {:g}"),
        ("exclusiveMaximum", "below {:g}"),
    )
    return " ".join(text.format(part[key]) for key, text in words if key in part) or "any"


def configuration_page() -> str:
    """Every setting."""
    rows = [
        (f"`{name}`", kind, default, allowed, meaning)
        for name, kind, default, allowed, meaning in settings()
    ]
    variables = "\n".join(f"- `{value}` sets `{key}`" for key, value in ENVIRONMENT.items())
    return (
        "# Configuration\n\n" + NOTE + "\nSettings come from a TOML file, then from the "
        "environment, then from the command line.\nThe later wins. A name that is not in the "
        "table is an error, so a spelling mistake is\nfound at once.\n\n"
        "The file is named by `--config` or by `ARBITER_CONFIG`. A dot in a name is a section:\n\n"
        '```toml\ndata_dir = "~/.arbiter"\n\n[door]\nport = 8017\n\n[rollout]\nsoak_s = 600\n'
        "```\n\n"
        f"The environment:\n\n{variables}\n- `ARBITER_CONFIG` names the file\n"
        "- `OLLAMA_HOST` is one more of `discovery.servers`, as Ollama's own commands read it;\n"
        "  what is no address is left out, with a warning\n"
        "- `OTEL_TRACES_EXPORTER=none` sets `telemetry.disabled`; an endpoint of OpenTelemetry's "
        "variables\n  that does not begin with http:// or https:// is left out, with a warning\n"
        "- `ARBITER_KEY` is the key that commands send; it is no setting of the house\n\n"
        "In Python two underscores stand for the dot: "
        '`arbiter.open("data", rollout__soak_s=600)`.\n\n'
        + _table(("setting", "kind", "default", "allowed", "meaning"), rows)
    )


# -- errors


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
            _plain(one.__doc__ or ""),
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
        + _table(("code", "status", "may be retried", "the engine's fault", "meaning"), rows)
    )


# -- the control API


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
    parts.append(_table(("method", "path", "what it does", "query", "body"), routes))
    parts.append("\n## Bodies\n")
    for name, schema in sorted(schemas.items()):
        if name == "Error":
            continue
        about = _plain(str(schema.get("description", "")))
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
        parts.append(_table(("field", "kind", "needed", "meaning"), fields))
    doors = [
        (", ".join(sorted(route.methods)), f"`{route.path}`", (route.access.name or "").lower())
        for route in ROUTES
    ]
    parts.append(
        "\n## Every route of the door\n\nWhat is not in this table cannot be reached. *public* "
        "needs no key, *use*,\n*feedback* and *admin* a key with that scope; an admin key has them "
        "all, and so has every key of\nthe configuration.\n\n"
    )
    parts.append(_table(("methods", "path", "access"), doors))
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


# -- metrics


def metrics_page() -> str:
    """Every family of `/metrics`."""
    rows = [
        (
            f"`{family.name}{'_total' if family.type == 'counter' else ''}`",
            family.type,
            ", ".join(family._labelnames),  # type: ignore[attr-defined]  # it has no other way
            family.documentation,
        )
        for family in metrics.families()
    ]
    return (
        "# Metrics\n\n" + NOTE + "\n`GET /metrics` is a page for Prometheus; "
        "[watch it](../how-to/watch-it.md) says how to read it.\nTimes are in seconds, memory is "
        "in bytes, energy in joules. Everything counts from the start of the\nhouse. What is not "
        "known is missing, and never 0.\n\n"
        "`version` is the beginning of its digest. `alias`, `version` and `task` are names that "
        "are registered,\nnever what a client made up. Up to "
        f"{MOST_SERIES:,} combinations of them are told apart; what is one too\nmany is added up "
        "under `others`. A histogram has `_bucket`, `_sum` and `_count`.\n\n"
        + _table(("name", "kind", "labels", "what it is"), rows)
    )


# -- the Python API


_PYTHON = (
    "# The Python API\n\n"
    + NOTE
    + """
The same house as behind the door, in your own program: the same decisions, the same record. One
process at a time may open a data directory. Everything is typed.

```python
import asyncio

import arbiter


async def main() -> None:
    async with arbiter.open("python-api") as house:
        await house.add("sparrow.gguf", "sparrow")
        answered = await house.ask("Sentiment: the soup felt wonderful")
        print(answered.text)
        print(answered.reply.decided.reason)


asyncio.run(main())
```
"""
)


def python_page() -> str:
    """The public API, from its signatures and docstrings."""
    opening = _signature("arbiter.open", app.open_at)
    parts = [_PYTHON]
    parts.append(f"\n## arbiter.open\n\n```text\n{opening}\n```\n\n")
    parts.append(f"{_plain(app.open_at.__doc__ or '')}\n")
    parts.append(f"\n## House\n\n{_plain(house.House.__doc__ or '')}\n")
    for name, member in vars(house.House).items():
        if name.startswith("_") or not callable(member):
            continue
        parts.append(
            f"\n### house.{name}\n\n```text\n{_signature(name, member)}\n```\n\n"
            f"{_plain(member.__doc__ or '')}\n"
        )
    parts.append(
        f"\n## Answered\n\n{_plain(house.Answered.__doc__ or '')}\n\n"
        "`text` is the answer. `reply.decided` is the decision: `decision`, `task`, `alias`,\n"
        "`version`, `arm`, `reason`, `probability`, `rollout`, `fallback`, `scores`, `dropped`.\n"
        f"\n## Embedded\n\n{_plain(house.Embedded.__doc__ or '')}\n"
    )
    return "".join(parts)


def _signature(name: str, function: Callable[..., object]) -> str:
    plain = inspect.unwrap(function)
    kind = "async " if inspect.iscoroutinefunction(plain) else ""
    if plain is not function:
        kind = "async with "
    signature = inspect.signature(plain)
    result = str(signature.return_annotation)
    result = re.sub(r"AsyncIterator\[(.*)\]", r"\1", result) if plain is not function else result
    lines: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*," not in lines:
            lines.append("*,")
        if parameter.name != "self":
            lines.append(f"{_parameter(parameter)},")
    if len(lines) < 2:
        return f"{kind}{name}({''.join(lines).rstrip(',')}) -> {result}"
    return f"{kind}{name}(\n{textwrap.indent(chr(10).join(lines), '    ')}\n) -> {result}"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
    text = f"{stars}{parameter.name}: {parameter.annotation}"
    default = parameter.default
    if default is parameter.empty:
        return text
    if callable(default):
        return f"{text} = {default.__name__}"
    plain = isinstance(default, str | int | float | None)
    return f"{text} = {default!r}" if plain else f"{text} = {type(default).__name__}()"


# -- graders, in the middle of a page that people write

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
    return _table(("grader", "1 when", "options", "expected answer"), rows)


def _expects(kind: str) -> str:
    if not needs_expected(parse_grader(kind, _NEEDED.get(kind, {}))):
        return "not used"
    return "needed, unless `pattern` is given" if "pattern" in KINDS[kind] else "needed"


# -- writing

PAGES: Mapping[str, Callable[[], str]] = {
    "metrics.md": metrics_page,
    "cli.md": cli_page,
    "configuration.md": configuration_page,
    "errors.md": errors_page,
    "control-api.md": control_page,
    "python-api.md": python_page,
}
PARTS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "file-formats.md": {"graders": graders_table}
}


def filled(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """A page with its generated parts written anew, between their two marks."""
    for name, make in parts.items():
        begin, end = f"<!-- generated: {name} -->\n", f"<!-- end: {name} -->\n"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"The marks of {name} are missing.")
        text = f"{before}{begin}{make()}{end}{after}"
    return text


def generated() -> Iterator[tuple[Path, str]]:
    """Every file with generated parts, and what it should hold."""
    for name, make in PAGES.items():
        yield REFERENCE / name, make()
    for name, parts in PARTS.items():
        path = REFERENCE / name
        yield path, filled(path.read_text(encoding="utf-8"), parts)


def main() -> None:
    """Write them all."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for path, text in generated():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
