"""Settings out of a file, the environment and the command line, and what is wrong with them."""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ValidationError

from arbiter.addresses import parse_ollama_host
from arbiter.config.settings import Settings
from arbiter.config.telemetry import WEB
from arbiter.errors import ConfigError, InvalidField

LOG = logging.getLogger(__name__)

ENVIRONMENT = {
    "ARBITER_HOST": "door.host",
    "ARBITER_PORT": "door.port",
    "ARBITER_DATA_DIR": "data_dir",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "telemetry.otlp_endpoint",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "telemetry.otlp_traces_endpoint",
    "OTEL_SDK_DISABLED": "telemetry.disabled",
}
"""Variables that set something. Those of OpenTelemetry are its own."""


def load_settings(
    *,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """The settings from a file, then the environment, then overrides such as ``door.port``.

    Raises `ConfigError` that names the file, the field and what is allowed.
    """
    environment = os.environ if environment is None else environment
    variable = environment.get("ARBITER_CONFIG")
    named = config or (Path(variable) if variable else None)
    tree = _file(named) if named is not None else {}
    for name, field in ENVIRONMENT.items():
        given = _heeded(name, environment.get(name, ""))
        if given:
            _put(tree, field, given)
    if environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        _put(tree, "telemetry.disabled", True)
    if environment.get("OLLAMA_HOST", "").strip(" \t\"'"):
        _also_look_at(tree, environment["OLLAMA_HOST"])
    for field, value in (overrides or {}).items():
        if value is not None:
            _put(tree, field, value)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ConfigError(
                f"There is no setting {field}" + (f" ({named})." if named else "."),
                hint="docs/reference/configuration.md lists every setting.",
                param=field,
            ) from error
        where = f" in {named}" if named is not None else ""
        said = first["msg"].replace("a valid tuple", "a list")  # as a file has it
        raise ConfigError(
            f"The setting {field}{where} is not valid: {said}.",
            hint="docs/reference/configuration.md lists every setting.",
            param=field,
        ) from error


def _heeded(name: str, given: str) -> str:
    """A variable's value; nothing for one of OpenTelemetry's that says nothing here.

    Those are for every program of a person and often meant for another: no reason not to start.
    """
    if not given or not name.startswith("OTEL_"):
        return given
    if name == "OTEL_SDK_DISABLED":
        # as its specification has it: whatever is not true is false
        return "true" if given.strip().lower() == "true" else "false"
    if urlsplit(given).scheme not in WEB:
        LOG.warning("%s is left out. It does not begin with http:// or https://.", name)
        return ""
    return given


def _also_look_at(tree: dict[str, object], host: str) -> None:
    """Where a person's Ollama listens when it is not the usual address, as Ollama reads it.

    What is no address is left out: it is another program's setting, and no reason not to start.
    """
    try:
        address = parse_ollama_host(host)
    except InvalidField as error:
        LOG.warning("OLLAMA_HOST is left out. %s", error.sentence)
        return
    section = tree.setdefault("discovery", {})
    if isinstance(section, dict):
        listed = section.get("servers", [])
        if isinstance(listed, list):
            section["servers"] = [*listed, address]


def _file(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"The configuration file {path} cannot be read: {error.strerror}.",
            hint="Check the path given by --config or ARBITER_CONFIG.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error


def _put(tree: dict[str, object], dotted: str, value: object) -> None:
    *sections, last = dotted.split(".")
    for section in sections:
        inner = tree.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{section} is a section of settings, not a value.", param=section)
        tree = inner
    tree[last] = value
