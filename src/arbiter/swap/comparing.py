"""Which two versions a rollout is about, and how they compare before any traffic."""

from __future__ import annotations

from arbiter.errors import (
    EngineUnavailable,
    InvalidField,
    LoadFailed,
    NotOffered,
    ServerGone,
)
from arbiter.knowledge.asked import read_asked
from arbiter.knowledge.tasks import Tasks
from arbiter.pool.pool import Pool, loadable
from arbiter.refs import ModelName, VersionId, short
from arbiter.registry.registry import Registry, Version
from arbiter.registry.served import TALKS
from arbiter.storage.database import Database
from arbiter.swap.compatibility import quality
from arbiter.swap.crashing import Crash, Place, nowhere
from arbiter.swap.findings import Compatibility, Finding
from arbiter.swap.fitting import Demand, Fit, fitting
from arbiter.swap.plan import Apart
from arbiter.swap.rollout import ValidationVerdict
from arbiter.swap.validation import Progress, Validator


def paired(
    registry: Registry, alias: ModelName, candidate: ModelName
) -> tuple[ModelName, Version, Version]:
    """The alias that is meant, what it stands for, and what it is to stand for.

    Raises:
        UnknownModel: there is no such alias or model.
        InvalidField: both are the same version, or one makes vectors.
    """
    alias, candidate = registry.meant(alias), registry.meant(candidate)
    stable, new = registry.resolve(alias), registry.resolve(candidate)
    if stable.version == new.version:
        raise InvalidField(f"{alias} is {candidate} already ({short(new.version)}).", param="model")
    if any(not version.artifact.capabilities & TALKS for version in (stable, new)):
        raise InvalidField(
            f"{alias} or {candidate} makes vectors, and those of two models do not mix.",
            hint=f"Make all of them anew, then: arbiter alias set {alias} {candidate}.",
            param="model",
        )
    return alias, stable, new


class Comparing:
    """Runs the graded cases on both versions of a rollout and compares what came of it."""

    def __init__(
        self,
        *,
        registry: Registry,
        tasks: Tasks,
        pool: Pool,
        database: Database,
        validator: Validator,
        crash: Crash = nowhere,
    ) -> None:
        self._registry = registry
        self._tasks = tasks
        self._pool = pool
        self._database = database
        self._validator = validator
        self._at = crash

    async def compare(
        self,
        alias: ModelName,
        stable: VersionId,
        candidate: VersionId,
        *,
        apart: Apart,
        progress: Progress,
    ) -> Compatibility:
        """Every finding before traffic; nothing is changed but that results are kept.

        A candidate that cannot be loaded is a finding. Memory is looked at last, because what was
        an estimate is measured by then. Raises `ServerGone` and whatever else says nothing about
        the candidate: it is asked again.
        """
        old, new = self._registry.version(stable), self._registry.version(candidate)
        tasks = self._tasks.in_force()
        whole = apart is Apart.REPLAY  # nothing else will be known
        before = await self._validator.validate(stable, alias, tasks, whole=whole)
        self._at(Place.VALIDATING)
        try:
            after = await self._validator.validate(
                candidate, alias, tasks, progress=progress, whole=whole
            )
        except (ServerGone, NotOffered):
            raise  # says nothing about the candidate
        except (LoadFailed, EngineUnavailable) as error:
            sentence = f"It could not be loaded: {error.sentence}"
            unfit = Finding(about="load", verdict=ValidationVerdict.BLOCK, sentence=sentence)
            return Compatibility(findings=(unfit,))
        findings = await self._fitting(alias, old, new, apart)
        return Compatibility(findings=(*findings, *quality(before, after)))

    async def _fitting(
        self, alias: ModelName, old: Version, new: Version, apart: Apart
    ) -> tuple[Finding, ...]:
        needs = {task.name: task.limits.abilities for task in self._tasks.in_force()}
        demand = Demand(
            asked=await read_asked(self._database, alias),
            tasks={task: wanted for task, wanted in needs.items() if wanted},
        )
        return fitting(
            self._fit(old),
            self._fit(new),
            demand,
            budget_bytes=self._pool.budget_bytes,
            apart=apart,
        )

    def _fit(self, version: Version) -> Fit:
        known = loadable(version)
        return Fit(
            context=self._pool.room_in(known),
            capabilities=self._pool.capabilities(version.artifact),
            memory_bytes=self._pool.room_for(known),
            at_once=self._pool.at_once(known),
        )
