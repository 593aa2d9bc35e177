"""Keys at the door: how they are carried, what they open, and where none is needed."""

from __future__ import annotations

import pytest
from tests.contract.door_security_support import LOCKED, Inside
from tests.contract.door_support import (
    USE_KEY,
    ScriptedHouse,
    at_the_door,
    get,
    post,
)

from arbiter.errors import ConfigError, Forbidden
from arbiter.gateway.security import (
    LOOPBACK_NAMES,
    Access,
    Caller,
    Policy,
    Ring,
    admit,
    binding,
    identify,
    read_head,
)

# Keys

CREDENTIALS = [
    ([], 401),
    (["Authorization: Bearer wrong"], 401),
    (["Authorization: Basic sk-use"], 401),
    (["Authorization: Bearer"], 401),
    (["x-api-key: "], 401),
    (["x-api-key: sk-use "], 200),
    (["Authorization: Bearer sk-use"], 200),
    (["authorization: bearer sk-use"], 200),
    (["Authorization: Bearer sk-admin"], 200),
    (["Authorization: Bearer sk-use", "x-api-key: sk-use"], 200),
    (["Authorization: Bearer sk-use", "x-api-key: sk-admin"], 401),
    (["Authorization: Bearer sk-use", "Authorization: Bearer sk-use"], 401),
]


@pytest.mark.security("S-32")
@pytest.mark.parametrize(("headers", "status"), CREDENTIALS)
async def test_a_key_is_asked_for_however_it_is_carried(headers: list[str], status: int) -> None:
    async with at_the_door(ScriptedHouse(), LOCKED) as address:
        answered = await post(address, headers=headers)
    assert answered.status == status
    assert ("www-authenticate" in answered.headers) == (status == 401)


@pytest.mark.security("S-32")
@pytest.mark.parametrize("carrier", ["Authorization: Bearer {}", "x-api-key: {}"])
async def test_a_key_for_use_does_not_administer_by_any_carrier(carrier: str) -> None:
    inside = Inside()
    async with at_the_door(ScriptedHouse(), LOCKED, control=inside) as address:
        use = await get(address, "/control/v1/rollouts", [carrier.format("sk-use")])
        admin = await get(address, "/control/v1/rollouts", [carrier.format("sk-admin")])
    assert (use.status, admin.status) == (403, 200)
    assert inside.callers == [Caller(id="k-admin", access=Access.ADMIN)]


@pytest.mark.parametrize(
    ("has", "needs", "told"),
    [
        (Access.USE | Access.FEEDBACK, Access.ADMIN, "the scope admin."),
        (Access.USE, Access.ADMIN, "the scope admin."),
        (Access.USE, Access.FEEDBACK, "the scope feedback."),
        (Access.FEEDBACK, Access.USE, "the scope use."),
    ],
)
def test_a_key_that_does_not_reach_is_told_which_scope_does(
    has: Access, needs: Access, told: str
) -> None:
    with pytest.raises(Forbidden) as refused:
        admit(Caller(id="k", access=has), needs)
    assert refused.value.sentence.endswith(told)


async def test_a_key_for_use_may_give_feedback_and_control_learns_whose_it_is() -> None:
    inside = Inside()
    path = "/control/v1/decisions/dec_1/feedback"
    key = ["x-api-key: sk-use"]
    async with at_the_door(ScriptedHouse(), LOCKED, control=inside) as address:
        answered = await post(address, b'{"score":1}', key, path=path)
        deeper = await post(address, b"{}", key, path="/control/v1/decisions/a/b/feedback")
    assert (answered.text, deeper.status) == (f"/control {path}", 403)
    assert inside.callers == [Caller(id="k-use", access=Access.USE | Access.FEEDBACK)]
    assert inside.bodies == [b'{"score":1}']


async def test_what_is_public_needs_no_key() -> None:
    async with at_the_door(ScriptedHouse(), LOCKED) as address:
        assert (await get(address, "/healthz")).status == 200
        assert (await get(address, "/")).status == 200


async def test_the_house_learns_the_name_of_the_key_and_never_the_key() -> None:
    house = ScriptedHouse()
    async with at_the_door(house, LOCKED) as address:
        await post(address, headers=["x-api-key: sk-use"])
    assert house.asks[0].caller == "k-use"
    assert "sk-use" not in repr(house.asks)


def test_without_a_key_only_this_machine_is_let_in() -> None:
    scope = {"type": "http", "headers": [], "client": ("192.168.1.7", 4000)}
    with pytest.raises(Exception, match="Only this machine"):
        identify(read_head(scope), scope, Policy(is_loopback=False))
    scope["client"] = ("::1", 4000)
    assert identify(read_head(scope), scope, Policy()).access is Access.ADMIN


@pytest.mark.security("S-09")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "box.lan", "127.0.0.1.nip.io"])
def test_an_address_that_others_reach_needs_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match=r"there is no key.*listen at 127\.0\.0\.1"):
        binding(host)
    assert not binding(host, ring=Ring((USE_KEY,))).is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1", "LocalHost"])
def test_an_address_of_this_machine_alone_needs_none(host: str) -> None:
    assert binding(host).hosts >= LOOPBACK_NAMES
