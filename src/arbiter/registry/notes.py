"""What the ledger is told of a registration: a version, a name, and what its file says."""

from __future__ import annotations

from arbiter.ledger import Kind, Note
from arbiter.refs import ModelName, VersionId
from arbiter.registry.artifact import TEMPLATE_OPTION, Artifact
from arbiter.registry.provenance import Claim, claim_note, read_note


def registration_notes(
    artifact: Artifact,
    name: ModelName,
    *,
    predecessor: VersionId | None,
    known_at: str | None,
    is_new_name: bool,
    claim: Claim | None,
    who: str,
) -> tuple[Note, ...]:
    """The notes of a registration, and none of what the ledger was told before.

    known_at: the path at which the version is registered already; None for a new version.
    """
    notes: list[Note] = []
    if known_at != artifact.path:
        notes.append(version_note(artifact, name, predecessor, who=who))
    read = read_note(artifact, who=who)
    if known_at is None and read is not None:
        notes.append(read)
    if is_new_name:
        body = {"name": name, "to": artifact.version}
        notes.append(Note(kind=Kind.NAME_ADDED, who=who, body=body))
    if claim is not None and not claim.is_empty:
        notes.append(claim_note(artifact.version, claim, who=who))
    return tuple(notes)


def version_note(
    artifact: Artifact, name: ModelName, predecessor: VersionId | None, *, who: str
) -> Note:
    """A version with all that it is known by. A chat template stands in it as its digest."""
    options = {key: text for key, text in artifact.options.items() if key != TEMPLATE_OPTION}
    body: dict[str, object] = {
        "version": artifact.version,
        "name": name,
        "format": artifact.format,
        "path": artifact.path,
        "size_bytes": artifact.size_bytes,
        "content": artifact.content_digest,
        "known_by": artifact.known_by,
        "template": artifact.template_digest,
        "options": options,
        "predecessor": predecessor,
    }
    return Note(kind=Kind.VERSION_REGISTERED, who=who, body=body)
