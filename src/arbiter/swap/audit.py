"""Repeats a rollout from its record alone, and says whether it went as the log says.

Every change in the log is decided once more by the code that decides: the rows before it are
folded, and `arbiter.swap.rollout` takes the step. Nothing in memory and no running rollout is
looked at, so it works for one that goes on, for one that ended, and after any restart.

What cannot be repeated is taken from the log: what a person or a hook said, and that a server was
gone. Rows that came after the last change are checked as they stand: no decision rests on them yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from msgspec.structs import replace

from arbiter.errors import ArbiterError, UnknownRollout
from arbiter.inference import Arm
from arbiter.ledger import Entry as Link
from arbiter.ledger import Kind, Ledger
from arbiter.refs import RolloutId
from arbiter.storage.database import Database, Row
from arbiter.swap import rollout as steps
from arbiter.swap import verbs
from arbiter.swap.analysis import Evidence, Judgement
from arbiter.swap.basis import PAIRS, Chain, UnitRow
from arbiter.swap.evidence_rows import Record, ending_of, unit_of, unit_row
from arbiter.swap.findings import Compatibility
from arbiter.swap.metrics import judge
from arbiter.swap.records import Entry, Stored
from arbiter.swap.records import entry as read_entry
from arbiter.swap.records import stored as read_stored
from arbiter.swap.retrying import record_of
from arbiter.swap.rollout import LATE, WAITING, Phase, Rollout, Taken, assign
from arbiter.swap.shadow import PairRow, is_drawn, pair_of
from arbiter.swap.slices import Windows, drawn_as, slot_at, slot_of
from arbiter.swap.traffic import Track
from arbiter.swap.watch import before_of
from arbiter.swap.watch_audit import NOTES, Following, differs_since
from arbiter.swap.watch_records import alarmed, watched

HOUSE = "arbiter"
"""Who takes a step that no person took."""

Verb = Callable[[Rollout, str, str], Taken]

VERBS: tuple[tuple[str, Verb], ...] = (
    ("paused", verbs.pause),
    ("resumed", verbs.resume),
    ("promoted", verbs.promote),
    ("aborted", verbs.abort),
    ("undone", verbs.undo),
)
"""How the reason of what a person did begins, and what does it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A rollout as it is on disk.

    plan_digest: as it was written when the rollout began. record: its units and pairs.
    ends: status, error and first failed attempt of each request of the candidate.
    notes: what the ledger says of it, the oldest first.
    following: what followed its promotion; None when there was none.
    """

    stored: Stored
    plan_digest: str
    record: Record
    ends: Sequence[Row]
    log: Sequence[Entry]
    notes: Sequence[Mapping[str, object]]
    following: Following | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What became of repeating a rollout.

    entries: entries of the log that are as they were decided, from the first on.
    units, pairs: conversations that those rest on. later: conversations after the last change.
    since: conversations since the promotion, which the alarms rest on.
    differs: the first thing that is not as recorded, in words; None when everything is.
    judgement: what the rows up to the last change that was repeated come to.
    """

    entries: int
    units: int
    pairs: int
    later: int
    since: int
    differs: str | None
    judgement: Judgement

    @property
    def sentence(self) -> str:
        """The result for people."""
        if self.differs is not None:
            return f"Not as recorded. {self.differs}"
        later = f"; {self.later} came after the last change" if self.later else ""
        since = f"; {self.since} began since the promotion" if self.since else ""
        pairs = f" and {self.pairs} pairs" if self.pairs else ""
        return (
            f"As recorded: {self.entries} entries of the log and the verdict follow from"
            f" {self.units} conversations{pairs}{later}{since}."
        )


class _Differs(Exception):
    """Something is not as recorded; the text says what."""


def audit(recorded: Recorded) -> Audit:
    """Repeat a rollout from its record; what differs first is named, and nothing is raised."""
    repeating = _Repeating(recorded)
    differs: str | None = None
    try:
        repeating.run()
    except _Differs as found:
        differs = str(found)
    rows = recorded.record
    return Audit(
        entries=repeating.done,
        units=repeating.folded,
        pairs=repeating.paired,
        later=len(rows.units) - repeating.folded,
        since=0 if recorded.following is None else len(recorded.following.units),
        differs=differs,
        judgement=judge(repeating.evidence, repeating.metrics),
    )


