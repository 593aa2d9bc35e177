"""What of a file of knowledge is new here: two states in, what to do out.

Everything measured has an identity, so nothing is counted twice, whichever way a file came. What
people decided here stays as it is unless they say otherwise. Pure: nothing is read or written.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from arbiter.knowledge.file import (
    Contents,
    FallLine,
    FeedbackLine,
    LineageLine,
    OutcomesLine,
    ValidationLine,
)
from arbiter.knowledge.rules import Rule
from arbiter.knowledge.tasks import Task, in_force

Identity = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """What this house knows already.

    validations: identities of cases that were run. outcomes, feedback: what was carried in, by
    identity. counted: of each (version, task) of this house's own requests the first decision that
    counts. own: of this house's own feedback by (decision, source, kind) whether it counts; it is
    there and does not count when it was forgotten. falls: identities of those that are known.
    """

    house: str
    tasks: Mapping[str, Task]
    rules: Mapping[str, Rule]
    lineage: AbstractSet[str]
    validations: AbstractSet[Identity]
    outcomes: Mapping[Identity, OutcomesLine]
    feedback: Mapping[Identity, FeedbackLine]
    counted: Mapping[tuple[str, str], str]
    own: Mapping[Identity, bool]
    falls: AbstractSet[Identity] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """What to take in.

    restored: feedback of this house that was forgotten and counts again. known: how many pieces of
    evidence were here already, or are older than what is here. apart: how many judge another kind
    of work under the same name. conflicts: decisions of the file that differ from those here, one
    sentence each; they are taken only if somebody prefers theirs.
    """

    tasks: tuple[Task, ...] = ()
    rules: tuple[Rule, ...] = ()
    lineage: tuple[LineageLine, ...] = ()
    validations: tuple[ValidationLine, ...] = ()
    outcomes: tuple[OutcomesLine, ...] = ()
    feedback: tuple[FeedbackLine, ...] = ()
    restored: tuple[FeedbackLine, ...] = ()
    falls: tuple[FallLine, ...] = ()
    known: int = 0
    apart: int = 0
    conflicts: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (
            self.tasks
            or self.rules
            or self.lineage
            or self.validations
            or self.outcomes
            or self.feedback
            or self.restored
            or self.falls
        )


def merge(file: Contents, here: Here, *, prefer_theirs: bool = False) -> Merge:
    """What of a file to take in."""
    tasks = [task for task in file.tasks if task != here.tasks.get(task.name)]
    rules = [rule for rule in file.rules if rule != here.rules.get(rule.task)]
    differing = {task.name for task in tasks if task.name in here.tasks}
    ruled = {rule.task for rule in rules if rule.task in here.rules}
    if not prefer_theirs:
        tasks = [task for task in tasks if task.name not in differing]
        rules = [rule for rule in rules if rule.task not in ruled]
    other_work = _graded_otherwise(file, {**here.tasks, **{task.name: task for task in tasks}})
    outcomes = [line for line in file.outcomes if line.task not in other_work]
    feedback = [line for line in file.feedback if line.task not in other_work]
    new_validations = tuple(v for v in file.validations if v.identity not in here.validations)
    new_outcomes = tuple(line for line in outcomes if _is_new_sum(line, here))
    new_feedback = tuple(line for line in feedback if _is_new_feedback(line, here))
    restored = tuple(
        line
        for line in feedback
        if line.origin == here.house and here.own.get(_given(line)) is False
    )
    falls = tuple(fall for fall in file.falls if fall.task not in other_work)
    new_falls = tuple(fall for fall in falls if fall.identity not in here.falls)
    new = (new_validations, new_outcomes, new_feedback, restored, new_falls)
    taken = sum(len(lines) for lines in new)
    whole = sum(map(len, (file.validations, file.outcomes, file.feedback, file.falls)))
    apart = whole - sum(map(len, (file.validations, outcomes, feedback, falls)))
    return Merge(
        tasks=tuple(tasks),
        rules=tuple(rules),
        lineage=tuple(line for line in file.lineage if line.version not in here.lineage),
        validations=new_validations,
        outcomes=new_outcomes,
        feedback=new_feedback,
        restored=restored,
        falls=new_falls,
        known=whole - apart - taken,
        apart=apart,
        conflicts=(
            *(f"task {name} is another task here" for name in sorted(differing)),
            *(f"the rule for task {name} is another rule here" for name in sorted(ruled)),
        ),
    )


def _graded_otherwise(file: Contents, after: Mapping[str, Task]) -> set[str]:
    """Tasks of the file whose answers are graded by another rule here: their scores differ.

    after: the tasks that are here when the file is taken in. By what grades them is asked, theirs
    or that of a task above them.
    """
    there, here = in_force(file.tasks), in_force(after.values())
    return {name for name, task in there.items() if task.grading != here[name].grading}


def _is_new_sum(line: OutcomesLine, here: Here) -> bool:
    """Whether these sums hold more than what is here of the same house.

    Of this house's own requests they do when all of them were forgotten since.
    """
    known = here.outcomes.get(line.identity)
    if known is not None and line.latest <= known.latest:
        # of the same requests less is left since the version was found to have fallen
        return line.latest == known.latest and line.left < known.left
    if line.origin != here.house:
        return True
    first = here.counted.get((line.version, line.task))
    return first is None or first > line.latest


def _is_new_feedback(line: FeedbackLine, here: Here) -> bool:
    if line.origin == here.house and _given(line) in here.own:
        return False
    known = here.feedback.get(line.identity)
    return known is None or line.at > known.at


def _given(line: FeedbackLine) -> Identity:
    return (line.decision, line.source, line.kind)
