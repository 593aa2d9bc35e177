"""How a rollout moves its alias: to the candidate when it is promoted, and back."""

from __future__ import annotations

from datetime import datetime, timedelta

from arbiter.registry.moves import Move
from arbiter.swap.rollout import Rollout


def promoting(rollout: Rollout, who: str, now: datetime) -> Move:
    """The alias stands for the candidate; the old version is kept for the plan's ``keep_s``."""
    return Move(
        name=rollout.alias,
        from_version=rollout.stable,
        to_version=rollout.candidate,
        who=who,
        why=rollout.reason,
        rollout=rollout.id,
        keep_until=(now + timedelta(seconds=rollout.plan.keep_s)).isoformat(),
        at=now.isoformat(),
    )


def undoing(rollout: Rollout, who: str, now: datetime) -> Move:
    """The alias stands for the old version again."""
    return Move(
        name=rollout.alias,
        from_version=rollout.candidate,
        to_version=rollout.stable,
        who=who,
        why=rollout.reason,
        rollout=rollout.id,
        at=now.isoformat(),
    )
