"""Rollouts as tests need them, at any phase and step, and what is found of them."""

from __future__ import annotations

from msgspec import structs

from arbiter.refs import ModelName, RolloutId, VersionId
from arbiter.swap.analysis import Judgement, Verdict
from arbiter.swap.plan import Plan
from arbiter.swap.rollout import Phase, Rollout

STABLE = VersionId("sha256:" + "a" * 64)
CANDIDATE = VersionId("sha256:" + "b" * 64)
HOUR = 3600.0


def fresh(plan: Plan | None = None) -> Rollout:
    return Rollout(
        id=RolloutId("rol_" + "0" * 26),
        alias=ModelName("house"),
        stable=STABLE,
        candidate=CANDIDATE,
        plan=plan or Plan(),
        salt="pepper",
    )


def at(phase: Phase, *, index: int = 1, plan: Plan | None = None) -> Rollout:
    return structs.replace(fresh(plan), phase=phase, index=index, reason="as arranged")


def found(verdict: Verdict, *, hold: bool = False) -> Judgement:
    return Judgement(verdict=verdict, reason=f"found {verdict}", hold=hold)


UNDECIDED = found(Verdict.INCONCLUSIVE)
NOT_WORSE = found(Verdict.NOT_WORSE)
WORSE = found(Verdict.WORSE)
