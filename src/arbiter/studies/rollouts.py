"""`arbiter rollout-simulate`: how often the production gate is wrong, and what it costs to learn.

Made-up conversations go through the code that those of a house go through: `arbiter.swap.traffic`
draws the arm of each and makes the evidence, `arbiter.swap.analysis` says what it proves and
`arbiter.swap.rollout` takes the steps, looked at after every request. Only answers are made up:
each is right with the rate of the version that gave it. Validation is taken as passed, nothing
fails to load, and every first answer is graded. A pair is complete as soon as it is drawn.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import inf, isfinite, sqrt
from random import Random
from statistics import fmean, median_low

from arbiter.config import RolloutSettings
from arbiter.errors import InvalidField
from arbiter.inference import Arm
from arbiter.refs import DecisionId, ModelName, RolloutId, TaskName, VersionId
from arbiter.swap.assignment import Assignment
from arbiter.swap.plan import CLOCK_STEPS, Plan, Schedule
from arbiter.swap.planning import plan_of
from arbiter.swap.rollout import Phase, Rollout, ValidationVerdict, advance, begin
from arbiter.swap.traffic import Track

HOUR_S = 3600.0
SCHEDULES = tuple(one.value for one in Schedule)
MOST_TASKS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What to simulate.

    p_old, p_new: how often the stable version and the candidate are right.
    requests: how many each run has at most. unit: how many make a conversation.
    drift: the stable version's rate at first and at last, when traffic gets harder or easier while
        the steps rise; the candidate keeps its ratio to it.
    tasks: how many, each with half the traffic of the one before.
    per_hour: how many requests arrive in an hour: a step takes an hour at least.
    schedule: ``proved`` stops at a half until a promotion is proved, ``clock`` takes a step an hour
        to all of the traffic.
    shadow: the share of conversations that are asked of both versions.
    correlation: between both versions' answers to one prompt, as far as their rates allow it.
    slice_s: how long a window is, where both versions take turns; None: they share the traffic.
    """

    p_old: float
    p_new: float
    requests: int = 2000
    runs: int = 500
    drift: tuple[float, float] | None = None
    tasks: int = 1
    unit: int = 1
    per_hour: float = 200.0
    schedule: str = "proved"
    shadow: float = 0.0
    correlation: float = 0.6
    slice_s: float | None = None
    first: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        for name, value, least, most in (
            ("p-old", self.p_old, 0, 1),
            ("p-new", self.p_new, 0, 1),
            ("requests", self.requests, 1, 1_000_000),
            ("runs", self.runs, 1, 100_000),
            ("tasks", self.tasks, 1, MOST_TASKS),
            ("unit", self.unit, 1, 10_000),
            ("per-hour", self.per_hour, 0.001, 1e9),
            ("shadow", self.shadow, 0, 1),
            ("correlation", self.correlation, 0, 1),
            ("slice", self.slice_s or 1.0, 1, 1e6),
        ):
            if not least <= value <= most:
                raise InvalidField(f"--{name} is from {least} to {most}.", param=name)
        if self.schedule not in SCHEDULES:
            raise InvalidField(
                f"There is no schedule {self.schedule!r:.40}.",
                hint=f"Schedules are {', '.join(SCHEDULES)}.",
                param="schedule",
            )
        if self.slice_s is not None and (self.tasks > 1 or self.shadow):
            raise InvalidField(
                "--slice goes with neither --tasks nor --shadow: in turns a window is of all tasks,"
                " and only one model is loaded.",
                hint="Leave them out.",
                param="slice",
            )
        if self.drift is not None:
            if not all(0.0 <= rate <= 1.0 for rate in self.drift):
                raise InvalidField("--drift is two rates from 0 to 1: .9:.7", param="drift")
            if self.p_old == 0.0:
                raise InvalidField(
                    "--drift needs a --p-old above 0: a ratio is kept.", param="drift"
                )

    @property
    def plan(self) -> Plan:
        """The rollout's plan: a house's defaults, and every task declared."""
        names = tuple(TaskName(f"task-{number}") for number in range(1, self.tasks + 1))
        if self.slice_s is not None:
            windows = {"apart": "slices", "slice_s": self.slice_s, "schedule": self.schedule}
            return plan_of(RolloutSettings(), (), windows)
        plan = Plan(tasks=names, judge_other=False, shadow=self.shadow)
        if self.schedule == Schedule.CLOCK.value:
            return replace(plan, schedule=Schedule.CLOCK, steps=CLOCK_STEPS)
        return plan

    def rates(self, hours: float, plan: Plan) -> tuple[float, float]:
        """How often both versions are right, so many hours after the start."""
        if self.drift is None:
            return self.p_old, self.p_new
        begun, ended = self.drift
        risen = min(1.0, hours * HOUR_S / (plan.soak_s * len(plan.steps) or 1.0))
        old = begun + (ended - begun) * risen
        return old, min(1.0, old * self.p_new / self.p_old)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How one run ended.

    units: conversations until then, or graded windows. served: answers that the candidate gave
    until then. pairs: conversations that both versions answered.
    """

    phase: Phase
    units: int
    served: int
    pairs: int = 0

    @property
    def is_decided(self) -> bool:
        """Whether it was promoted or rolled back."""
        return self.phase in {Phase.PROMOTED, Phase.ROLLED_BACK}


def simulate_one(case: Case, seed: int) -> Ended:
    """One rollout from its first step to a verdict, or to the last request."""
    dice = Random(seed)  # noqa: S311  # a simulation
    plan = case.plan
    track = _begun(plan, salt=f"{dice.getrandbits(128):032x}")
    shares = list(accumulate(0.5**number for number in range(case.tasks)))
    served = number = 0
    names = plan.tasks or plan.judged
    task = names[0]
    for number in range(1, case.requests + 1):
        conversation = (number - 1) // case.unit
        if case.tasks > 1 and (number - 1) % case.unit == 0:
            task = names[bisect(shares, dice.random() * shares[-1]) % len(names)]
        old, new = case.rates(number / case.per_hour, plan)
        drawn = track.draw(str(conversation), may_pair=_always)
        if drawn is None:
            raise AssertionError("a rollout that is progressing is split")
        is_new = drawn.arm is Arm.CANDIDATE
        served += is_new
        right = dice.random() < (new if is_new else old)
        _answered(track, drawn, task, score=float(right))
        if drawn.is_paired:
            one, other = (new, old) if is_new else (old, new)
            also = dice.random() < also_right(right, one, other, case.correlation)
            _paired(track, drawn, task, served=float(right), other=float(also))
        track.rollout, _ = advance(
            track.rollout,
            track.judgement(in_words=False),
            elapsed_s=HOUR_S / case.per_hour,
            candidate_units=track.evidence.means.n_new,
            tripped=track.trip,
        )
        if track.rollout.phase is not Phase.PROGRESSING:
            break
    return Ended(
        phase=track.rollout.phase,
        units=-(-number // case.unit) if case.slice_s is None else _windows(track),
        served=served,
        pairs=track.evidence.n_pairs,
    )


def _windows(track: Track) -> int:
    means = track.evidence.means
    return means.n_old + means.n_new


def also_right(right: bool, one: float, other: float, correlation: float) -> float:
    """The chance that the other version is right too, or all the same, at this prompt.

    one, other: how often each is right. Two rates that differ cannot be correlated at will; then
    the correlation is the largest there is.

    >>> round(also_right(True, 0.8, 0.8, 0.6), 3), round(also_right(False, 0.8, 0.8, 0.6), 3)
    (0.92, 0.32)
    """
    spread = sqrt(one * (1.0 - one) * other * (1.0 - other))
    both = min(one * other + correlation * spread, one, other)
    if right:
        return both / one
    return (other - both) / (1.0 - one)


def _begun(plan: Plan, *, salt: str) -> Track:
    rollout = Rollout(
        id=RolloutId("rol_simulated"),
        alias=ModelName("simulated"),
        stable=VersionId("sha256:" + "0" * 64),
        candidate=VersionId("sha256:" + "1" * 64),
        plan=plan,
        salt=salt,
    )
    return Track(begin(rollout, ValidationVerdict.PASS, "taken as passed")[0])


def _answered(track: Track, drawn: Assignment, task: TaskName, *, score: float) -> None:
    """A request has ended and was graded, and its row is durable."""
    track.note(drawn.arm, None)
    _, stored = track.ended(drawn, task=task, decision=DecisionId(drawn.unit), score=score)
    if stored is not None:
        stored(True)


def _paired(
    track: Track, drawn: Assignment, task: TaskName, *, served: float, other: float
) -> None:
    """The other version has been asked the same, and the row of both is durable."""
    decision = DecisionId(drawn.unit)
    _, stored = track.paired(drawn, task=task, decision=decision, served=served, other=other)
    if stored is not None:
        stored(True)


def _always() -> bool:
    return True


def simulate(case: Case) -> dict[str, float | None]:
    """All runs; the answer is plain JSON.

    rollback, promote, inconclusive: their shares of the runs.
    median_units: conversations until the decision, or graded windows; None when half of the runs or
        more have none.
    bad_answers: what the candidate answered until it was rolled back, on average; None when no
        run was.
    median_pairs: conversations that were asked of both until then; only where some are.
    """
    ended = [simulate_one(case, seed) for seed in range(case.first, case.first + case.runs)]
    backs = [one for one in ended if one.phase is Phase.ROLLED_BACK]
    promoted = sum(one.phase is Phase.PROMOTED for one in ended)
    middle = _middle([one.units if one.is_decided else inf for one in ended])
    found: dict[str, float | None] = {
        "rollback": len(backs) / case.runs,
        "promote": promoted / case.runs,
        "inconclusive": (case.runs - len(backs) - promoted) / case.runs,
        "median_units": middle,
        "bad_answers": fmean(one.served for one in backs) if backs else None,
    }
    if case.shadow:
        found["median_pairs"] = _middle([one.pairs if one.is_decided else inf for one in ended])
    return found


def _middle(counts: Sequence[float]) -> float | None:
    middle = median_low(counts)
    return middle if isfinite(middle) else None
