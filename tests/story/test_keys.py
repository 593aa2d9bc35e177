"""Keys: made and shown once, with a scope, and revoked at once; a restart forgets none."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.story.houses import running, settings
from tests.story.stage import Stage, stage

from arbiter.app import open_house
from arbiter.errors import ConfigError, InvalidField, UnknownKey
from arbiter.gateway.limits import KeyLimits
from arbiter.house import House

CHAT: Mapping[str, Any] = {"model": "old", "messages": [{"role": "user", "content": "chat hi"}]}


async def statuses(url: str, key: str | None) -> dict[str, int]:
    """What a key opens: asking, judging, and what only an admin may."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(url, headers=headers) as session:
        async with session.post("/v1/chat/completions", json=dict(CHAT)) as got:
            asked = got.status
            decision = got.headers.get("x-arbiter-decision", "dec_" + "0" * 26)
        judged = f"/control/v1/decisions/{decision}/feedback"
        async with session.post(judged, json={"score": 1}) as got:
            feedback = got.status
        async with session.get("/control/v1/keys") as got:
            admin = got.status
    return {"use": asked, "feedback": feedback, "admin": admin}


async def furnished(play: Stage) -> House:
    await play.add("old", {"chat": 0.9})
    return play.house


@pytest.mark.security("S-27")
async def test_a_key_opens_what_its_scopes_say_and_nothing_else(tmp_path: Path) -> None:
    async with stage(tmp_path / "data") as play:
        house = await furnished(play)
        async with house.door() as address:
            assert await statuses(address.url, None) == {"use": 200, "feedback": 200, "admin": 200}
            _, usual = await house.keyring.make("laptop", ("use", "feedback"), who="test")
            _, asks = await house.keyring.make("kiosk", ("use",), who="test")
            _, judges = await house.keyring.make("critic", ("feedback",), who="test")
            _, admin = await house.keyring.make("me", ("admin",), who="test")
            found = {
                name: await statuses(address.url, key)
                for name, key in {
                    "nobody": None, "wrong": "ak_wrong", "usual": usual, "asks": asks,
                    "judges": judges, "admin": admin,
                }.items()
            }  # fmt: skip
    assert found == {
        "nobody": {"use": 401, "feedback": 401, "admin": 401},
        "wrong": {"use": 401, "feedback": 401, "admin": 401},
        "usual": {"use": 200, "feedback": 200, "admin": 403},
        "asks": {"use": 200, "feedback": 403, "admin": 403},
        "judges": {"use": 403, "feedback": 404, "admin": 403},
        "admin": {"use": 200, "feedback": 200, "admin": 200},
    }


async def receipt_status(url: str, key: str, decision: str) -> int:
    """Whether a key is shown what an answer cost."""
    headers = {"authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession(url, headers=headers) as session,
        session.get(f"/control/v1/decisions/{decision}/receipt") as got,
    ):
        body = await got.json()
        assert got.status != 200 or body["decision"] == decision
        return got.status


async def test_who_asked_is_shown_what_the_answer_cost_and_others_only_as_admin(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path / "data") as play:
        house = await furnished(play)
        async with house.door() as address:
            scopes = {"asks": ("use",), "other": ("use", "feedback"), "judges": ("feedback",)}
            keys = {
                name: (await house.keyring.make(name, given, who="test"))[1]
                for name, given in {**scopes, "admin": ("admin",)}.items()
            }
            headers = {"authorization": f"Bearer {keys['asks']}"}
            async with (
                aiohttp.ClientSession(address.url, headers=headers) as session,
                session.post("/v1/chat/completions", json=dict(CHAT)) as got,
            ):
                decision = got.headers["x-arbiter-decision"]
            found = {
                name: await receipt_status(address.url, key, decision)
                for name, key in {**keys, "wrong": "ak_wrong"}.items()
            }
            nobodys = await receipt_status(address.url, keys["asks"], "dec_" + "0" * 26)
    assert found == {"asks": 200, "other": 404, "judges": 403, "admin": 200, "wrong": 401}
    assert nobodys == 404


