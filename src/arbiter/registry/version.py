"""A version: an artifact of a model, known by its content, and what it may be used for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from arbiter.refs import VersionId
from arbiter.registry.artifact import Artifact


class Standing(StrEnum):
    """What a version may be used for."""

    ACTIVE = "active"
    CANDIDATE = "candidate"
    """Being rolled out: only its rollout sends it requests; no arm of `auto`."""
    ROLLED_BACK = "rolled_back"
    RETIRED = "retired"
    """Replaced by another: kept for the way back, no arm of `auto`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """An immutable artifact of a model."""

    version: VersionId
    artifact: Artifact
    predecessor: VersionId | None
    standing: Standing
    registered_at: str
