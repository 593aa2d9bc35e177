"""Which two versions a rollout is about, and how they compare before any traffic."""

from __future__ import annotations

from arbiter.errors import (
    EngineUnavailable,
    InvalidField,
    LoadFailed,
    NotOffered,
    ServerGone,
)
from arbiter.knowledge.tasks import Tasks
from arbiter.pool.pool import Pool, loadable
from arbiter.refs import ModelName, TaskName, short
from arbiter.registry.registry import Registry, Version
from arbiter.registry.served import TALKS
from arbiter.swap.compatibility import Compatibility, Finding, compare
from arbiter.swap.crashing import Crash, Place, nowhere
from arbiter.swap.rollout import Rollout, ValidationVerdict
from arbiter.swap.validation import Validator


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
        validator: Validator,
        crash: Crash = nowhere,
    ) -> None:
        self._registry = registry
        self._tasks = tasks
        self._pool = pool
        self._validator = validator
        self._at = crash

    async def compare(
        self, rollout: Rollout, done: dict[TaskName, tuple[int, int]]
    ) -> Compatibility:
        """Every finding. done: filled with the cases done, of how many, while it runs.

        A candidate that cannot be loaded is a finding. Raises `ServerGone` and whatever else says
        nothing about the candidate: it is asked again.
        """
        stable = self._registry.version(rollout.stable)
        candidate = self._registry.version(rollout.candidate)
        tasks = self._tasks.in_force()

        def progress(task: TaskName, count: int, total: int) -> None:
            done[task] = (count, total)

        old = await self._validator.validate(stable.version, rollout.alias, tasks)
        self._at(Place.VALIDATING)
        try:
            new = await self._validator.validate(
                candidate.version, rollout.alias, tasks, progress=progress
            )
        except (ServerGone, NotOffered):
            raise  # says nothing about the candidate
        except (LoadFailed, EngineUnavailable) as error:
            sentence = f"It could not be loaded: {error.sentence}"
            unfit = Finding(about="load", verdict=ValidationVerdict.BLOCK, sentence=sentence)
            return Compatibility(findings=(unfit,))
        needs = [self._pool.room_for(loadable(version)) for version in (stable, candidate)]
        return compare(
            stable=stable.artifact,
            candidate=candidate.artifact,
            stable_results=old,
            candidate_results=new,
            both_bytes=sum(needs),
            budget_bytes=self._pool.budget_bytes,
        )