class _Repeating:
    """The rollout as far as it has been repeated."""

    def __init__(self, recorded: Recorded) -> None:
        rollout = recorded.stored.rollout
        self.recorded = recorded
        self.evidence = Evidence(rollout.plan)
        self.metrics = rollout.plan.metrics
        self.folded = 0
        self.paired = 0
        self.done = 0
        self._windows = Windows()
        self._chain = Chain()
        self._pairs = Chain(PAIRS)
        for row in recorded.record.units_before:
            self._take(row)
        for pair in recorded.record.pairs_before:
            self._take_pair(pair)
        self._now = replace(
            rollout,
            phase=Phase.VALIDATING,
            index=0,
            soaked_s=0.0,
            total_s=0.0,
            units_at_step=self.evidence.means.n_new,
            reason="",
            budgets=1,
            shadow_only=False,
        )

    def run(self) -> None:
        if self._now.plan.digest != self.recorded.plan_digest:
            raise _Differs("The plan is not the one that the rollout began with.")
        if not self.recorded.log:
            raise _Differs("The log is empty: not even the beginning is in it.")
        self._check_windows()
        self._check_rows()
        self._check_pairs()
        for number, entry in enumerate(self.recorded.log, start=1):
            try:
                self._repeat(entry, is_first=number == 1)
            except (_Differs, ArbiterError, ValueError) as error:
                raise _Differs(f"Entry {number} ({entry.phase}, {entry.at}): {error}") from error
            self.done = number
        self._check_end()
        self._check_notes()
        self._check_since()

    def _check_windows(self) -> None:
        """Whether a window is a unit where the plan says so, drawn once, and each after the last.

        The rows of a window before it is over, by the time of the log, are looked at in `_fold`.
        """
        last: tuple[int, float] = (0, 0.0)
        for position, unit, _, _, chance, *_ in self.recorded.record.units:
            where = f"The conversation at position {position}"
            slot = slot_of(unit)
            if (slot is not None) is not self._now.plan.of_windows:
                raise _Differs(f"{where} is no unit of this plan.")
            if slot is None:
                continue
            if slot < last[0] or (slot == last[0] and last[1] and chance != last[1]):
                raise _Differs(f"{where} is in a window that was over, or was drawn otherwise.")
            last = slot, chance

    def _check_rows(self) -> None:
        """Each row as it stands: drawn as the hash says, at a share that the rollout had."""
        shares = {entry.weight for entry in self.recorded.log}
        for position, unit, _, arm, probability, score, _, _ in self.recorded.record.units:
            where = f"The conversation at position {position}"
            if probability not in shares:
                raise _Differs(f"{where} has a share of {probability}, and the rollout never had.")
            slot = slot_of(unit)
            drawn = unit if slot is None else drawn_as(slot)
            if assign(self._now.salt, drawn, probability) is not Arm(arm):
                raise _Differs(f"{where} is on the {arm} side, and was not drawn for it.")
            if score is not None and not 0.0 <= score <= 1.0:
                raise _Differs(f"{where} has a score of {score}, which no grader gives.")

    def _check_pairs(self) -> None:
        """Each pair as it stands: drawn as the hash says, and its conversation is no unit."""
        salt, share = self._now.salt, self._now.plan.shadow
        units = {row[1]: row for row in self.recorded.record.units}
        for pair in self.recorded.record.pairs:
            where = f"The pair at position {pair.position}"
            if pair.share != share or not is_drawn(salt, pair.unit, share):
                raise _Differs(f"{where} was not drawn to be one.")
            if not (0.0 <= pair.old <= 1.0 and 0.0 <= pair.new <= 1.0):
                raise _Differs(f"{where} has a score that no grader gives.")
            unit = units.get(pair.unit)
            if unit is None:
                continue  # how it was answered was lost to the disk, and its pair was not
            if unit[5] is not None:
                raise _Differs(f"{where} has a score as a conversation too, and counts once.")
            if (unit[0], unit[2], unit[3]) != (pair.position, pair.task, pair.arm):
                raise _Differs(f"{where} is not what its conversation says of it.")

    def _repeat(self, entry: Entry, *, is_first: bool) -> None:
        self._fold(entry)
        before = self._timed(entry)
        after = before if is_first else self._taken(before, entry)
        if is_first and entry.reason:
            after = replace(after, reason=entry.reason)
        found = (after.phase, after.index, after.weight)
        if found != (entry.phase, entry.step, entry.weight):
            raise _Differs(
                f"it says {entry.phase} at step {entry.step} ({entry.weight:.0%}), and what was"
                f" known then comes to {after.phase} at step {after.index} ({after.weight:.0%})."
            )
        self._now = replace(after, reason=entry.reason)

    def _fold(self, entry: Entry) -> None:
        """The rows that this change was decided on, and whether they are still the same."""
        if entry.phase is Phase.UNDONE:
            return  # decided on no evidence, after all of it
        rows = self.recorded.record
        while self.folded < len(rows.units):
            row = rows.units[self.folded]
            if row[0] >= entry.basis.until:
                break
            slot, length_s = slot_of(row[1]), self._now.plan.slice_s
            if slot and length_s and slot > slot_at(entry.basis.sliced_s, length_s):
                raise _Differs(f"it was decided on window {slot}, which had not begun.")
            self._take(row)
            self.folded += 1
        while self.paired < len(rows.pairs):
            pair = rows.pairs[self.paired]
            if pair.position >= entry.basis.pairs_until:
                break
            self._take_pair(pair)
            self.paired += 1
        if self._chain.get() != entry.basis.rows:
            raise _Differs(
                f"the conversations before position {entry.basis.until} are not those that it"
                " was decided on."
            )
        if self._pairs.get() != entry.basis.pairs:
            raise _Differs(
                f"the pairs before position {entry.basis.pairs_until} are not those that it"
                " was decided on."
            )
        found = (self.evidence.log_worse, self.evidence.log_not_worse, self.evidence.means.n_new)
        if found != (entry.basis.log_worse, entry.basis.log_not_worse, entry.units):
            raise _Differs("the evidence of its conversations is not what was written beside it.")

    def _take(self, row: UnitRow) -> None:
        self._chain.update(row)
        unit, ending = self._windows.take(row[1], unit_of(row)), ending_of(row)
        if unit is not None:
            self.evidence.update(unit)
        if ending is not None:
            self.metrics.update(ending, row[3] == Arm.CANDIDATE, row[4])

    def _take_pair(self, row: PairRow) -> None:
        self._pairs.update(row)
        self.evidence.pair(pair_of(row))

    def _timed(self, entry: Entry) -> Rollout:
        basis = entry.basis
        if entry.phase is Phase.UNDONE:
            return self._now
        if basis.soaked_s < self._now.soaked_s or basis.total_s < self._now.total_s:
            raise _Differs("its times are shorter than those before it.")
        return replace(self._now, soaked_s=basis.soaked_s, total_s=basis.total_s)

    def _taken(self, before: Rollout, entry: Entry) -> Rollout:
        units = self.evidence.means.n_new
        stepped: Verb = partial(_step, candidate_units=units)
        for word, verb in (*VERBS, ("stepped", stepped)):
            said = f"{word} by {entry.who}"
            if entry.reason == said or entry.reason.startswith(f"{said}: "):
                why = entry.reason.removeprefix(said).removeprefix(": ")
                return verb(before, entry.who, why)[0]
        if entry.who != HOUSE:
            raise _Differs(f"{entry.who} did something that its reason does not name.")
        if before.phase is Phase.VALIDATING:
            findings = Compatibility(findings=self.recorded.stored.findings)
            return steps.begin(before, findings.advice, findings.reason)[0]
        judgement = judge(self.evidence, self.metrics)
        gone = entry.reason.startswith(WAITING) and entry.phase is Phase.PAUSED
        return steps.advance(
            before,
            judgement,
            elapsed_s=entry.basis.elapsed_s,
            candidate_units=units,
            tripped=self._tripped() if entry.phase is Phase.ROLLED_BACK else None,
            absent=entry.reason.removeprefix(WAITING) if gone else None,
            # one that could have been promoted and asks instead was kept from it
            blocked=entry.reason if entry.reason.startswith(LATE) else None,
        )[0]

    def _tripped(self) -> str | None:
        """Why the candidate's failures take it out without statistics, if they do."""
        track = Track(self._now)
        track.note_ends(self.recorded.ends)
        return track.trip

    def _check_end(self) -> None:
        stored, now = self.recorded.stored.rollout, self._now
        # what it waits for while it goes on, such as a hook, is noted and no change
        reason = now.reason if now.phase is Phase.PROGRESSING else stored.reason
        found = (stored.phase, stored.index, reason)
        if found != (now.phase, now.index, now.reason):
            raise _Differs(
                f"The rollout says {stored.phase} at step {stored.index}, and the last entry of"
                f" its log {now.phase} at step {now.index}."
            )

    def _check_notes(self) -> None:
        """The ledger has the same changes with the same words, in a chain of its own."""
        said = [
            (entry.phase.value, entry.step, entry.weight, entry.who, entry.reason)
            for entry in self.recorded.log
        ]
        noted = [
            tuple(note.get(name) for name in ("phase", "step", "weight", "who", "reason"))
            for note in self.recorded.notes
        ]
        for number, (one, other) in enumerate(zip(said, noted, strict=False), start=1):
            if one != other:
                raise _Differs(f"Entry {number} is not what the ledger says of it.")
        if len(said) != len(noted):
            raise _Differs(f"The log has {len(said)} entries, and the ledger {len(noted)}.")

    def _check_since(self) -> None:
        recorded = self.recorded
        if recorded.following is None:
            if any(one.phase is Phase.UNDONE and one.who == HOUSE for one in recorded.log):
                raise _Differs("It was taken back by an alarm, and none is on record.")
            return
        differs = differs_since(
            recorded.stored.rollout,
            recorded.following,
            before=before_of(self.evidence),
            began=recorded.record.conversations,
            log=recorded.log,
        )
        if differs is not None:
            raise _Differs(differs)


