"""What the source may not contain at all: read as trees, so that no words in it get past."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"


@cache
def modules() -> tuple[tuple[str, ast.Module], ...]:
    """Every module of what is installed, by its path below ``src``."""
    return tuple(
        (str(path.relative_to(SOURCE)), ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted(SOURCE.rglob("*.py"))
    )


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call with its function as it is written: ``open``, ``yaml.load``, ``re.compile``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


def importers(forbidden: Iterable[str]) -> list[tuple[str, str]]:
    """Who imports one of these packages, or a part of one."""
    names = set(forbidden)
    return [
        (path, name)
        for path, tree in modules()
        for name in imports(tree)
        if names & {name, name.partition(".")[0]}
    ]


def callers(forbidden: Iterable[str]) -> list[tuple[str, str]]:
    """Who calls one of these functions."""
    names = set(forbidden)
    return [(path, name) for path, tree in modules() for name, _ in calls(tree) if name in names]


@pytest.mark.security("S-20", "S-36")
def test_nothing_that_runs_code_is_read_from_anywhere() -> None:
    readers = ("pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "torch", "numpy")
    buses = ("multiprocessing", "zmq", "xmlrpc", "Pyro5")
    assert importers((*readers, *buses)) == []
    assert callers(("eval", "exec", "compile", "__import__")) == []
    assert callers(("yaml.load", "yaml.unsafe_load", "yaml.full_load", "recv_pyobj")) == []


@pytest.mark.security("S-20", "S-26")
def test_no_shell_is_ever_started() -> None:
    shells = ("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput")
    assert callers((*shells, "asyncio.create_subprocess_shell", "pty.spawn")) == []
    assert [
        (path, name)
        for path, tree in modules()
        for name, call in calls(tree)
        for given in call.keywords
        if given.arg == "shell"
    ] == []


@pytest.mark.security("S-26")
def test_one_module_of_the_house_starts_processes_and_it_writes_their_command_itself() -> None:
    starters = {
        (path, ast.unparse(call.args[0]), *(ast.unparse(one) for one in call.args[1:]))
        for path, tree in modules()
        for name, call in calls(tree)
        if name.rpartition(".")[2] in {"create_subprocess_exec", "Popen", "run_process"}
        and not path.startswith("arbiter/studies/")  # programs that a person starts, with no door
    }
    assert starters == {("arbiter/engines/worker.py", "sys.executable", "'-P'", "'-m'", "module")}
    named = {
        (path, ast.unparse(call.args[0]))
        for path, tree in modules()
        for name, call in calls(tree)
        if name == "Worker.start"
    }
    assert named == {
        ("arbiter/engines/llama_cpp.py", "self._worker"),
        ("arbiter/demo/alone.py", "MODULE"),
    }


@pytest.mark.security("S-11")
def test_the_door_touches_files_at_two_places_alone_and_both_ask_for_an_admin_key() -> None:
    touching = ("open", "Path", "os.open", "os.path.join", "io.open", "FileResponse", "StaticFiles")
    found = [
        (path, name, ast.unparse(call))
        for path, tree in modules()
        if path.startswith("arbiter/gateway/")
        for name, call in calls(tree)
        if name in touching
    ]
    assert found == [
        ("arbiter/gateway/control_knowledge.py", "Path", "Path(body.path)"),
        ("arbiter/gateway/control_models.py", "Path", "Path(body.path)"),
    ]


@pytest.mark.security("S-11")
def test_nothing_behind_the_server_decodes_an_address_a_second_time() -> None:
    decoders = ("unquote", "unquote_plus", "urllib.parse.unquote", "parse.unquote", "quote_plus")
    assert callers(decoders) == [
        # of headers whose values are percent-encoded UTF-8, which are never an address or a path
        ("arbiter/gateway/extras.py", "unquote"),
        # the first time: this is the server
        ("arbiter/gateway/serving.py", "unquote"),
    ]


@pytest.mark.security("S-12")
def test_no_archive_is_ever_unpacked() -> None:
    packers = ("zipfile", "tarfile", "gzip", "bz2", "lzma", "py7zr", "rarfile")
    assert importers(packers) == []
    assert callers(("shutil.unpack_archive",)) == []


@pytest.mark.security("S-13")
def test_what_is_deleted_is_the_houses_own() -> None:
    removers = ("os.remove", "os.unlink", "os.rmdir", "shutil.rmtree", "shutil.move", "os.rename")
    # the folder of a worker's socket, which the house made
    assert callers(removers) == [("arbiter/engines/llama_cpp.py", "shutil.rmtree")]
    removing = {
        (path, name)
        for path, tree in modules()
        for name, _ in calls(tree)
        if name.rpartition(".")[2] in {"unlink", "rmdir", "rename"}
        and not path.startswith("arbiter/studies/")
    }
    assert {path for path, _ in removing} <= {
        "arbiter/house/note.py",  # its note in the data directory
        "arbiter/engines/llama_cpp.py",  # the socket of a worker
        "arbiter_worker/launch.py",
    }


@pytest.mark.security("S-18")
def test_no_template_of_a_model_is_rendered_here() -> None:
    assert importers(("jinja2", "mako", "chameleon")) == []


@pytest.mark.security("S-25")
def test_no_sql_is_put_together() -> None:
    words = re.compile(
        r"\b(SELECT .* FROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM)\b", re.IGNORECASE
    )
    built = [
        (path, ast.unparse(node))
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr | ast.BinOp) and words.search(ast.unparse(node))
    ]
    assert built == []
    # what runs SQL is one module, and what it runs stands in files under names
    running = {path for path, tree in modules() for name, _ in calls(tree) if _runs_sql(name)}
    assert running <= {"arbiter/storage/sqlite.py", "arbiter/doctor/facts.py"}


def _runs_sql(name: str) -> bool:
    return name.rpartition(".")[2] in {"execute", "executemany", "executescript"}


@pytest.mark.security("S-28")
def test_a_key_is_compared_by_its_hash_and_in_constant_time() -> None:
    trees = dict(modules())
    names = [name for name, _ in calls(trees["arbiter/gateway/security.py"])]
    assert "hmac.compare_digest" in names
    assert "hashlib.sha256" in names
    made = [name for name, _ in calls(trees["arbiter/gateway/keyring.py"])]
    assert "secrets.token_urlsafe" in made


@pytest.mark.security("S-37")
def test_no_engine_of_another_machine_is_ever_part_of_a_model_here() -> None:
    words = re.compile(r"\brpc\b", re.IGNORECASE)
    assert [
        (path, node.value)
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and words.search(node.value)
    ] == []


# What is installed


def requirements() -> list[Path]:
    return sorted((ROOT / "requirements").glob("*.txt"))


@pytest.mark.security("S-38")
@pytest.mark.parametrize("lock", requirements(), ids=lambda path: path.name)
def test_every_package_of_a_lock_has_its_version_and_its_hashes(lock: Path) -> None:
    text = re.sub(r"\\\n\s*", " ", lock.read_text(encoding="utf-8"))
    wanted = [
        line for line in text.splitlines() if line.strip() and not line.startswith(("#", " "))
    ]
    assert wanted
    assert [line for line in wanted if "==" not in line or "--hash=sha256:" not in line] == []
    # DSPy brings it: a client of the house in an environment of its own, for an example in the docs
    allowed = {"litellm"} if lock.stem == "clients" else set()
    assert {line.partition("==")[0] for line in wanted} & {"litellm"} <= allowed


@pytest.mark.security("S-38")
def test_what_is_set_up_is_set_up_by_hash() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    installs = [line for line in makefile.splitlines() if "pip install" in line]
    assert installs
    assert [
        line for line in installs if "--require-hashes" not in line and "--no-deps" not in line
    ] == []


@pytest.mark.security("S-38")
def test_the_package_brings_no_file_that_runs_at_the_start_of_python() -> None:
    assert [path for path in SOURCE.rglob("*") if path.suffix == ".pth"] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": ["src/arbiter", "src/arbiter_worker"]}
    plugins = set(project["project"]["entry-points"])
    assert plugins == {"arbiter.engines.v1"}


@pytest.mark.security("S-07", "S-38")
def test_the_framework_is_none_that_a_host_header_could_mislead() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "starlette>=1.0.1" in project["project"]["dependencies"]
    # the address as a client's Host header would have it is nobody's business behind the door
    addresses = {
        (path, ast.unparse(node))
        for path, tree in modules()
        if path.startswith("arbiter/gateway/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("request.url")
    }
    assert addresses == set()
