"""Which side of a rollout, or of a watched promotion, a request is on, and what became of it."""

from __future__ import annotations

from collections.abc import Callable

from arbiter.refs import DecisionId, ModelName, TaskName, VersionId
from arbiter.registry.places import Places
from arbiter.swap.assignment import Assignment, Detour, Ended
from arbiter.swap.hearing import Hearing
from arbiter.swap.metrics import Ending
from arbiter.swap.pairing import never
from arbiter.swap.rollout import Rollout
from arbiter.swap.tracks import Tracks
from arbiter.swap.tripping import Failure
from arbiter.swap.watching import Watching


class Sides:
    """What requests are told by the rollouts that go on, and tell them."""

    def __init__(
        self, *, tracks: Tracks, watching: Watching, places: Places, hearing: Hearing
    ) -> None:
        self._tracks = tracks
        self._watching = watching
        self._places = places
        self._hearing = hearing

    def draw(
        self,
        alias: ModelName,
        conversation: str,
        *,
        fits: Callable[[VersionId], bool],
        may_pair: Callable[[], bool] = never,
    ) -> Assignment | Detour | None:
        """The side that a conversation is on of this alias's rollout, or watched promotion.

        fits: whether a version that was replaced could do what is asked. may_pair: as of
        `arbiter.swap.traffic.Track.draw`.
        """
        track = self._tracks.under(alias)
        if track is None:
            return self._watching.draw(alias, conversation, fits)
        detour = self.detour(alias)
        if detour is None:
            return track.draw(conversation, may_pair=may_pair)
        track.pass_over(conversation)
        return detour

    def detour(self, alias: ModelName) -> Detour | None:
        """Who answers for the absent one of two versions that share the traffic of an alias."""
        track = self._tracks.under(alias)
        if track is None or not track.is_split:
            return None
        gone = self.absent(track.rollout)
        if len(gone) != 1:
            return None
        ((absent, why),) = gone.items()
        stable, candidate = track.rollout.stable, track.rollout.candidate
        return Detour(version=candidate if absent == stable else stable, absent=absent, why=why)

    def absent(self, rollout: Rollout) -> dict[VersionId, str]:
        """Which versions of a rollout cannot be had now, and why, in words."""
        absent = self._places.absent
        roles = {rollout.stable: "stable version", rollout.candidate: "candidate"}
        return {
            version: f"the server of the {role} is gone ({why})"
            for version, role in roles.items()
            if (why := absent(version)) is not None
        }

    def note(self, assignment: Assignment, failure: Failure | None) -> None:
        """How a candidate's request went, for the hard trip."""
        track = self._tracks.of(assignment.rollout)
        if track is not None:
            track.note(assignment.arm, failure)

    def ended(
        self,
        assignment: Assignment,
        *,
        task: TaskName,
        decision: DecisionId,
        score: float | None,
        ending: Ending | None = None,
        waits: bool = False,
    ) -> Ended:
        """What to store of an assignment whose request has ended, and what to do once it is."""
        track = self._tracks.of(assignment.rollout)
        if track is None:
            return self._watching.ended(
                assignment, task=task, decision=decision, score=score, ending=ending, waits=waits
            )
        return track.ended(
            assignment, task=task, decision=decision, score=score, ending=ending, waits=waits
        )

    async def judged(self, decision: DecisionId) -> None:
        """Somebody judged an answer, and it is durable: a unit that waits for it has its score."""
        for one in (*self._tracks, *self._watching.waiting()):
            if one.waits.get(decision) is not None:
                await self._hearing.judge(one, decision)
                return
            one.waits.expect(decision)
