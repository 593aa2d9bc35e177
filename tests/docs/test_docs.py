"""Generated parts of the docs are fresh, and nothing is missing from them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import click
import pytest
from tests.docs.commands import command_tree, walk
from tests.docs.control import control_routes
from tests.docs.generate import generated
from tests.docs.pages import SOURCE, read
from tests.docs.settings import settings
from tests.story.bad_backends import FAULTS, Ends

from arbiter.gateway import (
    anthropic_asked,
    chat,
    completions,
    embeddings,
    ollama_asked,
    responses_asked,
)
from arbiter.gateway.extras import NAMES
from arbiter.gateway.routes import ROUTES
from arbiter.ledger import Fault, Kind
from arbiter.pool import breaker
from arbiter.pool.breaker import PAUSES_S
from arbiter.pool.instance import State
from arbiter.pool.pace import Change
from arbiter.swap.calibrating import Activity
from arbiter.swap.rollout import Phase


@pytest.mark.parametrize(
    ("path", "wanted"), list(generated()), ids=[p.name for p, _ in generated()]
)
def test_generated_pages_are_up_to_date(path: Path, wanted: str) -> None:
    assert path.read_text(encoding="utf-8") == wanted, "run: make docs"


# -- everything is documented


def test_every_command_is_documented() -> None:
    page = read("docs/reference/cli.md")
    missing = [
        " ".join(words)
        for words, _ in walk(command_tree())
        if f"## {' '.join(words)}\n" not in page
    ]
    assert missing == []


def test_every_command_and_option_has_a_help_text() -> None:
    silent = [
        " ".join((*words, str(parameter.name)))
        for words, command in walk(command_tree())
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert silent == []
    assert [w for w, command in walk(command_tree()) if not command.help] == []


def test_every_setting_is_documented_with_its_meaning() -> None:
    page = read("docs/reference/configuration.md")
    for name, _, _, _, meaning in settings():
        assert f"| `{name}` |" in page
        assert meaning


def test_every_environment_variable_is_documented() -> None:
    used = set(re.findall(r"\bARBITER_[A-Z_]+", _source()))
    page = read("docs/reference/configuration.md")
    assert [name for name in sorted(used) if f"`{name}`" not in page] == []


def test_every_error_code_is_documented() -> None:
    page = read("docs/reference/errors.md")
    codes = set(
        re.findall(r'^    code(?:: ClassVar\[str\])? = "(\w+)"', _source("cli"), re.MULTILINE)
    )
    assert "bad_request" in codes
    assert [code for code in sorted(codes) if f"| `{code}` |" not in page] == []


def test_every_fault_of_a_backend_is_documented_with_what_the_client_is_told() -> None:
    page = read("docs/reference/faults.md")
    rows = [f"| {one.name} | {_told(one.streamed)} | {_told(one.whole)} |" for one in FAULTS]
    assert re.findall(r"^\| fault .*\n\|.*\n((?:\|.*\n)+)", page, re.MULTILINE) == [
        "".join(f"{row}\n" for row in rows)
    ]
    assert f"at most {PAUSES_S[-1]:.0f}" in page


def _told(ends: Ends) -> str:
    if ends.code is None:
        return f"{ends.status}"
    return f"event `{ends.code}`" if ends.status == 200 else f"{ends.status} `{ends.code}`"


def test_every_kind_of_event_is_documented() -> None:
    said = set(re.findall(r'announce\([^)]*?"(\w+)"', _source()))
    phases = {phase.value for phase in Phase} - {"validating"}
    kinds = {f"rollout.{what}" for what in said | phases} | {f"instance.{s.value}" for s in State}
    kinds |= {f"breaker.{phase.value}" for phase in breaker.Phase}
    kinds |= {f"pace.{change.value}" for change in Change}
    kinds |= {"version.expired", "version.fell", "model.changed", "calibration.case", "shadow.pair"}
    kinds |= {"pool.stuck", "pin.set", "pin.removed", "settings.reloaded", "probe.failed"}
    kinds |= {"calibration.again", "calibration.examined", "pool.retries_spent"}
    kinds |= {f"calibration.{a.value}" for a in (Activity.WAITING, Activity.DONE)}
    page = read("docs/reference/events.md")
    assert [kind for kind in sorted(kinds) if f"| `{kind}` |" not in page] == []
    documented = set(
        re.findall(
            r"^\| `((?:rollout|instance|breaker|version|model|calibration|shadow"
            r"|pool|pin|probe|pace|settings)\.\w+)`",
            page,
            re.MULTILINE,
        )
    )
    assert documented == kinds
    rooms = re.findall(r"\bEvent\(\s*kind=", _source())
    assert len(rooms) == 12, "a thirteenth room announces: document it"


def test_every_kind_of_ledger_entry_and_every_fault_is_documented() -> None:
    page = read("docs/reference/ledger.md")
    words = [*(kind.value for kind in Kind), *(fault.value for fault in Fault)]
    assert [word for word in words if f"| `{word}` |" not in page] == []


def test_every_route_is_documented() -> None:
    page = read("docs/reference/control-api.md")
    for method, path, _ in control_routes():
        assert f"| {method} | `{path}` |" in page
    for route in ROUTES:
        assert f"| `{route.path}` |" in page


DOORS = {
    "openai-door.md": (
        chat.ChatRequest,
        completions.CompletionRequest,
        embeddings.EmbeddingRequest,
        responses_asked.ResponsesRequest,
    ),
    "ollama-door.md": (
        ollama_asked.GenerateRequest,
        ollama_asked.ChatRequest,
        ollama_asked.EmbedRequest,
        ollama_asked.OldEmbedRequest,
        ollama_asked.Options,
        ollama_asked.Turn,
    ),
    "anthropic-door.md": (anthropic_asked.MessagesRequest,),
}


@pytest.mark.parametrize("name", sorted(DOORS))
def test_every_field_that_a_door_takes_is_documented(name: str) -> None:
    page = read(f"docs/reference/{name}")
    fields = {field for kind in DOORS[name] for field in kind.__struct_fields__}
    assert [field for field in sorted(fields) if f"`{field}`" not in page] == []


@pytest.mark.parametrize("name", sorted(DOORS))
def test_every_address_of_a_door_is_on_its_page(name: str) -> None:
    page = read(f"docs/reference/{name}")
    begins = {"ollama-door.md": ("/api/",), "anthropic-door.md": ("/v1/messages",)}
    others = ("/v1/chat", "/v1/completions", "/v1/embeddings", "/v1/responses")
    paths = [
        r.path.partition("{")[0] for r in ROUTES if r.path.startswith(begins.get(name, others))
    ]
    assert paths
    assert [path for path in paths if path not in page] == []


def test_every_header_is_documented() -> None:
    page = read("docs/reference/headers-and-metadata.md").lower()
    sent = set(re.findall(r'b"(x-[a-z-]+|retry-after)"', _source()))
    sent -= {"x-api-key", "x-accel-buffering", "x-arbiter-"}
    assert "x-arbiter-decision" in sent
    for header in sent:
        assert f"`{header}`" in page
    for name in NAMES:
        assert f"| `{name}` | `x-arbiter-{name.replace('_', '-')}` |" in page


def test_every_field_of_a_script_is_documented() -> None:
    text = (SOURCE / "engines" / "script.py").read_text(encoding="utf-8")
    page = read("docs/reference/file-formats.md")
    fields = {name for body in re.findall(r"class _(?:Rule|File)\(.*?\n\n", text, re.DOTALL)
              for name in re.findall(r"^    (\w+): ", body, re.MULTILINE)}  # fmt: skip
    assert "die_after_tokens" in fields
    assert [name for name in sorted(fields) if f"`{name}`" not in page] == []


def test_every_attribute_of_a_span_is_documented() -> None:
    source = "\n".join(
        path.read_text(encoding="utf-8") for path in (SOURCE / "tracing").glob("*.py")
    )
    names = set(re.findall(r'"((?:gen_ai|arbiter|server|error)\.[a-z_.]+[a-z])"', source))
    names |= {f"gen_ai.request.{one}" for one in re.findall(r'"(\w+)": sampling\.', source)}
    assert {"gen_ai.request.seed", "gen_ai.usage.input_tokens", "arbiter.reason"} <= names
    page = read("docs/how-to/trace-it.md")
    groups = ("gen_ai.request.", "gen_ai.usage.", "arbiter.")
    missing = [
        name
        for name in sorted(names)
        if f"`{name}`" not in page
        and not any(
            name.startswith(group) and f"`.{name.removeprefix(group)}`" in page for group in groups
        )
    ]
    assert missing == []


def test_every_dependency_is_explained() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    extras = project["optional-dependencies"].values()
    named = [*project["dependencies"], *(one for extra in extras for one in extra)]
    page = read("docs/architecture.md")
    for requirement in named:
        package = re.split(r"[<>=;\[ ]", requirement)[0]
        assert re.search(rf"^\| {package}( \(|\s\|)", page, re.MULTILINE), package


def test_every_room_is_explained() -> None:
    page = read("docs/architecture.md")
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert [room for room in sorted(rooms) if f"`{room}/`" not in page] == []


def _source(*skip: str) -> str:
    return "\n".join(
        path.read_text(encoding="utf-8")
        for path in sorted(SOURCE.rglob("*.py"))
        if not any(f"/{part}" in str(path.relative_to(SOURCE.parent)) for part in skip)
    )
