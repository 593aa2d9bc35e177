"""Which version answers under an alias, while a rollout or a watched promotion shares it."""

from __future__ import annotations

from functools import partial

from msgspec import structs

from arbiter.dispatch.behind import Behind
from arbiter.dispatch.route import Route
from arbiter.inference import (
    Arm,
    Ask,
    Embedding,
    lacking,
    needed,
    prompt_chars,
)
from arbiter.pool.pool import loadable
from arbiter.refs import VersionId
from arbiter.selection.room import has_room
from arbiter.selection.ruled import Preferences
from arbiter.swap.assignment import Assignment, Detour


class Splitting:
    """Asks the rollouts which version of an alias answers."""

    def __init__(self, behind: Behind, preferences: Preferences) -> None:
        self._behind = behind
        self._preferences = preferences
        self._registry = behind.registry
        self._pool = behind.pool
        self._controller = behind.controller

    def banned(self, route: Route) -> str | None:
        """Why the candidate of the route's alias may not answer its task, if a rule says so."""
        preference = self._preferences.get(route.task.name)
        rollout = self._controller.active(route.alias)
        if preference is None or rollout is None or not rollout.phase.is_live:
            return None
        return preference.never.get(rollout.candidate)

    def split(self, route: Route, ask: Ask) -> Route:
        """Let the alias's rollout, or its watched promotion, say which version answers."""
        assignment = self._controller.draw(
            route.alias,
            ask.conversation,
            fits=lambda old: self._could(old, route, ask),
            may_pair=partial(self._may_pair, route, ask),
        )
        if assignment is None:
            return route
        if isinstance(assignment, Detour):
            return self._detoured(route, assignment)
        if assignment.arm in {Arm.PROMOTED, Arm.HOLDBACK}:
            return self._watched(route, assignment)
        first = self._registry.version(assignment.version)
        stable = self._registry.version(assignment.stable)
        candidate = assignment.arm is Arm.CANDIDATE
        share = assignment.probability if candidate else 1 - assignment.probability
        second = stable if candidate else self._registry.version(assignment.candidate)
        others = tuple(v for v in route.versions[1:] if v.version != first.version)
        return structs.replace(
            route,
            versions=(first, second, *others),
            assignment=assignment,
            spare=None if candidate else assignment.candidate,
            probability=route.probability * share,
            reason=f"{route.reason}; the {assignment.arm.value} arm of {assignment.rollout}",
        )

    def _could(self, old: VersionId, route: Route, ask: Ask) -> bool:
        """Whether a version that was replaced could do what is asked of its successor for certain.

        Never vectors: those of two versions cannot be compared with each other.
        """
        work = ask.work
        if isinstance(work, Embedding):
            return False
        version = self._registry.version(old)
        can = self._pool.capabilities(version.artifact)
        preference = self._preferences.get(route.task.name)
        is_banned = preference is not None and old in preference.never
        if is_banned or not can or lacking(work, can):
            return False
        room = self._pool.room_in(loadable(version))
        return has_room(room, prompt_chars(work), ask.sampling.max_tokens)

    def _watched(self, route: Route, assignment: Assignment) -> Route:
        """While a promotion is watched a few conversations keep the old version."""
        chance, versions = assignment.probability, route.versions
        if assignment.arm is Arm.HOLDBACK:
            chance = 1 - chance
            versions = (self._registry.version(assignment.stable), *versions)
            why = f"held back by {assignment.rollout}, as {chance:.0%} of conversations are"
        else:
            why = f"the promoted arm of {assignment.rollout}"
        return structs.replace(
            route,
            versions=versions,
            assignment=assignment,
            probability=route.probability * chance,
            reason=f"{route.reason}; {why}",
        )

    def _may_pair(self, route: Route, ask: Ask) -> bool:
        """Whether both versions' answers to this request can be graded: known before there is one.

        A call of a tool is graded by no rule. What may call one makes no pair, or only those would
        be pairs in which it happened not to.
        """
        if (
            isinstance(ask.work, Embedding)
            or "tools" in needed(ask.work)
            or route.guess is not None
        ):
            return False
        return self._behind.grader(route.task, "", ask.expected) is not None

    def _detoured(self, route: Route, detour: Detour) -> Route:
        """To the version of a rollout that is there; the request is no evidence."""
        both = (self._registry.version(detour.version), self._registry.version(detour.absent))
        return structs.replace(
            route,
            versions=(*both, *(v for v in route.versions[1:] if v not in both)),
            reason=f"{route.reason}; {detour.why}, so the other one answers",
        )
