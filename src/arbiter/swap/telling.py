"""A rollout in plain sentences: the plan, what stands now, what happened, what would end it.

It decides nothing and computes no evidence: it says what others decided, and guesses how long it
may take. A guess is called one, and what cannot be guessed is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log

from arbiter.inference import Arm
from arbiter.refs import TaskName
from arbiter.stats.evalues import e_bh
from arbiter.swap.analysis import Judgement, TaskEvidence
from arbiter.swap.plan import Apart, Plan
from arbiter.swap.records import Entry
from arbiter.swap.rollout import Phase, Rollout
from arbiter.swap.shadow import NO_PAIRS, Agreement
from arbiter.swap.slices import SLICE_S, expectation

Interval = tuple[float, float]
Turn = tuple[int, Arm, float]
"""A window of time: its number, whose turn it is, and the chance that it was the candidate's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """How long it may still take; an estimate from how it went so far, and None where unknown.

    step_units: graded candidate conversations until the next step may be taken. step_s: seconds
    until then. toward: the end that the evidence leans to, ``promotion`` or ``rollback``. units,
    seconds: graded conversations of both sides, and time, until the evidence is enough for it, if
    it goes on growing as it did. asks_s: seconds of progressing until it pauses and asks; exact.
    """

    step_units: int | None = None
    step_s: float | None = None
    toward: str | None = None
    units: int | None = None
    seconds: float | None = None
    asks_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """Everything about a rollout, in sentences."""

    plan: tuple[str, ...]
    now: tuple[str, ...]
    tasks: tuple[str, ...]
    happened: tuple[str, ...]
    would_end_it: tuple[str, ...]
    meaning: tuple[str, ...]


def outlook(rollout: Rollout, judgement: Judgement) -> Outlook:
    """What may still be to go; nothing while it does not progress."""
    if rollout.phase is not Phase.PROGRESSING:
        return Outlook()
    plan, graded = rollout.plan, judgement.n_candidate - rollout.units_at_step
    rate = graded / rollout.soaked_s if graded > 0 and rollout.soaked_s > 0.0 else None
    soak_s = max(0.0, plan.soak_s - rollout.soaked_s)
    missing = max(0, plan.min_units - graded)
    rises = rollout.index + 1 < len(plan.ladder) and not judgement.hold
    toward, units = _toward(judgement, plan.min_units)
    seconds = None if units is None or rate is None else units * _share(rollout, judgement) / rate
    if seconds is not None and toward == "promotion":
        steps = max(0, plan.min_steps - rollout.index)
        seconds = max(seconds, soak_s + steps * plan.soak_s)
    return Outlook(
        step_units=missing if rises else None,
        step_s=_later(soak_s, missing, rate) if rises else None,
        toward=toward,
        units=units,
        seconds=seconds,
        asks_s=max(0.0, plan.expiry_s - rollout.total_s),
    )


def _share(rollout: Rollout, judgement: Judgement) -> float:
    """Of all conversations, those that the candidate gives a graded answer to."""
    beside = rollout.plan.shadow * (1.0 - rollout.weight) if judgement.n_pairs else 0.0
    return rollout.weight + beside


def _later(soak_s: float, missing: int, rate: float | None) -> float | None:
    if not missing:
        return soak_s
    return None if rate is None else max(soak_s, missing / rate)


def _toward(judgement: Judgement, least: int) -> tuple[str | None, int | None]:
    """Where the evidence leans, and how many more conversations it would take at this pace."""
    so_far = judgement.n_stable + judgement.n_candidate
    if so_far < least:
        return None, None
    ends = [
        ("rollback", judgement.e_worse, judgement.needed_worse),
        ("promotion", judgement.e_not_worse, judgement.needed_not_worse),
    ]
    name, e, needed = max(ends, key=lambda end: log(max(end[1], 1e-300)) / log(end[2]))
    if e <= 1.0:
        return None, None
    return name, ceil(so_far * max(0.0, log(needed) / log(e) - 1.0))


def worse_tasks(tasks: Sequence[TaskEvidence], plan: Plan) -> tuple[TaskName, ...]:
    """At which tasks the candidate is worse: of those named, at most alpha wrongly on average.

    The e-BH procedure at ``alpha_rollback`` over every judged task.
    """
    found = e_bh([one.log_worse for one in tasks], plan.alpha_rollback)
    return tuple(tasks[index].task for index in found)


def in_words(judgement: Judgement) -> tuple[str, ...]:
    """The evidence both ways, next to what it takes.

    >>> from arbiter.swap.analysis import Verdict
    >>> print(in_words(Judgement(verdict=Verdict.INCONCLUSIVE, reason="", e_worse=3.2))[0])
    The evidence that it is worse is 3.2 of the 20 that it takes.
    """
    return (
        (
            f"The evidence that it is worse is {_size(judgement.e_worse)} of the"
            f" {judgement.needed_worse:.0f} that it takes."
        ),
        (
            f"The evidence that it is not worse is {_size(judgement.e_not_worse)} of the"
            f" {judgement.needed_not_worse:.0f} that it takes."
        ),
    )


def of_interval(interval: Interval | None) -> str:
    """The interval on the difference as a sentence.

    >>> of_interval((-0.02, 0.08))
    'The candidate is between 2.0 points worse and 8.0 points better, of 100.'
    """
    if interval is None or interval == (-1.0, 1.0):
        return "How much better or worse it is, is not known yet."
    low, high = interval
    if low > high:
        return "The difference changed while it was measured: no single value fits all of it."
    return f"The candidate is between {_points(low)} and {_points(high)}, of 100."


def of_pairs(found: Agreement, waiting: int = 0) -> tuple[str, ...]:
    """Conversations that were asked of both, as sentences; none where there are none.

    >>> print(of_pairs(Agreement(both=30, only_stable=4, only_candidate=2, neither=4))[0])
    Of 40 asked of both: both right 30, only stable 4, only candidate 2, neither 4.
    """
    told = []
    if found.pairs:
        told.append(
            f"Of {found.pairs} asked of both: both right {found.both}, only stable"
            f" {found.only_stable}, only candidate {found.only_candidate}, neither {found.neither}."
        )
    if found.interval is not None:
        told.append(f"By those alone: {of_interval(found.interval)}")
    if waiting:
        told.append(f"{waiting} more wait until nobody is being served.")
    return tuple(told)


def units_of(plan: Plan) -> str:
    """What a unit of evidence is called, in the plural."""
    return "windows" if plan.of_windows else "conversations"


def to_go(found: Outlook, units_are: str = "conversations") -> tuple[str, ...]:
    """What is still to go, as sentences; none of what is unknown."""
    told = []
    if found.step_units is not None:
        units = f"{found.step_units} graded candidate {units_are}" if found.step_units else ""
        time = "" if found.step_s is None else f"about {lasting(found.step_s)}"
        both = " and ".join(part for part in (time, units) if part)
        told.append(f"To the next step, by estimate: {both}.")
    if found.units is not None:
        time = "" if found.seconds is None else f", about {lasting(found.seconds)}"
        told.append(
            f"To a {found.toward}, by estimate, if it goes on like this: {found.units}"
            f" {units_are}{time}."
        )
    elif found.asks_s is not None:
        told.append("How long it takes to a verdict cannot be told yet.")
    if found.asks_s is not None:
        told.append(f"It pauses and asks after {lasting(found.asks_s)} more without a verdict.")
    return tuple(told)


def lasting(seconds: float) -> str:
    """A duration for people, in its two largest units.

    >>> lasting(12.4), lasting(3720.0), lasting(7 * 86400.0)
    ('12 s', '1 h 2 min', '7 d')
    """
    left, parts = round(seconds), list[str]()
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count and len(parts) < 2:
            parts.append(f"{count} {unit}")
    return " ".join(parts) or "0 s"


def explain(
    rollout: Rollout,
    judgement: Judgement,
    *,
    tasks: Sequence[TaskEvidence],
    log: Sequence[Entry],
    interval: Interval | None,
    agreement: Agreement = NO_PAIRS,
    turn: Turn | None = None,
) -> Explained:
    """A rollout in sentences. turn: the present window of one in time slices."""
    of_what = "windows" if rollout.plan.of_windows else "new conversations"
    share = f"{rollout.weight:.0%}"
    return Explained(
        plan=_plan(rollout.plan),
        now=(
            f"It is {rollout.phase.replace('_', ' ')}"
            # what is over splits nothing: 0 % would be wrong of what was promoted
            + ("." if rollout.phase.is_final else f"; the candidate gets {share} of {of_what}."),
            *only_asked(rollout),
            rollout.reason,
            judgement.reason,
            *in_words(judgement),
            of_interval(interval),
            *of_pairs(agreement),
            *of_turn(turn),
            *to_go(outlook(rollout, judgement), units_of(rollout.plan)),
        ),
        tasks=_tasks(tasks, rollout.plan),
        happened=tuple(_entry(entry, units_of(rollout.plan)) for entry in log),
        would_end_it=_ends(rollout),
        meaning=_meaning(rollout.plan),
    )


def of_turn(turn: Turn | None) -> tuple[str, ...]:
    """Whose window it is, as a sentence; none where there are no windows.

    >>> of_turn((17, Arm.CANDIDATE, 0.25))
    ('Window 17 is one of the candidate, as 25% of windows are.',)
    """
    if turn is None:
        return ()
    slot, arm, chance = turn
    share = chance if arm is Arm.CANDIDATE else 1.0 - chance
    side = "candidate" if arm is Arm.CANDIDATE else "stable version"
    return (f"Window {slot} is one of the {side}, as {share:.0%} of windows are.",)


def to_expect(rollout: Rollout) -> tuple[str, ...]:
    """How long a rollout in time slices may take; none of what is over or has no windows."""
    length_s = rollout.plan.slice_s
    if length_s is None or rollout.phase.is_final:
        return ()
    return (expectation(length_s),)


def only_asked(rollout: Rollout) -> tuple[str, ...]:
    """That the candidate answers nobody yet, and until when; nothing once it does."""
    if not (rollout.shadow_only and rollout.phase.is_live):
        return ()
    plan = rollout.plan
    return (
        (
            "It answers nobody yet: it is only asked beside the stable version until"
            f" {plan.min_units} pairs are made, or {lasting(plan.soak_s)} have passed."
        ),
    )


def _plan(plan: Plan) -> tuple[str, ...]:
    digest = f"Its digest is {plan.digest}; it does not change while the rollout goes on."
    if plan.apart is Apart.REPLAY:
        return ("No traffic is shared: the graded cases alone promote it, or nothing does.", digest)
    if plan.of_windows:
        return (*_windows(plan), *_errors(plan), digest)
    steps = ", ".join(f"{share:.0%}" for share in plan.steps)
    return (
        (
            f"The candidate gets {steps} of new conversations, one step after another;"
            f" {plan.unproven_first_step:.0%} first when its stored cases proved nothing."
        ),
        (
            f"Each step lasts {lasting(plan.soak_s)} and {plan.min_units} graded candidate"
            " conversations at least."
        ),
        _shadow(plan),
        *_errors(plan),
        digest,
    )


def _errors(plan: Plan) -> tuple[str, ...]:
    return (
        f"Less than {1.0 - plan.margin:.0%} of the stable version's score is worse.",
        (
            f"A candidate that is nowhere worse is rolled back with a chance of"
            f" {plan.alpha_rollback:.1%} at most."
        ),
        (
            f"One that is worse by {plan.margin:.0%} is promoted with a chance of"
            f" {plan.alpha_promote:.1%} at most."
        ),
    )


def _windows(plan: Plan) -> tuple[str, ...]:
    """A plan in time slices, as far as it differs from one that shares the traffic."""
    length_s = plan.slice_s or SLICE_S
    steps = ", ".join(f"{share:.0%}" for share in plan.steps)
    return (
        (
            f"One version is loaded at a time. Time is cut into windows of {lasting(length_s)}: the"
            f" candidate gets {steps} of them, one step after another;"
            f" {plan.unproven_first_step:.0%} first when its stored cases proved nothing."
        ),
        (
            "Everything in a window goes to one version, and what is graded in it counts as one"
            " unit, with its mean. A conversation that goes on in the next window may change."
        ),
        (
            f"Each step lasts {lasting(plan.soak_s)} and {plan.min_units} graded candidate windows"
            " at least."
        ),
        expectation(length_s),
    )


def _shadow(plan: Plan) -> str:
    if not plan.shadow:
        return "No conversation is asked of both versions."
    return (
        f"{plan.shadow:.0%} of conversations that a rule can grade are asked of both versions: one"
        " answers, and the other is asked when nobody waits."
    )


def _tasks(tasks: Sequence[TaskEvidence], plan: Plan) -> tuple[str, ...]:
    worse = worse_tasks(tasks, plan)
    told = [
        f"{one.task}: {_mean(one.mean_candidate)} against {_mean(one.mean_stable)} of stable,"
        f" after {one.n_candidate} and {one.n_stable} {units_of(plan)}; the evidence that it is"
        f" worse here is {_size(one.e_worse)}."
        for one in tasks
        if one.n_stable or one.n_candidate
    ]
    named = ", ".join(worse) if worse else "no task"
    told.append(
        f"It is known to be worse at {named}. Of tasks that are named here, at most"
        f" {plan.alpha_rollback:.0%} are named wrongly on average (e-BH)."
    )
    return tuple(told)


def _entry(entry: Entry, units_are: str) -> str:
    # what is over splits nothing: 0 % would be wrong of what was promoted
    share = "" if entry.phase.is_final else f" {entry.weight:.0%},"
    return (
        f"{entry.at[:19]}: {entry.phase.replace('_', ' ')},{share} by {entry.who},"
        f" after {entry.units} graded candidate {units_are}. {entry.reason}"
    )


def _ends(rollout: Rollout) -> tuple[str, ...]:
    plan, phase = rollout.plan, rollout.phase
    if phase is Phase.PROMOTED:
        return (f"It is over. One command takes it back: arbiter swap {rollout.alias} --undo",)
    if phase.is_final:
        return ("It is over.",)
    told = [
        (
            f"Rolled back: evidence of {1.0 / plan.alpha_rollback:.0f} that it is worse, or"
            f" {plan.trip_in_a_row} failures in a row, or {plan.trip_failures} among its first"
            f" {plan.trip_window} requests."
        ),
        (
            f"Promoted: evidence of {1.0 / plan.alpha_promote:.0f} that it is not worse, after"
            f" {plan.min_steps} steps, and no task that is doubtful (evidence of"
            f" {plan.hold_at:.0f} against it)."
        ),
        (
            f"Paused, and you are asked: {lasting(plan.expiry_s)} without a verdict. It is never"
            " promoted for want of evidence."
        ),
        f"You: arbiter rollouts promote {rollout.id}, or abort.",
    ]
    if phase is Phase.PAUSED:
        told.append(f"While it is paused no step is taken: arbiter rollouts resume {rollout.id}.")
    return tuple(told)


def _meaning(plan: Plan) -> tuple[str, ...]:
    return (
        (
            "Evidence is an e-value. It is 1 while nothing is known, and if the claim is false it"
            f" reaches {1.0 / plan.alpha_rollback:.0f} with a chance of 1 in"
            f" {1.0 / plan.alpha_rollback:.0f} at most, however often it is looked at."
        ),
        "Means are over the same mix of traffic on both sides, whatever the share was when.",
        (
            "The interval on the difference covers the truth at all times at once with a chance of"
            " 95 %, if the difference is constant. It is for looking at: no verdict reads it."
        ),
        *_units(plan),
        "What is still to go is an estimate from the pace so far. Evidence does not grow evenly.",
    )


def _units(plan: Plan) -> tuple[str, ...]:
    if plan.of_windows:
        return (
            (
                "A window is one unit: its score is the mean of the first answers of conversations"
                " that began in it and were graded. It counts once something of a later one has"
                " ended."
            ),
        )
    return (
        (
            "A pair is a conversation that both versions were asked. It says more than one on"
            " either side, because luck with the prompt cancels out. It counts in both means."
        ),
        "A conversation is one unit, and only its first request counts, once a rule graded it.",
    )


def _mean(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _size(e: float) -> str:
    if e > 1e6:
        return "over 1000000"
    return f"{e:.0f}" if e >= 100.0 else f"{e:.1f}"


def _points(value: float) -> str:
    return f"{abs(value) * 100.0:.1f} points {'worse' if value < 0.0 else 'better'}"
