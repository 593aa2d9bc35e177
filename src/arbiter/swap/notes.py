"""What the ledger is told of a rollout: each change, with the reason and the figures behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from math import isfinite

from msgspec import structs

from arbiter.ledger import Kind, Note
from arbiter.swap.analysis import Judgement, TaskEvidence
from arbiter.swap.metrics import MetricEvidence
from arbiter.swap.records import Stored
from arbiter.swap.rollout import Phase


def rollout_note(
    found: Stored,
    *,
    was: Phase | None,
    who: str,
    judgement: Judgement | None = None,
    tasks: Sequence[TaskEvidence] = (),
    metrics: Sequence[MetricEvidence] = (),
) -> Note:
    """The note of a rollout that has just changed.

    was: its phase before; None for a new one. judgement, tasks, metrics: the evidence as it stood
    when the change was decided; None where none is looked at.
    """
    rollout = found.rollout
    kind = kind_of(was, rollout.phase)
    body: dict[str, object] = {
        "rollout": rollout.id,
        "alias": rollout.alias,
        "stable": rollout.stable,
        "candidate": rollout.candidate,
        "plan": rollout.plan.digest,
        "phase": rollout.phase.value,
        "step": rollout.index,
        "weight": rollout.weight,
        "reason": rollout.reason,
    }
    if rollout.continues is not None:
        body["continues"] = rollout.continues
    if was is Phase.VALIDATING and found.findings:
        body["findings"] = [finding.to_dict() for finding in found.findings]
    if judgement is not None:
        body["evidence"] = _figures(structs.asdict(judgement))
        body["metrics"] = [_figures(asdict(one)) for one in metrics]
        body["tasks"] = [_figures({**asdict(one), "e_worse": one.e_worse}) for one in tasks]
    return Note(kind=kind, who=who, body=body)


def kind_of(was: Phase | None, now: Phase) -> Kind:
    """What a change of phase is called.

    >>> kind_of(Phase.VALIDATING, Phase.PROGRESSING).value
    'rollout.validated'
    """
    if was is None:
        return Kind.ROLLOUT_STARTED
    if now is Phase.PROGRESSING:
        begun = {Phase.VALIDATING: Kind.ROLLOUT_VALIDATED, Phase.PAUSED: Kind.ROLLOUT_RESUMED}
        return begun.get(was, Kind.ROLLOUT_STEPPED)
    return Kind(f"rollout.{now.value}")


def _figures(values: dict[str, object]) -> dict[str, object]:
    """Numbers as JSON has them: evidence without end is the text ``inf``."""
    return {
        name: str(value) if isinstance(value, float) and not isfinite(value) else value
        for name, value in values.items()
    }