async def test_a_revoked_key_opens_nothing_from_that_moment_on(tmp_path: Path) -> None:
    async with stage(tmp_path / "data") as play:
        house = await furnished(play)
        async with house.door() as address:
            await house.keyring.make("stays", ("use",), who="test")
            kept, secret = await house.keyring.make("goes", ("use",), who="test")
            assert (await statuses(address.url, secret))["use"] == 200
            assert (await house.keyring.revoke(kept.id)).revoked_at is not None
            assert (await statuses(address.url, secret))["use"] == 401
            with pytest.raises(UnknownKey):
                await house.keyring.revoke(kept.id)


@pytest.mark.security("S-25")
async def test_a_restart_forgets_no_key_and_no_secret_is_on_the_disk(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with stage(data) as play:
        _, good = await play.house.keyring.make("good", ("use",), who="test")
        gone, bad = await play.house.keyring.make("gone", ("use",), who="test")
        await play.house.keyring.revoke(gone.id)
    async with stage(data, seed=8) as play:
        house = await furnished(play)
        assert {one.name for one in house.keyring.all()} == {"good", "gone"}
        async with house.door() as address:
            assert (await statuses(address.url, good))["use"] == 200
            assert (await statuses(address.url, bad))["use"] == 401
    for path in data.rglob("*"):
        if path.is_file():
            assert good.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("name", "scopes"),
    [("", ("use",)), ("x" * 81, ("use",)), ("a\x07", ("use",)), ("ok", ()), ("ok", ("root",))],
)
async def test_a_name_or_a_scope_that_is_none_is_refused(
    tmp_path: Path, name: str, scopes: tuple[str, ...]
) -> None:
    async with stage(tmp_path / "data") as play:
        with pytest.raises(InvalidField):
            await play.house.keyring.make(name, scopes, who="test")
        assert play.house.keyring.all() == ()


async def test_a_house_for_others_opens_once_it_has_a_key(tmp_path: Path) -> None:
    given = settings(tmp_path / "data", door__host="0.0.0.0")  # the point
    async with open_house(given) as house:
        with pytest.raises(ConfigError, match="arbiter keys add"):
            async with house.door():
                pass
        await house.keyring.make("phone", ("use",), who="test")
        async with house.door() as address:
            assert address.port


@pytest.mark.security("S-09")
async def test_the_commands_of_whoever_runs_the_house_need_no_key(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as up:
        made = await up.control("POST", "/keys", {"name": "laptop"})
        assert made["key"].startswith("ak_")
        assert "key" not in (await said(tmp_path, "keys"))["keys"][0]
        data = tmp_path / "data"
        assert (data / "house.json").is_file()
        files = [one for one in data.iterdir() if one.is_file()]
        assert {stat.S_IMODE(one.stat().st_mode) for one in files} == {0o600}
        async with up.session.get(f"{up.url}/control/v1/keys") as got:
            assert got.status == 401  # this program has no key, and may be anybody


async def test_the_bounds_of_a_key_hold_and_a_restart_keeps_them(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with stage(data) as play:
        limits = KeyLimits(in_flight=4, per_minute=2, tokens_per_minute=100_000)
        _, secret = await play.house.keyring.make("kiosk", ("use",), who="test", limits=limits)
    async with stage(data, seed=8) as play:
        house = await furnished(play)
        (kept,) = house.keyring.all()
        assert kept.limits == limits
        async with house.door() as address:
            asked = [(await statuses(address.url, secret))["use"] for _ in range(3)]
            assert asked == [200, 200, 429]
            play.clock.jump(30)
            assert (await statuses(address.url, secret))["use"] == 200


async def test_the_commands_set_bounds_and_show_them(tmp_path: Path) -> None:
    made = await said(tmp_path, "keys", "add", "kiosk", "--limit", "in-flight=2")
    assert made["limits"] == {"in_flight": 2, "per_minute": None, "tokens_per_minute": None}
    (listed,) = (await said(tmp_path, "keys"))["keys"]
    assert listed["limits"] == made["limits"]


async def said(tmp_path: Path, *words: str) -> dict[str, Any]:
    """What a command of the same user answers, without a key."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "arbiter", *words, "--json", "--data-dir", str(tmp_path / "data"),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0
    answer: dict[str, Any] = json.loads(out)
    return answer
