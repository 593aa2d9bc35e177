"""The page of the settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from tests.docs.markdown import NOTE, table

from arbiter.config import ENVIRONMENT as VARIABLES
from arbiter.config import Settings

ENVIRONMENT = {setting: name for name, setting in VARIABLES.items()}


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
        + table(("setting", "kind", "default", "allowed", "meaning"), rows)
    )
