"""Settings: which source wins, and that every mistake names its field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel

from arbiter.config import Settings, load_settings
from arbiter.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    file = folder / "arbiter.toml"
    file.write_text(text, encoding="utf-8")
    return file


# -- which source wins


def test_without_any_source_every_setting_has_its_default() -> None:
    settings = load_settings(environment={})
    assert settings == Settings()
    assert (settings.door.host, settings.door.port) == ("127.0.0.1", 8017)
    assert settings.data_dir == Path.home() / ".arbiter"


def test_the_file_wins_over_the_defaults(tmp_path: Path) -> None:
    file = written(tmp_path, '[door]\nport = 1\nkeys = ["sk"]\n[rollout]\nsteps = [0.2, 0.4]\n')
    settings = load_settings(config=file, environment={})
    assert (settings.door.port, settings.door.keys) == (1, ("sk",))
    assert settings.rollout.steps == (0.2, 0.4)
    assert settings.door.host == "127.0.0.1"


ENVIRONMENT = {
    "ARBITER_HOST": "::1",
    "ARBITER_PORT": "2",
    "ARBITER_DATA_DIR": "/data",
}


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, 'data_dir = "/file"\n[door]\nport = 1\nhost = "localhost"\n')
    settings = load_settings(config=file, environment=ENVIRONMENT)
    assert (settings.door.host, settings.door.port) == ("::1", 2)
    assert settings.data_dir == Path("/data")


def test_the_command_line_wins_over_the_environment(tmp_path: Path) -> None:
    file = written(tmp_path, "[door]\nport = 1\n")
    overrides = {"door.port": 3, "pool.memory_mb": 100.0, "data_dir": Path("/mine")}
    settings = load_settings(config=file, environment=ENVIRONMENT, overrides=overrides)
    assert (settings.door.port, settings.door.host) == (3, "::1")
    assert (settings.pool.memory_mb, settings.data_dir) == (100.0, Path("/mine"))


def test_an_override_of_none_overrides_nothing() -> None:
    assert load_settings(environment=ENVIRONMENT, overrides={"door.port": None}).door.port == 2


def test_the_environment_may_name_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "[door]\nport = 1\n")
    assert load_settings(environment={"ARBITER_CONFIG": str(file)}).door.port == 1


def test_a_named_file_wins_over_the_one_in_the_environment(tmp_path: Path) -> None:
    file = written(tmp_path, "[door]\nport = 1\n")
    settings = load_settings(config=file, environment={"ARBITER_CONFIG": "/absent.toml"})
    assert settings.door.port == 1


@pytest.mark.parametrize("name", ["ARBITER_CONFIG", *ENVIRONMENT])
def test_an_empty_variable_sets_nothing(name: str) -> None:
    # An empty ARBITER_CONFIG named the folder that one happened to be in.
    assert load_settings(environment={name: ""}) == Settings()


def test_the_data_directory_may_be_named_from_home() -> None:
    settings = load_settings(environment={"ARBITER_DATA_DIR": "~/models"})
    assert settings.data_dir == Path.home() / "models"


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings(environment={}).door.port = 1  # type: ignore[misc]  # on purpose


# -- mistakes

BAD_FILES = [
    ("door = 1", "door"),
    ("[door]\nport = 65536", "door.port"),
    ("[door]\nport = -1", "door.port"),
    ('[door]\nport = "http"', "door.port"),
    ("[door]\nhost = 1", "door.host"),
    ('[door]\nkeys = "sk"', "door.keys"),
    ("[door]\nkeys = [1]", "door.keys.0"),
    ("[door]\nmax_body_mb = 0", "door.max_body_mb"),
    ("[door]\nmax_body_mb = 1025", "door.max_body_mb"),
    ("[door]\ndrain_s = -1", "door.drain_s"),
    ("[door]\ndrain_s = inf", "door.drain_s"),
    ('[selection]\nstrategy = "magic"', "selection.strategy"),
    ("[selection]\nquality = -1", "selection.quality"),
    ("[selection]\nquality = 0\nlatency = 0\nmemory = 0\nreliability = 0", "selection"),
    ("[pool]\nmemory_mb = 0", "pool.memory_mb"),
    ("[pool]\nmemory_mb = inf", "pool.memory_mb"),
    ("[pool]\nmemory_mb = nan", "pool.memory_mb"),
    ("[pool]\ncontext = 127", "pool.context"),
    ("[pool]\nslots = 0", "pool.slots"),
    ("[pool]\nslots = 257", "pool.slots"),
    ("[pool]\nthreads = 0", "pool.threads"),
    ("[pool]\nqueue = 0", "pool.queue"),
    ("[pool]\nwait_s = 0", "pool.wait_s"),
    ("[rollout]\nsoak_s = -1", "rollout.soak_s"),
    ("[rollout]\nsoak_s = nan", "rollout.soak_s"),
    ("[rollout]\nsteps = []", "rollout.steps"),
    ("[rollout]\nsteps = [0.1, 0.6]", "rollout.steps"),
    ("[rollout]\nsteps = [0.0, 0.1]", "rollout.steps"),
    ("[rollout]\nsteps = [0.2, 0.2]", "rollout.steps"),
    ("[rollout]\nsteps = [0.2, 0.1]", "rollout.steps"),
    ('[rollout]\nschedule = "hope"', "rollout.schedule"),
    ('[rollout]\nschedule = "clock"\nsteps = [0.5, 1.0]', "rollout.steps"),
    ("[rollout]\nbudget = -1", "rollout.budget"),
    ('[rollout]\nover_budget = "shrug"', "rollout.over_budget"),
    ('[rollout]\nquality = "off"', "rollout.quality"),
    ('[rollout]\nlatency = "maybe"', "rollout.latency"),
    ("[rollout]\nlatency_margin = 0", "rollout.latency_margin"),
    ('[rollout]\nhooks = ["here"]', "rollout.hooks"),
    ('[rollout]\nhooks = ["file:///etc/passwd"]', "rollout.hooks"),
    ('[rollout]\nhooks = ["http://ann:secret@example.org/"]', "rollout.hooks"),
    ('[rollout]\nhooks = ["http://example.org:port/"]', "rollout.hooks"),
    ("[rollout]\nhook_timeout_s = 0", "rollout.hook_timeout_s"),
    ("[rollout]\nmin_units = 0", "rollout.min_units"),
    ("[rollout]\nalpha_rollback = 0", "rollout.alpha_rollback"),
    ("[rollout]\nalpha_promote = 0.5", "rollout.alpha_promote"),
    ("[rollout]\nmargin = 0", "rollout.margin"),
    ("[rollout]\nsoak_s = 60\nexpiry_s = 60", "rollout.expiry_s"),
    ("[rollout]\nkeep_s = -1", "rollout.keep_s"),
    ("[rollout]\ncalibration_cases = 9", "rollout.calibration_cases"),
    ("[discovery]\nalike = true", "discovery.alike"),
    ("data_dir = 1", "data_dir"),
    ('data_dir = "~nobody-by-this-name/x"', "data_dir"),
]


@pytest.mark.parametrize(("text", "field"), BAD_FILES)
def test_a_mistake_in_the_file_names_the_file_and_the_field(
    tmp_path: Path, text: str, field: str
) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_settings(config=file, environment={})
    assert caught.value.param == field
    assert str(caught.value).startswith(f"The setting {field} in {file} is not valid: ")
    assert "tuple" not in str(caught.value)  # in a file it is a list


@pytest.mark.parametrize(
    ("text", "field"), [("prot = 1", "prot"), ("[door]\nprot = 1", "door.prot")]
)
def test_a_setting_that_is_none_is_named(tmp_path: Path, text: str, field: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_settings(config=file, environment={})
    assert caught.value.param == field
    assert str(caught.value).startswith(f"There is no setting {field} ({file}).")


BAD_VARIABLES = [
    ({"ARBITER_PORT": "http"}, "door.port"),
    ({"ARBITER_DATA_DIR": "~nobody-by-this-name"}, "data_dir"),
]


@pytest.mark.parametrize(("environment", "field"), BAD_VARIABLES)
def test_a_mistake_in_the_environment_names_the_field(
    environment: Mapping[str, str], field: str
) -> None:
    with pytest.raises(ConfigError, match=f"The setting {field} is not valid") as caught:
        load_settings(environment=environment)
    assert caught.value.param == field


BAD_OVERRIDES: list[tuple[str, Mapping[str, object], str]] = [
    ("", {"door.prot": 1}, "door.prot"),
    ("", {"roof.port": 1}, "roof"),
    ("door = 1", {"door.port": 1}, "door"),
    ("", {"door": 1}, "door"),
]


@pytest.mark.parametrize(("text", "overrides", "field"), BAD_OVERRIDES)
def test_a_mistake_on_the_command_line_names_the_field(
    tmp_path: Path, text: str, overrides: Mapping[str, object], field: str
) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_settings(config=file, environment={}, overrides=overrides)
    assert caught.value.param == field


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml cannot be read: No such file"):
        load_settings(config=tmp_path / "absent.toml", environment={})


def test_a_folder_is_no_file_of_settings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_settings(environment={"ARBITER_CONFIG": str(tmp_path)})


@pytest.mark.parametrize("text", ["[door", "door.port = ", "a = 1\na = 2"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"arbiter\.toml is not valid TOML: "):
        load_settings(config=written(tmp_path, text), environment={})


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "arbiter.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"arbiter\.toml is not valid TOML: "):
        load_settings(config=file, environment={})


# -- what is told of each


def described(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str | None]]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from described(inner, f"{prefix}{name}.")
        else:
            yield prefix + name, field.description


@pytest.mark.parametrize(("name", "description"), list(described(Settings)))
def test_every_setting_says_what_it_is(name: str, description: str | None) -> None:
    assert description, name
    assert description.endswith(".")


def test_where_ollama_listens_is_one_more_server() -> None:
    # H6 of the review: the brackets were lost, and the house did not start
    settings = load_settings(environment={"OLLAMA_HOST": "[::1]:11434"})
    assert settings.discovery.servers == ("http://[::1]:11434",)


@pytest.mark.parametrize("host", ["junk junk", "me:hunter2@box"])
def test_an_ollama_host_that_is_no_address_is_left_out_with_a_warning(
    host: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert load_settings(environment={"OLLAMA_HOST": host}).discovery.servers == ()
    assert "OLLAMA_HOST is left out" in caplog.text
    assert "hunter2" not in caplog.text


def test_an_ollama_host_that_is_blank_is_none(caplog: pytest.LogCaptureFixture) -> None:
    assert load_settings(environment={"OLLAMA_HOST": ' "" '}).discovery.servers == ()
    assert not caplog.text


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://a:99999", "http://me:secret@a"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"discovery\.servers"):
        load_settings(environment={}, overrides={"discovery.servers": [url]})


@pytest.mark.parametrize(
    "name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
)
def test_an_endpoint_for_other_programs_is_left_out_with_a_warning(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Endpoints of gRPC are often written without a scheme, for every program of a person."""
    assert load_settings(environment={name: "collector:4317"}).telemetry.traces_url is None
    assert f"{name} is left out" in caplog.text


@pytest.mark.parametrize(
    ("name", "value", "is_off"),
    [
        ("OTEL_SDK_DISABLED", "TRUE", True),
        ("OTEL_SDK_DISABLED", "1", False),
        ("OTEL_SDK_DISABLED", "perhaps", False),
        ("OTEL_TRACES_EXPORTER", "none", True),
        ("OTEL_TRACES_EXPORTER", "otlp", False),
    ],
)
def test_the_variables_that_turn_traces_off_are_read_as_opentelemetry_reads_them(
    name: str, value: str, is_off: bool
) -> None:
    assert load_settings(environment={name: value}).telemetry.disabled is is_off
