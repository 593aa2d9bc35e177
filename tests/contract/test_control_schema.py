"""The control API keeps to its own description: a running house, asked what nobody thought of.

Requests are made up from the description that the house itself serves, with names that are there
and names that are not. Nothing it answers may be a fault of its own, or of another form than it
says.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.docs.control import openapi

EXAMPLES = 20
DESCRIBED: Mapping[str, Any] = openapi()["paths"]
ENDLESS = {("GET", "/v1/events")}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def operations() -> list[tuple[str, str]]:
    """Every method and path of the description, but the stream that never ends."""
    found = [(method.upper(), path) for path, methods in DESCRIBED.items() for method in methods]
    return [one for one in found if one not in ENDLESS]


@dataclass
class Up:
    """A house that runs, its own description, and what is there."""

    url: str
    headers: Mapping[str, str]
    schema: Any
    there: Mapping[str, str]
    session: requests.Session


def script(folder: Path, name: str) -> Path:
    path = folder / f"{name}.json"
    said = {"arbiter_script": 1, "name": name, "context": 512, "capabilities": ["chat"]}
    path.write_text(json.dumps({**said, "rules": [], "default": name}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("house")
    config = folder / "arbiter.toml"
    # whatever runs on this machine is no part of this
    config.write_text("[discovery]\nenabled = false\nusual = false\n", encoding="utf-8")
    data = folder / "data"
    words = ("up", "--port", "0", "--json", "--config", str(config), "--data-dir", str(data))
    with subprocess.Popen(
        [sys.executable, "-m", "arbiter", *words], stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            note = json.loads((data / "house.json").read_text(encoding="utf-8"))
            headers = {"authorization": f"Bearer {note['key']}"}
            found = furnished(folder, url, headers)
            with found.session:
                yield found
        finally:
            process.terminate()


def furnished(folder: Path, url: str, headers: Mapping[str, str]) -> Up:
    """With models, a task, a rule, a decision and a rollout."""
    control, session = f"{url}/control/v1", requests.Session()

    def put(method: str, path: str, body: dict[str, Any]) -> Any:
        got = session.request(method, control + path, json=body, headers=headers, timeout=30)
        assert got.status_code < 300, got.text
        return json.loads(got.text.splitlines()[-1])

    for name in ("old", "new"):
        put("POST", "/models", {"path": str(script(folder, name)), "name": name})
    put("PUT", "/aliases/primary", {"target": "old"})
    put("PUT", "/tasks/chat", {})
    put("PUT", "/rules/chat", {"prefer": "primary"})
    rollout = put("POST", "/rollouts", {"alias": "primary", "model": "new"})["rollout"]
    asked = session.post(
        f"{url}/v1/chat/completions",
        json={"model": "old", "messages": [{"role": "user", "content": "hi"}]},
        headers=headers,
        timeout=30,
    )
    served = session.get(f"{control}/openapi.json", headers=headers, timeout=30).json()
    return Up(
        url=url,
        headers=headers,
        schema=schemathesis.openapi.from_dict(served),
        there={
            "name": "old",
            "alias": "primary",
            "task": "chat",
            "rollout": rollout,
            "decision": asked.headers["x-arbiter-decision"],
            "verb": "pause",
        },
        session=session,
    )


@pytest.mark.parametrize(("method", "path"), operations(), ids=str)
def test_every_answer_is_as_the_description_says(up: Up, method: str, path: str) -> None:
    operation = up.schema[path][method]

    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(), is_there=st.booleans())
    def ask(case: Any, is_there: bool) -> None:
        if is_there and method != "DELETE":
            case.path_parameters = {
                name: up.there.get(name, value)
                for name, value in (case.path_parameters or {}).items()
            }
        if isinstance(case.body, dict):
            for field in ("url", "path"):  # nobody is called, and no file of this machine is read
                if field in case.body:
                    case.body[field] = "/nowhere"
        response = case.call(
            base_url=f"{up.url}/control", headers=dict(up.headers), timeout=30, session=up.session
        )
        case.validate_response(response, checks=CHECKS)

    ask()


@pytest.mark.parametrize("path", sorted({path for _, path in operations()}))
def test_a_method_that_is_not_described_is_not_allowed(up: Up, path: str) -> None:
    described = {method.upper() for method in DESCRIBED[path]}
    target = path
    for name, value in up.there.items():
        target = target.replace(f"{{{name}}}", value)
    target = target.replace("{id}", "key_x")
    for method in METHODS:
        if leads_elsewhere(method, target):
            continue
        got = up.session.request(
            method, f"{up.url}/control{target}", json={} if method != "GET" else None,
            headers=dict(up.headers), timeout=30,
        )  # fmt: skip
        assert got.status_code == 405, (method, path)
        assert set(got.headers["allow"].split(", ")) >= described


def leads_elsewhere(method: str, target: str) -> bool:
    """Whether another described path fits as well: a name may hold slashes."""
    return any(
        re.fullmatch(re.sub(r"\{\w+\}", ".+", path), target)
        for path, methods in DESCRIBED.items()
        if method.lower() in methods
    )


def test_the_house_runs_on(up: Up) -> None:
    got = up.session.get(f"{up.url}/control/v1/status", headers=dict(up.headers), timeout=30)
    assert got.status_code == 200
