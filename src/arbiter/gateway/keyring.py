"""The keys that this house has made: hashed, shown once, with a scope, and revocable at once.

The only writer of keys. Keys of the configuration are not in it; they stand beside them in the same
`Ring`, which is what the door looks into.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from arbiter.clock import Clock
from arbiter.errors import InvalidField, UnknownKey
from arbiter.gateway.limits import Allowance, KeyLimits
from arbiter.gateway.security import Access, Key, Ring, hashed
from arbiter.refs import new_id
from arbiter.storage.database import Database, Row, Statement

SCOPES = {"use": Access.USE, "feedback": Access.FEEDBACK, "admin": Access.ADMIN}
"""What a key may be given: to ask, to judge answers to what it asked, to do everything."""

USUAL = ("use", "feedback")
NO_LIMITS = KeyLimits()

_LONGEST = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept of a key; the secret is not. revoked_at: None while it is good."""

    id: str
    name: str
    scopes: tuple[str, ...]
    made_at: str
    made_by: str
    limits: KeyLimits = NO_LIMITS
    revoked_at: str | None = None

    @property
    def access(self) -> Access:
        """Everything that it gives."""
        found = Access.PUBLIC
        for scope in self.scopes:
            found |= SCOPES[scope]
        return found


class Keyring:
    """Every key that was ever made here. Opening a house reads them."""

    def __init__(
        self, database: Database, clock: Clock, dice: Random, *, fixed: Iterable[Key] = ()
    ) -> None:
        """fixed: the keys of the configuration."""
        self.ring = Ring(fixed)
        self._database = database
        self._clock = clock
        self._dice = dice
        self._kept: dict[str, Kept] = {}

    async def load(self) -> None:
        """Read what was made before."""
        for row in await self._database.read("list_keys"):
            kept, digest = _kept(row)
            self._kept[kept.id] = kept
            if kept.revoked_at is None:
                self.ring.add(self._key(kept, digest))

    def all(self) -> tuple[Kept, ...]:
        """Every key, the oldest first."""
        return tuple(self._kept.values())

    def _key(self, kept: Kept, digest: bytes) -> Key:
        allowance = Allowance(kept.limits, self._clock) if kept.limits.is_any else None
        return Key(id=kept.id, digest=digest, access=kept.access, allowance=allowance)

    async def make(
        self, name: str, scopes: Iterable[str], *, who: str, limits: KeyLimits = NO_LIMITS
    ) -> tuple[Kept, str]:
        """A new key and its secret, which nobody can be told again. Durable when it returns.

        Raises `InvalidField` for a name or a scope that is none.
        """
        name, given = name.strip(), tuple(dict.fromkeys(scopes))
        if not name or len(name) > _LONGEST or not name.isprintable():
            raise InvalidField(
                f"A key's name is 1 to {_LONGEST} printable characters.",
                hint="Call it by whoever will use it, such as laptop.",
                param="name",
            )
        if not given or not set(given) <= set(SCOPES):
            raise InvalidField(
                f"The scopes are {', '.join(SCOPES)}; {', '.join(given) or 'none'} was given.",
                param="scopes",
            )
        now = self._clock.now()
        secret = f"ak_{secrets.token_urlsafe(32)}"
        digest = hashed(secret)
        kept = Kept(
            id=new_id("key", now=now, dice=self._dice),
            name=name,
            scopes=given,
            made_at=now.isoformat(),
            made_by=who,
            limits=limits,
        )
        await self._database.write(
            Statement(
                query="add_key",
                parameters=(
                    *(kept.id, name, digest.hex(), ",".join(given), kept.made_at, who),
                    *(limits.in_flight, limits.per_minute, limits.tokens_per_minute),
                ),
            )
        )
        self._kept[kept.id] = kept
        self.ring.add(self._key(kept, digest))
        return kept, secret

    async def revoke(self, id_: str) -> Kept:
        """Let a key open nothing from now on; what it opened before goes on.

        Raises `UnknownKey` for one that is not there, or was revoked.
        """
        now = self._clock.now().isoformat()
        written = await self._database.write(
            Statement(query="revoke_key", parameters=(now, id_), must_change=True)
        )
        if not written.applied:
            raise UnknownKey(f"No key that is good is called {id_!r:.80}.", param="id")
        (row,) = written.rows[0]
        kept, digest = _kept(row)
        self._kept[kept.id] = kept
        self.ring.drop(digest)
        return kept


def _kept(row: Row) -> tuple[Kept, bytes]:
    id_, name, digest, scopes, made_at, made_by, revoked_at, *bounds = row
    in_flight, per_minute, tokens = (None if one is None else int(one) for one in bounds)
    kept = Kept(
        id=str(id_),
        name=str(name),
        scopes=tuple(str(scopes).split(",")),
        made_at=str(made_at),
        made_by=str(made_by),
        limits=KeyLimits(in_flight=in_flight, per_minute=per_minute, tokens_per_minute=tokens),
        revoked_at=None if revoked_at is None else str(revoked_at),
    )
    return kept, bytes.fromhex(str(digest))
