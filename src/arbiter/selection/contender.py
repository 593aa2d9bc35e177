"""What selection looks at: values handed in, nothing reached for."""

from __future__ import annotations

from dataclasses import dataclass

from arbiter.inference import Dropped
from arbiter.knowledge.profiles import Profile
from arbiter.knowledge.rules import Rule
from arbiter.knowledge.tasks import Weights
from arbiter.refs import ModelName, VersionId

LEAST_SAMPLES = 10
"""Below this a version's profile is not trusted: its score is the neutral 0.5."""

NEUTRAL = 0.5
PATIENCE_MS = 10_000.0
"""The latency that scores 0 when nobody set a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A version that `auto` may pick, under the name that people know it by.

    memory_bytes: measured after a load, or estimated from the file; None when unknown.
    unavailable: why its engine cannot run here, or None. absent: why its server is not there now.
    """

    name: ModelName
    version: VersionId
    capabilities: frozenset[str]
    context: int | None
    memory_bytes: int | None
    memory_measured: bool = False
    unavailable: str | None = None
    absent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """The state of the house that a pick depends on. budget_bytes: memory for models, or None."""

    budget_bytes: int | None
    weights: Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A contender that passed every filter, with its score in [0, 1] and how it came about."""

    contender: Contender
    score: float
    samples: int
    explanation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A contender with its profile at the task in question."""

    contender: Contender
    profile: Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """A rule, with the version that its alias points at now (None: at none that may serve)."""

    rule: Rule
    version: VersionId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A pick: under which name, who, who next, why, and with what probability."""

    alias: ModelName
    primary: Scored
    fallback: Scored | None
    scored: tuple[Scored, ...]
    dropped: tuple[Dropped, ...]
    reason: str
    probability: float
