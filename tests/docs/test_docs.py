"""The docs say what the program does: generated parts are fresh, code runs, nothing is missing."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import cast

import click
import pytest
from tests.docs import generate
from tests.story.bad_backends import FAULTS, Ends

from arbiter.app import open_house
from arbiter.config import load_settings
from arbiter.demo.story import task_of
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

ROOT = generate.ROOT
SOURCE = ROOT / "src" / "arbiter"
PAGES = (
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
DOOR = "http://127.0.0.1:8017"

_IDS = [str(page.relative_to(ROOT)) for page in PAGES]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block of a page. mark: the comment on the line before it."""

    language: str
    text: str
    line: int
    mark: str


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(r"^(?:<!-- ([^\n]*) -->\n)?```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    for found in pattern.finditer(text):
        line = text.count("\n", 0, found.start(3)) + 1
        yield Block(language=found[2], text=found[3], line=line, mark=found[1] or "")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# -- generated


@pytest.mark.parametrize(
    ("path", "wanted"), list(generate.generated()), ids=[p.name for p, _ in generate.generated()]
)
def test_generated_pages_are_up_to_date(path: Path, wanted: str) -> None:
    assert path.read_text(encoding="utf-8") == wanted, "run: make docs"


# -- everything is documented


def test_every_command_is_documented() -> None:
    page = read("docs/reference/cli.md")
    missing = [
        " ".join(words)
        for words, _ in generate.walk(generate.command_tree())
        if f"## {' '.join(words)}\n" not in page
    ]
    assert missing == []


def test_every_command_and_option_has_a_help_text() -> None:
    silent = [
        " ".join((*words, str(parameter.name)))
        for words, command in generate.walk(generate.command_tree())
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert silent == []
    assert [w for w, command in generate.walk(generate.command_tree()) if not command.help] == []


def test_every_setting_is_documented_with_its_meaning() -> None:
    page = read("docs/reference/configuration.md")
    for name, _, _, _, meaning in generate.settings():
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
    for method, path, _ in generate.control_routes():
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


# -- what the pages name is there


def test_functions_named_in_the_architecture_exist() -> None:
    page = read("docs/architecture.md")
    named = re.findall(r"`([\w/]+)\.py: ([\w.]+)`", page)
    assert len(named) > 25
    for file, path in named:
        found: object = importlib.import_module("arbiter." + file.replace("/", "."))
        for name in path.split("."):
            found = getattr(found, name)


@pytest.mark.parametrize("page", PAGES, ids=_IDS)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(
        r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in _anchors(there)):
            broken.append(target)
    assert broken == []


def _anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=_IDS)
def test_commands_in_the_pages_are_understood(page: Path) -> None:
    for block in blocks_of(page):
        if block.language not in {"sh", "console"}:
            continue
        for line in _command_lines(block):
            assert _misunderstood(line) is None, f"line {block.line}: {line}"


def _command_lines(block: Block) -> Iterator[str]:
    for line in block.text.replace("\\\n", " ").splitlines():
        shown = block.language == "console"
        if shown and not line.startswith("$ "):
            continue
        command = re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line.removeprefix("$ ") if shown else line)
        if command.startswith("arbiter "):
            yield command


def _misunderstood(line: str) -> str | None:
    """What is wrong with a command line; it is parsed and not run."""
    command: click.Command = generate.command_tree()
    words = [word for word in shlex.split(line)[1:] if word != "&"]
    words = words[: words.index(">")] if ">" in words else words
    while (
        hasattr(command, "commands") and words and words[0] in cast("click.Group", command).commands
    ):
        command = cast("click.Group", command).commands[words.pop(0)]
    try:
        command.make_context("arbiter", list(words))
    except click.UsageError as error:
        return error.format_message()
    except click.exceptions.Exit:
        return None
    return None


# -- code in the pages runs


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a model and a task, to be copied."""
    folder = tmp_path_factory.mktemp("furnished")
    shutil.copy(str(files("arbiter.demo") / "models" / "sparrow.gguf"), folder)

    async def furnish() -> None:
        settings = load_settings(environment={}, overrides={"data_dir": folder / "data"})
        async with open_house(settings) as house:
            await house.admission.add_task(task_of("sentiment"))
            await house.add(folder / "sparrow.gguf", "sparrow")

    asyncio.run(furnish())
    return folder


@pytest.fixture
def folder(tmp_path: Path, furnished: Path) -> Path:
    """Where a page's code runs: a model beside it, and what the page takes for granted."""
    shutil.copy(furnished / "sparrow.gguf", tmp_path)
    shutil.copytree(furnished / "data", tmp_path / "known-answers")
    shutil.copytree(furnished / "data", tmp_path / "up")
    return tmp_path


