"""What happened to models, in a chain: every entry carries the hash of the one before it.

Registrations, names, rollouts, where models come from, and what was learned elsewhere or forgotten.
An entry is committed together with the change that it records, or neither is. Nothing is ever
changed or taken out.

The chain shows that no entry at or before a hash that somebody wrote down was changed, taken out
or put in since. It cannot show more: whoever can write the database can write a whole new chain,
so a head that is kept nowhere else proves nothing about that person. It also says nothing about
whether an entry was true when it was written.

This module knows no model and no rollout: a body is plain JSON that the rooms above make.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from arbiter.clock import Clock
from arbiter.errors import Conflict, InvalidField
from arbiter.refs import canonical, digest
from arbiter.storage.database import Database, Row, Statement, Written

DOMAIN = "arbiter.ledger.v1"


class Kind(StrEnum):
    """Everything that is written down. The word before the dot is the kind's group."""

    VERSION_REGISTERED = "version.registered"
    NAME_ADDED = "name.added"
    NAME_MOVED = "name.moved"
    NAME_REMOVED = "name.removed"
    ALIAS_SET = "alias.set"
    ROLLOUT_STARTED = "rollout.started"
    ROLLOUT_VALIDATED = "rollout.validated"
    ROLLOUT_BLOCKED = "rollout.blocked"
    ROLLOUT_STEPPED = "rollout.stepped"
    ROLLOUT_PAUSED = "rollout.paused"
    ROLLOUT_RESUMED = "rollout.resumed"
    ROLLOUT_PROMOTED = "rollout.promoted"
    ROLLOUT_ROLLED_BACK = "rollout.rolled_back"
    ROLLOUT_ABORTED = "rollout.aborted"
    ROLLOUT_UNDONE = "rollout.undone"
    ROLLOUT_DRIFTED = "rollout.drifted"
    ROLLOUT_RETIRED = "rollout.retired"
    PROVENANCE_CLAIMED = "provenance.claimed"
    PROVENANCE_READ = "provenance.read"
    KNOWLEDGE_IMPORTED = "knowledge.imported"
    KNOWLEDGE_RESET = "knowledge.reset"


