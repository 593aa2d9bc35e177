"""`arbiter replay-swap`: what is lost after a swap, by what the successor starts with.

Requests are replayed, the old version leaves and the new one stands in its place at once, and as
many requests are replayed again. Every policy sees the same requests, the same luck and the same
coins, and the evidence that one table had gathered before the swap; they differ only in what the
successor's cells (or all cells) start with. Regret is that of `arbiter.studies.replay`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from arbiter.knowledge.profiles import Profile
from arbiter.studies.pairs import PLACE, Pair
from arbiter.studies.pools import Pool
from arbiter.studies.replay import bounded, summary
from arbiter.studies.world import Heard, Request, World, calibrate, requests, serve

LEARNED = "learned"
"""The production learner: it is told who succeeds whom."""

MARGIN = 0.1
"""How much more than the best fixed policy may be lost, as a part of what that one loses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapPlan:
    """What to replay. requests: before the swap, and again after it.

    calibration: free cases a task and version before. cases: those of the successor before its
    first request, as a house runs them when it is registered; None: as many.
    """

    requests: int = 2500
    feedback: float = 0.2
    calibration: int = 8
    cases: int | None = None
    seeds: int = 200
    first: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        bounded("requests", self.requests, 1, 1_000_000)
        bounded("feedback", self.feedback, 0, 1)
        bounded("calibration", self.calibration, 0, 10_000)
        bounded("cases", self.successor_cases, 0, 10_000)
        bounded("seeds", self.seeds, 1, 100_000)

    @property
    def successor_cases(self) -> int:
        """Cases a task that the successor is run on."""
        return self.calibration if self.cases is None else self.cases


# -- what a successor starts with: a world after the swap, made of what was heard before it


def _learned(heard: Sequence[Heard], pair: Pair) -> World:
    world, _ = _swapped(heard, pair)
    world.follows(pair.new, pair.old)
    return world


def _inherit_all(heard: Sequence[Heard], pair: Pair) -> World:
    world, left = _swapped(heard, pair)
    for task, profile in enumerate(left):
        if profile.graded:
            world.given(task, PLACE, count=profile.graded, total=profile.quality)
    return world


def _cap_2(heard: Sequence[Heard], pair: Pair) -> World:
    world, left = _swapped(heard, pair)
    for task, profile in enumerate(left):
        if profile.mean_quality is not None:
            world.given(task, PLACE, count=2.0, total=2.0 * profile.mean_quality)
    return world


def _reset_slot(heard: Sequence[Heard], pair: Pair) -> World:
    return _swapped(heard, pair)[0]


def _forget_all(_: Sequence[Heard], pair: Pair) -> World:
    return World.new(pair.after, LEARNED)


def _swapped(heard: Sequence[Heard], pair: Pair) -> tuple[World, Sequence[Profile]]:
    """The world with the new version in the old one's place, and the profiles that it left."""
    world = World.new(pair.before, LEARNED)
    for one in heard:
        world.told(*one)
    return world, world.replaced(PLACE, by=pair.new)


POLICIES: Mapping[str, Callable[[Sequence[Heard], Pair], World]] = {
    LEARNED: _learned,
    "inherit-all": _inherit_all,
    "cap-2": _cap_2,
    "reset-slot": _reset_slot,
    "forget-all": _forget_all,
}
FIXED = tuple(name for name in POLICIES if name != LEARNED)


# -- the replay


@dataclass(frozen=True, slots=True, kw_only=True)
class _Past:
    """A seed up to the swap, and the luck of all that comes after it."""

    heard: Sequence[Heard]
    cases: Sequence[Sequence[float]]
    later: Sequence[Request]


Losses = Mapping[str, Sequence[float]]
"""For each policy, the regret of each seed."""


