"""Settings: a TOML file, the environment, the command line; the later wins.

Parsed with pydantic here, at the edge; every mistake names the field and what is allowed.
"""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from arbiter.addresses import parse_address, parse_ollama_host
from arbiter.errors import ConfigError, InvalidField

LOG = logging.getLogger(__name__)

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8017
MOST_INSTANCES = 16
"""Of one version, on this machine."""

ENVIRONMENT = {
    "ARBITER_HOST": "door.host",
    "ARBITER_PORT": "door.port",
    "ARBITER_DATA_DIR": "data_dir",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "telemetry.otlp_endpoint",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "telemetry.otlp_traces_endpoint",
    "OTEL_SDK_DISABLED": "telemetry.disabled",
}
"""Variables that set something. Those of OpenTelemetry are its own."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DoorSettings(_Section):
    """Where the door listens and whom it lets in."""

    host: str = Field(DEFAULT_HOST, description="Address to listen on.")
    port: int = Field(DEFAULT_PORT, ge=0, le=65535, description="Port to listen on; 0 picks one.")
    keys: tuple[str, ...] = Field(
        (), description="Keys that clients must send. Needed for any host but loopback."
    )
    allowed_hosts: tuple[str, ...] = Field(
        (), description="Further names that may stand in the Host header."
    )
    max_body_mb: float = Field(16.0, gt=0, le=1024, description="Largest request body, in MB.")
    drain_s: float = Field(
        20.0, ge=0, description="How long running requests may go on when the house closes."
    )
    tell_after_s: float = Field(
        10.0,
        ge=0,
        description="A stream that waits so long begins with comments that say for what; 0: never.",
    )


class SelectionSettings(_Section):
    """How `auto` picks."""

    strategy: Literal["learned", "static"] = Field(
        "learned",
        description="learned: by what is believed of every version, trying others within bounds. "
        "static: the highest mean score, 0.5 until ten samples.",
    )
    quality: float = Field(0.4, ge=0, description="Weight of graded quality.")
    latency: float = Field(0.3, ge=0, description="Weight of latency.")
    memory: float = Field(0.2, ge=0, description="Weight of memory.")
    reliability: float = Field(0.1, ge=0, description="Weight of reliability.")
    energy: float = Field(
        0.0, ge=0, description="Weight of the energy that a solved task takes, where it is counted."
    )
    limit_share: float = Field(
        0.9, ge=0.5, le=0.99, description="Share of answers that must keep to a latency limit."
    )
    guess_tasks: bool = Field(
        True, description="Whether `auto` guesses the task of a request that names none."
    )
    guess_confidence: float = Field(
        0.8, ge=0.5, le=1, description="How probable a task must be to be guessed."
    )

    @model_validator(mode="after")
    def _weigh(self) -> Self:
        if self.quality + self.latency + self.memory + self.reliability + self.energy <= 0:
            raise ValueError("one weight at least is above 0")
        return self


class PoolSettings(_Section):
    """Loaded instances."""

    memory_mb: float | None = Field(
        None, gt=0, description="Memory for models; by default 70 % of what the machine has free."
    )
    context: int = Field(4096, ge=128, description="Largest context to load a model with, tokens.")
    slots: int = Field(4, ge=1, le=256, description="Requests that an instance serves at once.")
    threads: int | None = Field(None, ge=1, description="Threads of an instance; engine's default.")
    server_slots: int = Field(
        32, ge=1, le=4096, description="Requests sent at once to a model that a server offers."
    )
    queue: int = Field(256, ge=1, description="Requests that may wait for one version.")
    wait_s: float = Field(
        300.0, gt=0, description="Longest wait for a free slot, or for memory to load."
    )
    first_s: float | None = Field(
        None,
        gt=0,
        description="Longest silence before an answer begins, seconds; by default 600 of a server, "
        "300 of llama.cpp.",
    )
    next_s: float | None = Field(
        None,
        gt=0,
        description="Longest silence within an answer; by default 600 of Ollama, 120 of another "
        "server, 30 of llama.cpp. Never longer than first_s.",
    )
    whole_s: float | None = Field(
        None,
        gt=0,
        description="Longest time for an answer in one piece, and for the next piece of a stream "
        "that only keeps itself alive; by default 1800.",
    )
    drain_s: float = Field(
        600.0, gt=0, description="Call an unload off when answers still run after so many seconds."
    )
    turn_s: float = Field(
        30.0,
        gt=0,
        description="Once others have waited so long for its memory, a model in use ends its turn.",
    )
    stay_s: float = Field(
        10.0, ge=0, description="A model that was loaded and served nobody yet stays so long."
    )
    headroom_mb: float | None = Field(
        None, ge=0, description="Memory to leave to others; by default 5 % of the machine's."
    )
    look_s: float = Field(
        5.0,
        ge=0,
        description="Look this often at what others leave, what is pinned and who is stuck; "
        "0 does not look.",
    )
    probe_s: float = Field(
        300.0,
        ge=0,
        description="Probe a loaded model with a few tokens when nobody asked it for so long, and "
        "sooner when it fails; 0: never.",
    )
    probe_limit_s: float = Field(
        60.0, gt=0, description="A probe that has no whole answer by then has failed."
    )
    probe_on_battery: bool = Field(False, description="Whether to probe on battery too.")
    priorities: dict[str, int] = Field(
        default_factory=dict,
        description="By name: who has more leaves memory later. Without one a model has 0.",
    )
    instances: dict[str, int] = Field(
        default_factory=dict,
        description="By name: how often a model may be in memory at once, up to 16. One more is "
        "loaded when every slot is taken and there is room. Without one a model has 1.",
    )
    weights: dict[str, float] = Field(
        default_factory=dict,
        description="By a server's address: its share beside others with the same version; 0: only "
        "when no other can serve. Without one a server has 1.",
    )
    cache_bound: float = Field(
        2.0,
        ge=0,
        description="A conversation goes back to the instance whose cache holds it, unless that "
        "one has so many requests more than the least busy one.",
    )
    slow_start_s: float = Field(
        10.0,
        ge=0,
        description="An instance that is new, or well again, gets its share little by little for "
        "so long, or for 16 requests; 0: at once.",
    )
    helpers: tuple[str, ...] = Field(
        (),
        description="Names of models that only help others, such as a judge: no model that people "
        "use leaves memory for them.",
    )
    retry_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Of the requests of the last 10 s so many may be tried again, of all together.",
    )
    retry_floor: int = Field(
        32, ge=0, description="So many may be tried again in 10 s in any case."
    )

    @field_validator("instances")
    @classmethod
    def _few(cls, value: dict[str, int]) -> dict[str, int]:
        if not all(1 <= count <= MOST_INSTANCES for count in value.values()):
            raise ValueError(f"a model has 1 to {MOST_INSTANCES} instances")
        return value

    @field_validator("weights")
    @classmethod
    def _servers(cls, value: dict[str, float]) -> dict[str, float]:
        if not all(0 <= weight <= 1000 for weight in value.values()):
            raise ValueError("a weight is a number from 0 to 1000")
        return {_address(url): weight for url, weight in value.items()}


class DiscoverySettings(_Section):
    """Models that are there already: servers that run, folders of files."""

    enabled: bool = Field(True, description="Whether `arbiter up` looks for models.")
    usual: bool = Field(
        True, description="Look at the usual ports of this machine and the usual folders too."
    )
    servers: tuple[str, ...] = Field(
        (), description="Addresses of further servers, of this machine or of another."
    )
    folders: tuple[Path, ...] = Field((), description="Further folders of model files.")
    register_found: Literal["all", "servers", "none"] = Field(
        "all", description="What to register of what was found; the rest is only shown."
    )
    every_s: float = Field(
        15.0, ge=1, description="Look again this often; a server's loss is noticed at once."
    )
    keys: dict[str, str] = Field(
        default_factory=dict, description="The key to send to a server, by its address."
    )
    alike: tuple[tuple[str, ...], ...] = Field(
        (),
        description="Groups of servers that run the same models: what two of a group claim alike "
        "is one version, and both serve it. Servers that tell digests need none.",
    )
    options: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="Options to load a server's model with, by its name there, such as num_ctx; "
        "other options are another version.",
    )

    @field_validator("servers")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_address(url) for url in value)

    @field_validator("alike")
    @classmethod
    def _groups(cls, value: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        groups = tuple(tuple(_address(url) for url in group) for group in value)
        urls = [url for group in groups for url in group]
        if len(urls) != len(set(urls)):
            raise ValueError("a server is in one group, once")
        return groups

    def firsts(self) -> dict[str, str]:
        """By its address, the first server of the group of each server that is in one.

        >>> DiscoverySettings(alike=(("http://a:1", "http://b:1"),)).firsts()
        {'http://a:1': 'http://a:1', 'http://b:1': 'http://a:1'}
        """
        return {url: group[0] for group in self.alike for url in group}

    @field_validator("folders")
    @classmethod
    def _folders(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        try:
            return tuple(folder.expanduser().absolute() for folder in value)
        except RuntimeError as error:
            raise ValueError("it names the home of nobody here") from error

    @field_validator("keys")
    @classmethod
    def _keys(cls, value: dict[str, str]) -> dict[str, str]:
        return {_address(url): key for url, key in value.items()}


class RolloutSettings(_Section):
    """How one version replaces another. Error rates are per rollout."""

    schedule: Literal["proved", "clock"] = Field(
        "proved", description="What takes the candidate to all of the traffic: proof, or time."
    )
    soak_s: float = Field(3600.0, ge=0, description="Least time on each step, seconds.")
    steps: tuple[float, ...] | None = Field(
        None,
        description="Shares of traffic for the candidate; by default 0.1 to 0.5, or to 0.9 with "
        "the schedule clock.",
    )
    min_units: int = Field(20, ge=1, description="Fewest new candidate units a step.")
    alpha_rollback: float = Field(
        0.05, gt=0, lt=0.5, description="Chance of ever rolling back a version that is not worse."
    )
    alpha_promote: float = Field(
        0.05, gt=0, lt=0.5, description="Chance of ever promoting one that is worse by the margin."
    )
    margin: float = Field(0.05, gt=0, lt=0.5, description="How much worse is worse.")
    expiry_s: float = Field(
        604800.0, gt=0, description="Ask after this long without a verdict; longer than soak_s."
    )
    keep_s: float = Field(
        604800.0, ge=0, description="Keep the old version this long, seconds of an open house."
    )
    holdback: float = Field(
        0.05, ge=0, le=0.5, description="Share of conversations that stay with it so long; 0: none."
    )
    alpha_drift: float = Field(
        0.0001,
        gt=0,
        lt=0.5,
        description="An alarm has no cause once in 1 / alpha_drift graded conversations or less.",
    )
    on_drift: Literal["undo", "ask"] = Field(
        "undo", description="When the new version became worse than the old: go back, or say so."
    )
    budget: float = Field(
        100.0,
        ge=0,
        description="Bad answers more than the old version would have given; 0 is no bound.",
    )
    over_budget: Literal["ask", "abort"] = Field(
        "ask", description="When that many are spent: pause and ask, or go back."
    )
    judge_share: float = Field(
        0.0, ge=0, le=1, description="Share of conversations to be judged where no rule grades."
    )
    judge_within_s: float = Field(
        3600.0,
        gt=0,
        description="A judgement that has not come by then counts as 0; after a promotion it counts"
        " for nothing.",
    )
    shadow: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Share of conversations asked of both versions; one answers, and the other is "
        "asked when nobody waits.",
    )
    quality: Literal["critical", "dry_run"] = Field(
        "critical", description="Whether grades decide, or are only shown."
    )
    reliability: Literal["critical", "dry_run", "off"] = Field(
        "dry_run", description="Whether failures to answer decide, or are only shown."
    )
    reliability_margin: float = Field(
        0.02, gt=0, le=1, description="How much less often it may answer."
    )
    reliability_alpha: float = Field(
        0.01, gt=0, lt=0.5, description="Chance of ever rolling back one that fails no more often."
    )
    latency: Literal["critical", "dry_run", "off"] = Field(
        "dry_run", description="Whether latency decides, or is only shown."
    )
    latency_margin: float = Field(0.2, gt=0, le=1, description="How much longer it may take.")
    latency_alpha: float = Field(
        0.01, gt=0, lt=0.5, description="Chance of ever rolling back one that is no slower."
    )
    hooks: tuple[str, ...] = Field(
        (), description="Addresses that are told of every change, and asked before more traffic."
    )
    hook_timeout_s: float = Field(
        10.0, gt=0, le=600, description="A hook that has not answered by then blocks."
    )
    slice_s: float | None = Field(
        None,
        ge=1,
        description="With --apart slices, how long each window is, seconds; by default 15 minutes, "
        "or 20 times as long as a load.",
    )
    calibration_cases: int = Field(
        48, ge=10, description="Stored cases to run for each task when a version is registered."
    )

    @field_validator("steps")
    @classmethod
    def _rising(
        cls, value: tuple[float, ...] | None, info: ValidationInfo
    ) -> tuple[float, ...] | None:
        most = 0.99 if info.data.get("schedule") == "clock" else 0.5
        if value is None:
            return None
        inside = all(0.001 <= step <= most for step in value)
        if not value or not inside or any(later <= step for step, later in pairwise(value)):
            raise ValueError(
                f"steps are shares from 0.001 to {most}, each larger than the one before"
            )
        return value

    @field_validator("hooks")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            parts = urlsplit(url)
            if parts.scheme not in {"http", "https"} or parts.fragment or not url.isprintable():
                raise ValueError("a hook is a whole address, such as http://127.0.0.1:9000/arbiter")
            try:
                parse_address(f"{parts.scheme}://{parts.netloc}")
            except InvalidField as error:
                raise ValueError(error.message) from error
        return value

    @field_validator("expiry_s")
    @classmethod
    def _longer(cls, value: float, info: ValidationInfo) -> float:
        if value <= info.data.get("soak_s", 0.0):
            raise ValueError("expiry_s is longer than soak_s: a step has to fit in")
        return value


class CalibrationSettings(_Section):
    """Graded cases that are run in idle time."""

    enabled: bool = Field(True, description="Whether to run graded cases in idle time.")
    first_cases: int = Field(
        12, ge=10, description="Cases of each task that every version is run on first."
    )
    most_cases: int | None = Field(
        None,
        ge=10,
        description="Most cases of a task, where the pick is close; by default "
        "rollout.calibration_cases.",
    )
    idle_s: float = Field(
        30.0, ge=0, description="Begin when nobody was served for this long, seconds."
    )
    cases_per_day: int = Field(
        2_000, ge=0, description="Begin no case when so many were run in the last 24 hours."
    )
    on_battery: bool = Field(False, description="Whether to run them on battery too.")
    examine: bool = Field(
        True, description="Whether to run a version's cases again when it may have got worse."
    )

    @model_validator(mode="after")
    def _first_is_not_most(self) -> Self:
        if self.most_cases is not None and self.most_cases < self.first_cases:
            raise ValueError("most_cases is not smaller than first_cases")
        return self


class PrivacySettings(_Section):
    """What is kept of what people ask."""

    store_prompts: bool = Field(
        False, description="Whether to keep requests of tasks with their answers, to harvest."
    )
    most_prompts: int = Field(
        5_000, ge=1, description="Most requests to keep; the oldest are deleted first."
    )
    keep_days: float = Field(
        30.0, gt=0, le=3650, description="Delete kept requests after so many days."
    )


class MeteringSettings(_Section):
    """What is read of the machine for receipts."""

    rapl: Literal["package", "psys"] = Field(
        "package",
        description="Which of the processor's energy counts to take: its packages, or the whole "
        "board where that is counted.",
    )
    cpu_idle_w: float | None = Field(
        None, ge=0, description="What the processor takes at rest, watts; only for an estimate."
    )
    cpu_full_w: float | None = Field(
        None,
        gt=0,
        description="What it takes with every thread busy, watts; both given, energy that nothing "
        "counts is estimated.",
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.cpu_idle_w is None) != (self.cpu_full_w is None):
            raise ValueError("cpu_idle_w and cpu_full_w are given together")
        if (self.cpu_idle_w or 0.0) > (self.cpu_full_w or 0.0):
            raise ValueError("cpu_full_w is not less than cpu_idle_w")
        return self


class TelemetrySettings(_Section):
    """Traces, for OpenTelemetry. Nothing is written or sent unless an endpoint is set."""

    otlp_endpoint: str | None = Field(
        None,
        description="Address of an OTLP collector, to which traces are sent, such as "
        "http://127.0.0.1:4318; /v1/traces is put behind it.",
    )
    otlp_traces_endpoint: str | None = Field(
        None, description="The whole address for traces, taken as it is and in place of the other."
    )
    record_content: bool = Field(
        False, description="Whether traces hold what was asked and answered."
    )
    disabled: bool = Field(False, description="Write no traces, whatever endpoint is set.")

    @field_validator("otlp_endpoint", "otlp_traces_endpoint")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).scheme not in {"http", "https"}:
            raise ValueError("it begins with http:// or https://")
        return value

    @property
    def traces_url(self) -> str | None:
        """Where traces are sent; None: nowhere.

        >>> TelemetrySettings(otlp_endpoint="http://127.0.0.1:4318/").traces_url
        'http://127.0.0.1:4318/v1/traces'
        """
        if self.disabled:
            return None
        if self.otlp_traces_endpoint is not None:
            return self.otlp_traces_endpoint
        base = self.otlp_endpoint
        return None if base is None else f"{base.rstrip('/')}/v1/traces"


class LogSettings(_Section):
    """What `arbiter up` writes to its standard error."""

    format: Literal["text", "json"] = Field(
        "text", description="Lines for people, or one JSON object a line."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        "warning",
        description="The least that is written. From info on, every request and everything that "
        "happens to models has a line; prompts and keys never do.",
    )


class Settings(_Section):
    """Everything that can be set."""

    data_dir: Path = Field(
        default_factory=lambda: Path.home() / ".arbiter", description="Where everything is kept."
    )
    door: DoorSettings = DoorSettings()
    selection: SelectionSettings = SelectionSettings()
    pool: PoolSettings = PoolSettings()
    rollout: RolloutSettings = RolloutSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    privacy: PrivacySettings = PrivacySettings()
    metering: MeteringSettings = MeteringSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    log: LogSettings = LogSettings()
    discovery: DiscoverySettings = DiscoverySettings()
    aliases: dict[str, str] = Field(
        default_factory=lambda: {
            "fast": "gemma3:1b",
            "primary": "gemma3n:e2b",
            "quality": "gemma3n:e4b",
            "alternative": "gemma3:4b",
        },
        description="Aliases to set when their model is first found, unless they stand already.",
    )

    @field_validator("data_dir")
    @classmethod
    def _at_home(cls, value: Path) -> Path:
        try:
            return value.expanduser().absolute()
        except RuntimeError as error:
            raise ValueError(f"{value} names the home of nobody here") from error


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
        if environment.get(name):
            _put(tree, field, environment[name])
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


def differences(before: Settings, after: Settings) -> tuple[str, ...]:
    """The names of the settings that are not the same, such as ``pool.slots``.

    >>> one = Settings(pool=PoolSettings(slots=2))
    >>> differences(one, Settings(pool=PoolSettings(slots=3)))
    ('pool.slots',)
    """
    found = []
    for name in Settings.model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if isinstance(old, BaseModel):
            fields = type(old).model_fields
            found += [f"{name}.{f}" for f in fields if getattr(old, f) != getattr(new, f)]
        elif old != new:
            found.append(name)
    return tuple(found)


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


def _address(text: str) -> str:
    try:
        return parse_address(text)
    except InvalidField as error:
        raise ValueError(error.sentence.rstrip(".")) from error


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
