"""What exists, who may come in, and what was done: the rooms that others ask."""

from __future__ import annotations

from dataclasses import dataclass

from arbiter.app.ground import Ground
from arbiter.gateway.keyring import Keyring
from arbiter.gateway.security import Access, Key, hashed
from arbiter.ledger import Ledger
from arbiter.registry.agreement import BESIDE_LEDGER
from arbiter.registry.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """The ledger, the registry and the keys."""

    ledger: Ledger
    registry: Registry
    keyring: Keyring


async def build_registry(ground: Ground) -> Registered:
    """Build them. Only the keys are read yet."""
    base, clock = ground.database, ground.clock
    ledger = Ledger(base, clock, beside=BESIDE_LEDGER)
    keyring = Keyring(
        base,
        clock,
        ground.dice,
        fixed=[
            Key(id=f"key-{number}", digest=hashed(secret), access=Access.ADMIN)
            for number, secret in enumerate(ground.settings.door.keys, start=1)
        ],
    )
    await keyring.load()
    return Registered(ledger=ledger, registry=Registry(base, clock, ledger), keyring=keyring)
