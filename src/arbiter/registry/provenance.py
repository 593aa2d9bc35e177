"""Where a version comes from: what a person claims, and what was read from its file, kept apart.

Both are entries of the ledger and live nowhere else. A claim proves nothing but that it was made,
when and by whom; what a file says of itself was written by whoever made the file. A later claim
does not replace an earlier one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from arbiter.errors import InvalidField
from arbiter.ledger import Entry, Kind, Note
from arbiter.refs import VersionId
from arbiter.registry.artifact import Artifact

LONGEST = 1000
"""Letters of one text that are written down; of a longer one, its beginning and three dots."""

MOST = 100
"""Texts in one claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a person says of a version's making. None and empty: they did not say.

    trained_on: what it was trained on, one text a data set. base: what it was made from: a
    registered name, or any other. base_version: the version that this name stood for then.
    licence: its identifier, as the person wrote it. specializations: what it was made for.
    trainer: who or what trained it. script_commit: the commit of the program that did.

    Raises `InvalidField` when a text is empty, too long, or there are too many.
    """

    trained_on: tuple[str, ...] = ()
    base: str | None = None
    base_version: VersionId | None = None
    licence: str | None = None
    specializations: tuple[str, ...] = ()
    trainer: str | None = None
    script_commit: str | None = None

    def __post_init__(self) -> None:
        single = (self.base, self.licence, self.trainer, self.script_commit)
        texts = [*self.trained_on, *self.specializations, *(t for t in single if t is not None)]
        if len(texts) > MOST:
            raise InvalidField(f"A claim has at most {MOST} texts, not {len(texts)}.")
        for text in texts:
            if not text.strip() or len(text) > LONGEST:
                raise InvalidField(
                    f"{text!r:.80} cannot be claimed: a text has 1 to {LONGEST} letters."
                )

    @property
    def is_empty(self) -> bool:
        """Whether nothing is claimed."""
        return self == Claim()

    def to_plain(self) -> dict[str, object]:
        """What was said, and nothing that was not."""
        said: dict[str, object] = {
            "trained_on": list(self.trained_on),
            "base": self.base,
            "base_version": self.base_version,
            "licence": self.licence,
            "specializations": list(self.specializations),
            "trainer": self.trainer,
            "script_commit": self.script_commit,
        }
        return {name: value for name, value in said.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A claim as it stands in the ledger: who made it, when, in which entry."""

    seq: int
    at: str
    who: str
    claim: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Everything that is known of where a version comes from.

    claimed: by people, the oldest first. read: what its file says, or its server: read_from
    tells which; empty when it says nothing.
    """

    claimed: tuple[Claimed, ...] = ()
    read: Mapping[str, object] = field(default_factory=dict)
    read_from: str | None = None


def claim_note(version: VersionId, claim: Claim, *, who: str) -> Note:
    """What the ledger is told of a claim."""
    body = {"version": version, "claim": claim.to_plain()}
    return Note(kind=Kind.PROVENANCE_CLAIMED, who=who, body=body)


def read_note(artifact: Artifact, *, who: str) -> Note | None:
    """What the ledger is told of what a file, or a server, says; None when it says nothing."""
    said = {key: _short(value) for key, value in artifact.provenance.items()}
    if artifact.licence is not None:
        said["licence"] = _short(artifact.licence)
    if not said:
        return None
    source = "file" if artifact.known_by == "content" else "server"
    body = {"version": artifact.version, "from": source, "said": said}
    return Note(kind=Kind.PROVENANCE_READ, who=who, body=body)


def provenance_of(version: VersionId, entries: Iterable[Entry]) -> Provenance:
    """What the ledger's entries about provenance say of a version."""
    claimed: list[Claimed] = []
    read: Mapping[str, object] = {}
    read_from: str | None = None
    for entry in entries:
        body = entry.plain()
        if not isinstance(body, dict) or body.get("version") != version:
            continue
        if entry.kind == Kind.PROVENANCE_READ:
            read, read_from = dict(body["said"]), str(body["from"])
        else:
            claimed.append(
                Claimed(seq=entry.seq, at=entry.at, who=entry.who, claim=dict(body["claim"]))
            )
    return Provenance(claimed=tuple(claimed), read=read, read_from=read_from)


def _short(value: object) -> object:
    if isinstance(value, str) and len(value) > LONGEST:
        return value[:LONGEST] + "..."
    return value