def replay_swaps(
    pairs: Sequence[Pair], plan: SwapPlan, *, progress: Callable[[int, int], None] | None = None
) -> dict[str, object]:
    """Replay every pair; the answer is plain JSON, its regrets over the requests after a swap.

    Several pairs of a kind are averaged within each seed. progress: told how many runs are done,
    and of how many.
    """
    lost: list[dict[str, list[float]]] = [{name: [] for name in POLICIES} for _ in pairs]
    for run, seed in enumerate(range(plan.first, plan.first + plan.seeds)):
        pasts: dict[Pool, _Past] = {}
        for number, pair in enumerate(pairs):
            if pair.before not in pasts:
                pasts[pair.before] = _past(pair.before, plan, seed)
            for policy, begin in POLICIES.items():
                lost[number][policy].append(_after(begin, pasts[pair.before], pair))
            if progress is not None:
                progress(run * len(pairs) + number + 1, plan.seeds * len(pairs))
    kinds = list(dict.fromkeys(pair.kind for pair in pairs))
    found = {
        kind: [number for number, pair in enumerate(pairs) if pair.kind == kind] for kind in kinds
    }
    return {
        "requests": plan.requests,
        "feedback": plan.feedback,
        "calibration": plan.calibration,
        "cases": plan.successor_cases,
        "seeds": plan.seeds,
        "kinds": {
            kind: {
                **compared(_mean([lost[number] for number in numbers])),
                "pairs": [
                    {"old": pairs[k].old, "new": pairs[k].new, **compared(lost[k])} for k in numbers
                ],
            }
            for kind, numbers in found.items()
        },
    }


def _past(pool: Pool, plan: SwapPlan, seed: int) -> _Past:
    dice = Random(seed)  # noqa: S311  # a simulation
    world = World.new(pool, LEARNED)
    calibrate(world, pool, plan.calibration, dice)
    stream = requests(pool, 2 * plan.requests, feedback=plan.feedback, dice=dice, name=str(seed))
    for request in stream[: plan.requests]:
        serve(world, pool, request)
    cases = [[dice.random() for _ in range(plan.successor_cases)] for _ in pool.tasks]
    return _Past(heard=tuple(world.heard), cases=cases, later=stream[plan.requests :])


def _after(begin: Callable[[Sequence[Heard], Pair], World], past: _Past, pair: Pair) -> float:
    """The regret after the swap, with what a policy begins with."""
    world = begin(past.heard, pair)
    for task, lucks in enumerate(past.cases):
        for luck in lucks:
            world.told(task, PLACE, float(luck < pair.after.rates[task][PLACE]))
    return sum(serve(world, pair.after, request)[0] for request in past.later)


def _mean(several: Sequence[Losses]) -> Losses:
    """The mean over pairs, seed by seed: what one seed says of a kind."""
    return {
        policy: [sum(run) / len(run) for run in zip(*(one[policy] for one in several), strict=True)]
        for policy in POLICIES
    }


def compared(lost: Losses) -> dict[str, object]:
    """What each policy lost, and how the learner compares with the best of the fixed ones.

    difference: learner less best, paired by seed. allowed: a tenth of what the best loses, and two
    standard errors of the difference. The best is chosen by the same runs, so it looks a little
    better than it is: the comparison errs against the learner.

    >>> told = compared({"learned": [10.0, 12.0], "inherit-all": [20.0, 20.0],
    ...     "cap-2": [11.0, 11.0], "reset-slot": [15.0, 15.0], "forget-all": [30.0, 32.0]})
    >>> told["best"], told["difference"], round(told["allowed"], 3), told["is_within"]
    ('cap-2', {'mean': 0.0, 'se': 1.0}, 3.1, True)
    """
    means = {name: sum(found) / len(found) for name, found in lost.items()}
    best = min(FIXED, key=lambda name: means[name])
    paired = [ours - theirs for ours, theirs in zip(lost[LEARNED], lost[best], strict=True)]
    difference = summary(paired)
    allowed = MARGIN * means[best] + 2.0 * (difference["se"] or 0.0)
    return {
        "regret": {name: summary(found) for name, found in lost.items()},
        "best": best,
        "difference": difference,
        "allowed": allowed,
        "is_within": sum(paired) / len(paired) <= allowed,
    }