def _step(rollout: Rollout, who: str, why: str, *, candidate_units: int) -> Taken:
    return verbs.step(rollout, who, why, to=rollout.index + 1, candidate_units=candidate_units)


async def read_record(rollout: RolloutId, database: Database, ledger: Ledger) -> Recorded:
    """Everything that is on disk about a rollout, once what is queued is there too.

    Raises:
        UnknownRollout: there is none of this id.
    """
    await database.settle()
    while True:
        found = await _read(rollout, database, ledger)
        # a change writes its entry with everything else at once: no further entry, no change
        if len(await database.read("list_rollout_log", (rollout,))) == len(found.log):
            return found


async def _read(rollout: RolloutId, database: Database, ledger: Ledger) -> Recorded:
    key = (rollout,)
    log = [read_entry(row) for row in await database.read("list_rollout_log", key)]
    rows = await database.read("get_rollout", key)
    if not rows:
        raise UnknownRollout(f"No rollout is called {rollout!r:.80}.", param="rollout")
    stored = read_stored(rows[0])
    kinds = [kind for kind in Kind if kind.value.startswith("rollout.")]
    told = [{**_body(e), "who": e.who, "kind": e.kind} for e in await ledger.of(*kinds)]
    notes = [body for body in told if body.get("rollout") == rollout]
    ((digest,),) = await database.read("rollout_plan_digest", key)
    return Recorded(
        stored=stored,
        plan_digest=str(digest),
        record=await record_of(database, stored.rollout),
        ends=await database.read("list_candidate_ends", key),
        log=log,
        notes=[body for body in notes if body["kind"] not in NOTES],
        following=await _following(
            rollout, database, [body for body in notes if body["kind"] in NOTES]
        ),
    )


async def _following(
    rollout: RolloutId, database: Database, notes: Sequence[Mapping[str, object]]
) -> Following | None:
    key = (rollout,)
    watches = await database.read("get_watch", key)
    if not watches:
        return None
    return Following(
        watch=watched(watches[0]),
        units=[unit_row(row) for row in await database.read("list_after_units", key)],
        alarms=[alarmed(row) for row in await database.read("list_alarms", key)],
        notes=notes,
    )


def _body(entry: Link) -> Mapping[str, object]:
    """What a link of the ledger says; nothing when somebody put something else in its place."""
    try:
        body = entry.plain()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, Mapping) else {}