_KINDS = frozenset(kind.value for kind in Kind)
_BEYOND = 2**62
_GROUPS = frozenset(kind.partition(".")[0] for kind in _KINDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something to be written down. body: plain JSON values."""

    kind: Kind
    who: str
    body: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One link of the chain, as it is stored; it may be anything that somebody put there.

    seq: from 1 on, without a gap. kind: one of `Kind`, as text. body: canonical JSON. previous:
    the hash of the entry before; None for the first. hash: of everything else here.
    """

    seq: int
    kind: str
    at: str
    who: str
    body: str
    previous: str | None
    hash: str

    def plain(self) -> object:
        """The body as plain values. Raises `ValueError` when it is no JSON."""
        return json.loads(self.body)


def hash_of(entry: Entry) -> str:
    """The hash that an entry should have: over everything in it but its hash."""
    return digest(
        DOMAIN,
        {
            "seq": entry.seq,
            "kind": entry.kind,
            "at": entry.at,
            "who": entry.who,
            "body": entry.body,
            "previous": entry.previous,
        },
    )


def link(note: Note, *, at: str, after: Entry | None) -> Entry:
    """The entry of a note, to follow another.

    Raises `InvalidField` when a text in it is none, or a number is not finite.
    """
    try:
        unsigned = Entry(
            seq=1 if after is None else after.seq + 1,
            kind=note.kind.value,
            at=at,
            who=note.who,
            body=canonical(dict(note.body)).decode(),
            previous=None if after is None else after.hash,
            hash="",
        )
        return replace(unsigned, hash=hash_of(unsigned))
    except ValueError as error:
        raise InvalidField(f"This cannot be written into the ledger: {error}.") from error


class Fault(StrEnum):
    """What can be wrong with a chain."""

    GAP = "gap"
    """Entries are missing before this one."""
    ORDER = "order"
    """Its number is not above that of the entry before."""
    LINK = "link"
    """It does not follow the entry before."""
    KIND = "kind"
    """It is of no kind that this Arbiter writes."""
    NOT_CANONICAL = "not canonical"
    """Its body is not JSON in the one form that is written."""
    HASH = "hash"
    """Its hash is not that of what stands in it."""
    HEAD = "head"
    """An entry that somebody wrote down the hash of is not there."""
    STATE = "state"
    """What stands now is not what the entries say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """The first thing that is wrong. seq: where; None when every entry that is there is right."""

    seq: int | None
    fault: Fault
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of checking a chain.

    good: how many entries from the first on are as they were written. head: the hash of the last
    of them; None when there is none.
    """

    good: int
    head: str | None
    bad: Bad | None


def verify(entries: Iterable[Entry], *, heads: Iterable[str] = ()) -> Verdict:
    """Walk a chain from its first entry and stop at the first that is not as it was written.

    heads: hashes that the chain once ended with. Each has to be there: the chain goes on after a
    head, and never loses it.

    >>> first = link(Note(kind=Kind.NAME_ADDED, who="ada", body={}), at="t", after=None)
    >>> verify([first]).bad is None, verify([first], heads=["sha256:ff"]).bad.fault.value
    (True, 'head')
    """
    last: Entry | None = None
    wanted = dict.fromkeys(heads)
    for entry in entries:
        found = _fault(entry, last)
        if found is not None:
            seq = 1 if last is None else last.seq + 1
            fault, sentence = found
            bad = Bad(seq=seq, fault=fault, sentence=f"Entry {seq}: {sentence}.")
            return _verdict(last, bad)
        wanted.pop(entry.hash, None)
        last = entry
    if wanted:
        sentence = (
            f"No entry has the hash {next(iter(wanted))}: the chain was cut off or written anew "
            "since that was written down."
        )
        return _verdict(last, Bad(seq=None, fault=Fault.HEAD, sentence=sentence))
    return _verdict(last, None)


def _verdict(last: Entry | None, bad: Bad | None) -> Verdict:
    if last is None:
        return Verdict(good=0, head=None, bad=bad)
    return Verdict(good=last.seq, head=last.hash, bad=bad)


def _fault(entry: Entry, last: Entry | None) -> tuple[Fault, str] | None:
    due, previous = (1, None) if last is None else (last.seq + 1, last.hash)
    if entry.seq > due:
        return Fault.GAP, f"it is missing; the next that is there is {entry.seq}"
    if entry.seq < due:
        return Fault.ORDER, f"in its place stands one with the number {entry.seq}"
    if entry.previous != previous:
        return Fault.LINK, "it does not carry the hash of the entry before it"
    if entry.kind not in _KINDS:
        return Fault.KIND, f"this Arbiter writes no entry of the kind {entry.kind!r:.40}"
    if not _is_canonical(entry.body):
        return Fault.NOT_CANONICAL, "its body is not the JSON that was written"
    if not _is_signed(entry):
        return Fault.HASH, "its hash is not that of what stands in it"
    return None


def _is_signed(entry: Entry) -> bool:
    try:
        return hash_of(entry) == entry.hash
    except ValueError:  # it holds half a character, so nobody ever hashed it
        return False


def _is_canonical(body: str) -> bool:
    try:
        return canonical(json.loads(body)) == body.encode()
    except (ValueError, RecursionError):
        return False


def parse_head(text: str) -> str:
    """A hash that somebody wrote down, with or without ``sha256:``. Raises `InvalidField`."""
    digits = text.strip().removeprefix("sha256:")
    if len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
        raise InvalidField(
            f"{text!r:.90} is not the hash of an entry.",
            hint="It has 64 hexadecimal digits; arbiter ledger list shows the head.",
            param="head",
        )
    return f"sha256:{digits}"


def _pattern(kind: str | None) -> str:
    """What a kind, or a group of kinds, looks like in SQL. Raises `InvalidField`."""
    if kind is None:
        return "%"
    if kind in _KINDS:
        return kind
    if kind in _GROUPS:
        return f"{kind}.%"
    raise InvalidField(
        f"Nothing in the ledger is of the kind {kind!r:.80}.",
        hint=f"The kinds are {', '.join(sorted(_KINDS))}; the groups {', '.join(sorted(_GROUPS))}.",
        param="kind",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What has to agree with the chain. queries: what is read together with it.

    fault: given every entry and what each query found, the first thing that does not agree.
    """

    queries: tuple[str, ...]
    fault: Callable[[Sequence[Entry], Sequence[Sequence[Row]]], str | None]


class Ledger:
    """The chain of this house, and the only writer of it.

    One write at a time: an entry needs the hash of the one before it. Whoever waits here waits
    for the disk and for nobody else; no request ever does.
    """

    def __init__(self, database: Database, clock: Clock, beside: Beside | None = None) -> None:
        """beside: what is checked together with the chain, if anything is."""
        self._database = database
        self._clock = clock
        self._beside = beside
        self._turn = asyncio.Lock()
        self._last: Entry | None = None
        self._known = False

    async def load(self) -> None:
        """Read where the chain ends."""
        # every write that was handed over is committed or refused before its end is looked for
        await self._database.settle()
        rows = await self._database.read("last_ledger_entry")
        self._last = _entry(rows[0]) if rows else None
        self._known = True

    async def write(self, *statements: Statement, notes: Sequence[Note] = ()) -> Written:
        """Commit a change together with its entries, or neither.

        Raises what `Database.write` raises, `InvalidField` when a note holds no plain text, and
        `Conflict` when another program wrote to the ledger.
        """
        if not notes:
            return await self._database.write(*statements)
        async with self._turn:
            if not self._known:
                await self.load()
            entries: list[Entry] = []
            for note in notes:
                after = entries[-1] if entries else self._last
                entries.append(link(note, at=self._clock.now().isoformat(), after=after))
            # Whoever is cancelled while the disk works never learns what became of the write;
            # until that is known, the end of the chain is not, and the next one reads it again.
            self._known = False
            try:
                written = await self._database.write(*statements, *map(_added, entries))
            except Conflict as error:
                await self._check_end(error)
                raise
            if written.applied:
                self._last = entries[-1]
            self._known = True
            return written

    async def _check_end(self, error: Conflict) -> None:
        """Say so if the chain did not end where this house left it."""
        before = self._last
        await self.load()
        if self._last != before:
            raise Conflict(
                "Another program wrote to the ledger.",
                hint="Nothing was changed; see what it wrote with: arbiter ledger list.",
            ) from error

    async def list(
        self, *, kind: str | None = None, limit: int = 50, before: int | None = None
    ) -> tuple[Entry, ...]:
        """The latest entries, the newest first. kind: a kind or a group. Raises `InvalidField`.

        before: only entries before the one of this number.
        """
        below = _BEYOND if before is None else before
        rows = await self._database.read("list_latest_entries", (_pattern(kind), below, limit))
        return tuple(_entry(row) for row in rows)

    async def of(self, *kinds: Kind) -> tuple[Entry, ...]:
        """Every entry of these kinds, the oldest first."""
        found = [row for one in kinds for row in await self._database.read("list_of_kind", (one,))]
        return tuple(sorted((_entry(row) for row in found), key=lambda entry: entry.seq))

    async def head(self) -> Entry | None:
        """The last entry that is committed; None when there is none."""
        rows = await self._database.read("last_ledger_entry")
        return _entry(rows[0]) if rows else None

    async def verify(self, *heads: str) -> Verdict:
        """Check the whole chain as it is on disk, also against where this house left it.

        A chain that is good is also compared with what stands now.
        """
        queries = () if self._beside is None else self._beside.queries
        async with self._turn:  # no change may come between what is read here
            await self._database.settle()
            known = {*heads, self._last.hash} if self._last is not None else {*heads}
            rows = await self._database.read("list_ledger")
            tables = [await self._database.read(query) for query in queries]
        return await asyncio.to_thread(self._verdict, rows, known, tables)

    def _verdict(
        self, rows: Sequence[Row], heads: Iterable[str], tables: Sequence[Sequence[Row]]
    ) -> Verdict:
        entries = [_entry(row) for row in rows]
        verdict = verify(entries, heads=heads)
        if verdict.bad is not None or self._beside is None:
            return verdict
        sentence = self._beside.fault(entries, tables)
        if sentence is None:
            return verdict
        return replace(verdict, bad=Bad(seq=None, fault=Fault.STATE, sentence=sentence))


def _added(entry: Entry) -> Statement:
    return Statement(
        query="add_ledger_entry",
        parameters=(
            entry.seq,
            entry.kind,
            entry.at,
            entry.who,
            entry.body,
            entry.previous,
            entry.hash,
        ),
    )


def _entry(row: Row) -> Entry:
    seq, kind, at, who, body, previous, hash_ = row
    return Entry(
        seq=int(seq or 0),
        kind=str(kind),
        at=str(at),
        who=str(who),
        body=str(body),
        previous=None if previous is None else str(previous),
        hash=str(hash_),
    )
