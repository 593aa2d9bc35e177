"""What was found before traffic, and what it comes to: block, pass, or unproven.

Three answers, never two. *Block* and *pass* are said on evidence. Everything else is *unproven*,
which lets the candidate in at a smaller first step. This module compares nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from arbiter.refs import TaskName
from arbiter.swap.plan import Apart, Plan
from arbiter.swap.rollout import ValidationVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was compared. task None: it concerns the whole version.

    is_warning: it speaks against nothing, and whoever swaps should know it all the same.
    """

    about: str
    verdict: ValidationVerdict
    sentence: str
    task: TaskName | None = None
    is_warning: bool = False

    def __post_init__(self) -> None:
        if self.is_warning and self.verdict is not ValidationVerdict.PASS:
            raise ValueError("What warns passes; what does not pass says so itself.")

    @property
    def word(self) -> str:
        """The verdict for people: ``pass``, ``warn``, ``unproven`` or ``block``."""
        return "warn" if self.is_warning else self.verdict.value

    def to_dict(self) -> dict[str, object]:
        """As plain JSON; `from_dict` takes it back."""
        return {
            "about": self.about,
            "task": self.task,
            "verdict": self.verdict.value,
            "warning": self.is_warning,
            "sentence": self.sentence,
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, object]) -> Self:
        """What `to_dict` wrote."""
        task = plain["task"]
        return cls(
            about=str(plain["about"]),
            task=None if task is None else TaskName(str(task)),
            verdict=ValidationVerdict(str(plain["verdict"])),
            is_warning=bool(plain.get("warning")),
            sentence=str(plain["sentence"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Compatibility:
    """Every finding before traffic, and what they come to together."""

    findings: tuple[Finding, ...]

    @property
    def advice(self) -> ValidationVerdict:
        """Block when anything blocks, pass when everything passes, else unproven."""
        verdicts = {finding.verdict for finding in self.findings}
        for worst in (ValidationVerdict.BLOCK, ValidationVerdict.UNPROVEN):
            if worst in verdicts:
                return worst
        return ValidationVerdict.PASS

    @property
    def reason(self) -> str:
        """The findings that decided it, as a sentence."""
        match self.advice:
            case ValidationVerdict.BLOCK:
                return "Blocked by validation: " + self._deciding
            case ValidationVerdict.UNPROVEN:
                return "Validation found nothing against it, but too little for a proof."
            case _:
                return "Validation passed on every task."

    @property
    def _deciding(self) -> str:
        advice = self.advice
        return " ".join(one.sentence for one in self.findings if one.verdict is advice)


def first_share(plan: Plan, advice: ValidationVerdict) -> float:
    """The candidate's share of new conversations when it first answers any; 0: it never does.

    An unproven one is only asked beside the stable version before that, where the plan asks both.

    >>> [first_share(Plan(), advice) for advice in ValidationVerdict]
    [0.1, 0.05, 0.0]
    """
    if plan.apart is Apart.REPLAY:
        return 1.0 if advice is ValidationVerdict.PASS else 0.0
    cautious, first, *_ = plan.ladder
    shares = {ValidationVerdict.PASS: first, ValidationVerdict.UNPROVEN: cautious}
    return shares.get(advice, 0.0)
