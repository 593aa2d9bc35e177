"""A whole house and those who mean it harm: through its real door, on a real port."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
from tests.docs.control import control_routes, openapi
from tests.story.stage import Stage, stage
from yarl import URL

from arbiter.gateway.routes import ROUTES

CHAT: Mapping[str, object] = {"model": "old", "messages": [{"role": "user", "content": "chat hi"}]}


@dataclass
class Visit:
    """An open house with one model, and somebody at its door."""

    play: Stage
    url: str
    session: aiohttp.ClientSession
    folder: Path

    async def __call__(
        self,
        method: str,
        target: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, str]:
        """The status and the text of an answer. target: as it goes over the wire."""
        address = URL(self.url + target, encoded=True)
        async with self.session.request(method, address, json=body, headers=headers) as got:
            return got.status, await got.text()

    async def kept(self) -> list[str]:
        """Everything that the database holds, as SQL."""
        await self.play.house.database.settle()
        with sqlite3.connect(f"file:{self.folder}/arbiter.db?mode=ro", uri=True) as found:
            return list(found.iterdump())


@asynccontextmanager
async def visiting(tmp_path: Path) -> AsyncIterator[Visit]:
    """Such a house."""
    folder = tmp_path / "data"
    async with stage(folder) as play:
        await play.add("old", {"chat": 0.9})
        await play.alias("primary", "old")
        async with play.house.door() as at, aiohttp.ClientSession() as session:
            yield Visit(play=play, url=at.url, session=session, folder=folder)


@pytest.fixture
async def visit(tmp_path: Path) -> AsyncIterator[Visit]:
    async with visiting(tmp_path) as found:
        yield found


def readable() -> list[str]:
    """Every address that is read, with what is there in its gaps. Events never end."""
    filled = {"id:path": "old", "name": "old", "task": "general", "alias": "primary"}

    def address(path: str) -> str:
        return re.sub(r"\{([\w:]+)\}", lambda gap: filled.get(gap[1], "x"), path)

    doors = [address(r.path) for r in ROUTES if "GET" in r.methods and r.handler is not None]
    control = [address(path) for method, path, _ in control_routes() if method == "GET"]
    return [path for path in (*doors, *control) if not path.endswith("/events")]


@pytest.mark.security("S-03")
async def test_reading_changes_nothing(visit: Visit) -> None:
    # a house that is first asked for its knowledge gives itself a name, once and for good
    assert (await visit("GET", "/control/v1/knowledge/file"))[0] == 200
    before, files = await visit.kept(), sorted(visit.folder.rglob("*"))
    for path in readable():
        for method in ("GET", "HEAD"):
            status, _ = await visit(method, path)
            assert status < 500, path
    assert await visit.kept() == before
    assert sorted(visit.folder.rglob("*")) == files


# Paths


HOSTILE_NAMES = [
    "..",
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e%2fetc%2fpasswd",
    "%252e%252e%252fetc%252fpasswd",
    "%25252e%25252e%25252fetc",
    "..%5c..%5cwindows",
    "%00",
    "a%00b",
    "C:%5cboot.ini",
    "%5c%5c%3f%5cC:",
    "%ef%bc%8e%ef%bc%8e%ef%bc%8fetc",
    "%c0%ae%c0%ae%c0%afetc",
    "~root",
    "$(id)",
    "`id`",
    "a;id",
    "a|id",
    "-rf",
    "--config",
    "x" * 4096,
]


@pytest.mark.security("S-10", "S-11")
@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=lambda name: name[:20])
async def test_a_name_that_means_a_place_is_no_name(visit: Visit, name: str) -> None:
    files = sorted(visit.folder.rglob("*"))
    tried = [
        await visit("GET", f"/v1/models/{name}"),
        await visit("GET", f"/control/v1/models/{name}"),
        await visit("DELETE", f"/control/v1/models/{name}"),
        await visit("PUT", f"/control/v1/aliases/{name}", {"target": "old"}),
        await visit("PUT", f"/control/v1/tasks/{name}", {}),
        await visit("PUT", f"/control/v1/pins/{name}", {"load": False}),
        await visit("GET", f"/control/v1/decisions/{name}"),
        await visit("GET", f"/control/v1/rollouts/{name}"),
    ]
    plain = URL(f"/{name}", encoded=True).path[1:]
    script = str(visit.play.script("other", {"chat": 0.5}))
    tried += [
        await visit("POST", "/control/v1/models", {"path": script, "name": plain}),
        await visit("POST", "/api/show", {"model": plain}),
        await visit("POST", "/api/pull", {"model": plain, "stream": False}),
    ]
    assert {status for status, _ in tried} <= {400, 404, 405}
    assert not [text for _, text in tried if "root:" in text]
    assert sorted(visit.folder.rglob("*")) == files


@pytest.mark.security("S-13")
async def test_forgetting_a_model_leaves_its_file(visit: Visit) -> None:
    path = visit.play.script("other", {"chat": 0.5})
    assert (await visit("POST", "/control/v1/models", {"path": str(path), "name": "o"}))[0] == 200
    assert (await visit("DELETE", "/control/v1/models/o"))[0] == 200
    assert path.is_file()


@pytest.mark.security("S-16")
async def test_a_broken_file_is_neither_registered_nor_loaded(visit: Visit) -> None:
    path = visit.play.folder / "broken.gguf"
    path.write_bytes(b"GGUF" + b"\xff" * 200)
    status, _ = await visit("POST", "/control/v1/models", {"path": str(path), "name": "b"})
    assert status == 422
    assert visit.play.house.pool.views() == ()
    assert len(visit.play.house.registry.versions()) == 1


# What a request may not make the house do


LURES = (
    *("api_base", "base_url", "api_key", "headers", "extra_headers", "extra_body", "endpoint"),
    *(
        "model_path",
        "trust_remote_code",
        "adapter",
        "lora",
        "n_discard",
        "n_keep",
        "num_ctx_override",
    ),
    *(
        "command",
        "env",
        "args",
        "proxy",
        "webhook",
        "callback_url",
        "chat_template",
        "template_url",
    ),
)


@pytest.mark.security("S-22", "S-23", "S-31")
async def test_no_field_of_a_request_makes_the_house_call_anybody(visit: Visit) -> None:
    called: list[object] = []

    def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append(reader)
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    async with server:
        canary = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        picture = {"type": "image_url", "image_url": {"url": canary}}
        asked: list[tuple[str, dict[str, object]]] = [
            ("/v1/chat/completions", dict(CHAT)),
            ("/v1/completions", {"model": "old", "prompt": "chat hi"}),
            ("/v1/responses", {"model": "old", "input": "chat hi"}),
            ("/v1/messages", {**CHAT, "max_tokens": 5}),
            ("/api/chat", dict(CHAT)),
            ("/api/generate", {"model": "old", "prompt": "chat hi"}),
            ("/v1/embeddings", {"model": "old", "input": "chat hi"}),
            ("/api/embed", {"model": "old", "input": "chat hi"}),
        ]
        statuses = set()
        for path, body in asked:
            for lure in LURES:
                for value in (canary, {"authorization": canary}, [canary], -1):
                    statuses.add((await visit("POST", path, {**body, lure: value}))[0])
            told = {"role": "user", "content": [{"type": "text", "text": "chat"}, picture]}
            statuses.add((await visit("POST", path, {**body, "messages": [told]}))[0])
        for header in ("x-forwarded-host", "forwarded", "x-arbiter-url", "x-original-url"):
            told_so = {header: canary}
            statuses.add((await visit("POST", "/v1/chat/completions", CHAT, told_so))[0])
    assert (called, statuses) == ([], {200, 400})


def body_of(operation: Mapping[str, Any]) -> str:
    """The name of what an address takes."""
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    return str(schema["$ref"]).rpartition("/")[2]


@pytest.mark.security("S-22", "S-26")
async def test_a_body_of_the_control_api_has_no_field_that_is_not_written_down(
    visit: Visit,
) -> None:
    schemas = openapi()["components"]["schemas"]
    assert {name for name, one in schemas.items() if one.get("additionalProperties")} == set()
    for method, path, operation in control_routes():
        if "requestBody" not in operation:
            continue
        assert schemas[body_of(operation)]["additionalProperties"] is False, path
        target = re.sub(r"\{verb\}", "pause", path)
        target = re.sub(r"\{\w+\}", "old", target)
        for lure in ("command", "env", "args", "api_base", "headers"):
            status, text = await visit(method, target, {lure: "id"})
            assert status == 400, (path, lure)
            assert "Extra inputs" in text or "Field required" in text, (path, text)


# What an error may not tell


INJECTIONS = [
    "' OR 1=1 --",
    "'; DROP TABLE keys; --",
    '" OR ""="',
    "1 UNION SELECT digest FROM keys",
    "old' AND (SELECT count(*) FROM sqlite_master) > 0 --",
    "%27%20OR%201=1",
    "\\'; VACUUM INTO 'x'; --",
    "{{7*7}}",
    "${7*7}",
    "<script>alert(1)</script>",
]


@pytest.mark.security("S-25")
@pytest.mark.parametrize("text", INJECTIONS)
async def test_no_text_of_a_client_is_run_as_sql(tmp_path: Path, text: str) -> None:
    async with visiting(tmp_path) as visit:
        tables = [line for line in await visit.kept() if line.startswith("CREATE")]
        quoted = URL.build(path="/" + text).raw_path
        tried = [
            await visit("GET", f"/v1/models{quoted}"),
            await visit("GET", f"/control/v1/decisions{quoted}"),
            await visit("GET", f"/control/v1/aliases{quoted}/moves"),
            await visit("GET", str(URL("/control/v1/ledger").with_query(kind=text))),
            await visit("GET", str(URL("/control/v1/costs").with_query(task=text))),
            await visit("POST", "/v1/chat/completions", {**CHAT, "model": text}),
            await visit("POST", "/v1/chat/completions", {**CHAT, "user": text}),
            await visit("POST", "/v1/chat/completions", CHAT, {"x-arbiter-conversation": text}),
            await visit("POST", "/control/v1/keys", {"name": text, "scopes": ["use"]}),
        ]
        assert {status for status, _ in tried} <= {200, 201, 400, 404, 401}
        for carrier in ({"authorization": f"Bearer {text}"}, {"x-api-key": text}):
            assert (await visit("GET", "/v1/models", headers=carrier))[0] == 401
        assert [line for line in await visit.kept() if line.startswith("CREATE")] == tables


SECRETS = re.compile(
    r"0x7f|Traceback|site-packages|\.py\b|sqlite|SELECT |INSERT |/home/|/root/|/usr/|/tmp/",
)


def _mangled(body: bytes, dice: Random) -> bytes:
    data = bytearray(body)
    for _ in range(dice.randrange(1, 5)):
        at = dice.randrange(len(data))
        piece = dice.choice(
            [b'"', b"\\", b"[", b"}", b"null", b"-1e9", b"\xff", b"\\ud800", b"1e999"]
        )
        data[at : at + dice.randrange(4)] = piece
    return bytes(data)


@pytest.mark.security("S-30")
async def test_five_hundred_mangled_requests_learn_nothing_of_the_inside(tmp_path: Path) -> None:
    dice = Random(20260101)
    bodies: list[tuple[str, Mapping[str, object]]] = [
        (
            "/v1/chat/completions",
            {**CHAT, "temperature": 0.5, "stop": ["x"], "metadata": {"task": "chat"}},
        ),
        ("/v1/completions", {"model": "old", "prompt": "hi", "max_tokens": 3}),
        ("/v1/embeddings", {"model": "old", "input": ["hi"]}),
        ("/v1/responses", {"model": "old", "input": "hi", "max_output_tokens": 3}),
        ("/v1/messages", {**CHAT, "max_tokens": 3}),
        ("/v1/messages/count_tokens", dict(CHAT)),
        ("/api/chat", {**CHAT, "stream": False, "options": {"top_k": 3}}),
        ("/api/generate", {"model": "old", "prompt": "hi", "stream": False}),
        ("/api/embed", {"model": "old", "input": "hi"}),
        ("/api/show", {"model": "old"}),
    ]
    async with visiting(tmp_path) as visit:
        _, secret = await visit.play.house.keyring.make("kiosk", ("use",), who="test")
        headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
        statuses = set()
        for _ in range(500):
            path, body = dice.choice(bodies)
            data = _mangled(json.dumps(body).encode(), dice)
            async with visit.session.post(visit.url + path, data=data, headers=headers) as got:
                text = await got.text(errors="replace")
            statuses.add(got.status)
            if got.status >= 400:
                assert not SECRETS.search(text), text
                assert secret not in text
                assert str(tmp_path) not in text
                assert os.environ["HOME"] not in text
    assert not [status for status in statuses if status >= 500]


@pytest.mark.security("S-33")
@pytest.mark.parametrize(("what", "status"), [("", 403), ("/receipt", 404)])
async def test_nobody_without_an_admin_key_reads_what_another_key_asked_for(
    visit: Visit, what: str, status: int
) -> None:
    house = visit.play.house
    _, mine = await house.keyring.make("one", ("use", "feedback"), who="test")
    _, other = await house.keyring.make("other", ("use", "feedback"), who="test")
    async with visit.session.post(
        f"{visit.url}/v1/chat/completions",
        json=CHAT,
        headers={"authorization": f"Bearer {mine}"},
    ) as got:
        decision = got.headers["x-arbiter-decision"]
    headers = {"authorization": f"Bearer {other}"}
    known = await visit("GET", f"/control/v1/decisions/{decision}{what}", headers=headers)
    unknown = await visit("GET", f"/control/v1/decisions/dec_{'0' * 26}{what}", headers=headers)
    assert known == unknown
    assert known[0] == status


# Beginning


async def said(*words: str) -> tuple[int | None, str]:
    """How a command ends, and what it says on stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "arbiter", *words,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, err = await process.communicate()
    return process.returncode, err.decode()


@pytest.mark.security("S-09")
async def test_a_house_for_others_without_a_key_does_not_open(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    code, text = await said("up", "--host", "0.0.0.0", "--port", "0", "--data-dir", data)
    assert (code, "arbiter keys add" in text) == (1, True)
