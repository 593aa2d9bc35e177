"""A name pointed elsewhere: as a value, as a row, and as the ledger is told of it."""

from __future__ import annotations

from dataclasses import dataclass

from arbiter.ledger import Kind, Note
from arbiter.refs import ModelName, RolloutId, VersionId
from arbiter.storage.database import Row, Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A name pointed elsewhere: from, to, who, why, and how long the old one is kept."""

    name: ModelName
    from_version: VersionId | None
    to_version: VersionId | None
    who: str
    why: str
    rollout: RolloutId | None = None
    keep_until: str | None = None
    at: str


def logged(move: Move) -> Statement:
    """The row of a move."""
    return Statement(
        query="log_move",
        parameters=(
            move.name,
            move.from_version,
            move.to_version,
            move.who,
            move.why,
            move.rollout,
            move.keep_until,
            move.at,
        ),
    )


def move_note(move: Move, kind: Kind) -> Note:
    """What the ledger is told of a move. kind: how the name came to move."""
    body = {
        "name": move.name,
        "from": move.from_version,
        "to": move.to_version,
        "why": move.why,
        "rollout": move.rollout,
        "keep_until": move.keep_until,
    }
    return Note(kind=kind, who=move.who, body=body)


def read_move(row: Row) -> Move:
    """A move read back."""
    name, old, new, who, why, rollout, until, at = row
    return Move(
        name=ModelName(str(name)),
        from_version=None if old is None else VersionId(str(old)),
        to_version=None if new is None else VersionId(str(new)),
        who=str(who),
        why=str(why),
        rollout=None if rollout is None else RolloutId(str(rollout)),
        keep_until=None if until is None else str(until),
        at=str(at),
    )