@pytest.fixture
def door(folder: Path) -> Iterator[str]:
    """A house that runs, and where."""
    arbiter = str(Path(sys.executable).parent / "arbiter")
    command = [arbiter, "up", "--json", "--port", "0", "--data-dir", str(folder / "up")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            yield str(json.loads(running.stdout.readline())["url"])
        finally:
            running.terminate()
            running.communicate(timeout=30)


def blocks_with_output(
    page: Path, language: str = "python", *, mark: str = ""
) -> list[tuple[Block, str | None]]:
    """Blocks of a page that are so marked, each with the output that the page says follows."""
    found = list(blocks_of(page))
    pairs: list[tuple[Block, str | None]] = []
    for block, after in zip(found, [*found[1:], None], strict=False):
        if block.language == language and block.mark == mark:
            said = after.text if after is not None and after.mark == "output" else None
            pairs.append((block, said))
    return pairs


WITH_CODE = [page for page in PAGES if blocks_with_output(page)]


@pytest.mark.parametrize("page", WITH_CODE, ids=[str(p.relative_to(ROOT)) for p in WITH_CODE])
def test_python_in_the_pages_runs(page: Path, folder: Path, request: pytest.FixtureRequest) -> None:
    """A block that begins with ``# name.py`` is a file; every other one is a program."""
    for block, said in blocks_with_output(page):
        text = block.text
        if DOOR in text:
            text = text.replace(DOOR, str(request.getfixturevalue("door")))
        name = re.match(r"# (\w+\.py)\n", text)
        path = folder / (name[1] if name else "program.py")
        path.write_text(text, encoding="utf-8")
        if name:
            continue
        done = subprocess.run(
            [sys.executable, "-W", "error", str(path)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"line {block.line}:\n{done.stderr}"
        if said is not None:
            assert done.stdout == said


CLIENTS = ROOT / ".clients" / "bin" / "python"
"""Clients that are too large for everybody's environment: `make clients`."""

NEEDS_CLIENTS = [
    (page, block, said)
    for page in PAGES
    for block, said in blocks_with_output(page, mark="needs: clients")
]


@pytest.mark.live
@pytest.mark.skipif(not CLIENTS.exists(), reason="needs the larger clients: make clients")
@pytest.mark.parametrize(
    ("page", "block", "said"),
    NEEDS_CLIENTS,
    ids=[f"{page.name}:{block.line}" for page, block, _ in NEEDS_CLIENTS],
)
def test_larger_clients_in_the_pages_run(
    page: Path, block: Block, said: str | None, folder: Path, door: str
) -> None:
    path = folder / "program.py"
    path.write_text(block.text.replace(DOOR, door), encoding="utf-8")
    done = subprocess.run(
        [str(CLIENTS), str(path)],
        cwd=folder,
        env={"HOME": str(folder), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{page.name}, line {block.line}:\n{done.stderr}"
    assert done.stdout == said


RUNS = [page for page in PAGES if blocks_with_output(page, "sh", mark="runs")]


@pytest.mark.live
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("page", RUNS, ids=[str(p.relative_to(ROOT)) for p in RUNS])
def test_commands_that_are_shown_with_their_output_have_it(
    page: Path, folder: Path, door: str
) -> None:
    for block, said in blocks_with_output(page, "sh", mark="runs"):
        done = subprocess.run(
            ["sh", "-c", block.text.replace(DOOR, door)],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout == said, f"line {block.line}:\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=_IDS)
def test_json_and_toml_in_the_pages_is_valid(page: Path) -> None:
    for block in blocks_of(page):
        if block.language == "toml":
            tomllib.loads(block.text)
        if block.language == "json":
            try:
                json.loads(block.text)
            except ValueError:  # JSON lines
                for line in block.text.splitlines():
                    json.loads(line)


def test_configuration_in_the_pages_is_accepted(tmp_path: Path) -> None:
    for page in PAGES:
        for block in blocks_of(page):
            if block.language == "toml" and "[project]" not in block.text:
                file = tmp_path / "arbiter.toml"
                file.write_text(block.text, encoding="utf-8")
                load_settings(config=file, environment={})


# -- words


def test_changelog_and_version_agree() -> None:
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    newest = re.search(r"^## \[([^\]]+)\]", read("CHANGELOG.md"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == version
    assert importlib.import_module("arbiter").__version__ == version


@pytest.mark.parametrize("page", PAGES, ids=_IDS)
def test_pages_are_written_in_plain_words(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [word for word in FORBIDDEN if re.search(word, text, re.IGNORECASE)] == []
    odd = {char for char in text if ord(char) > 0x2BFF or 0x2600 <= ord(char) <= 0x27BF}
    assert odd == set()
    assert not text.startswith("\n")
    assert text.endswith("\n")


FORBIDDEN = (
    r"/work/",
    r"\.\./shared",
    r"/root/",
    r"/tmp/",
    r"\bpypi\b",
    r"\bsessions?\b(?! header)",
    r"\bblazing\w*",
    r"\bseamless\w*",
    r"\bpowerful\b",
    r"\beffortless\w*",
    r"\brobust\b",
    r"\bleverag\w+",
    r"\bcutting[- ]edge\b",
    r"\bstate[- ]of[- ]the[- ]art\b",
    r"\bworld[- ]class\b",
    r"\brevolution\w*",
    r"\bsimply\b",
    r"\bTODO\b",
    r"\bFIXME\b",
)
