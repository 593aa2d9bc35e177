"""What the ledger is told of a rollout: every change of phase has a word, every figure is JSON."""

from __future__ import annotations

from math import inf

import pytest
from msgspec import structs

from arbiter.ledger import Kind, link
from arbiter.refs import ModelName, RolloutId, VersionId
from arbiter.swap.analysis import Judgement, Verdict
from arbiter.swap.findings import Finding
from arbiter.swap.notes import kind_of, rollout_note
from arbiter.swap.plan import Plan
from arbiter.swap.records import Stored
from arbiter.swap.rollout import Phase, Rollout, ValidationVerdict

P = Phase
FOUND = Stored(
    rollout=Rollout(
        id=RolloutId("rol_1"),
        alias=ModelName("primary"),
        stable=VersionId("sha256:a"),
        candidate=VersionId("sha256:b"),
        plan=Plan(),
        salt="secret",
        phase=P.PROGRESSING,
        index=1,
        reason="why",
    ),
    findings=(
        Finding(about="load", verdict=ValidationVerdict.PASS, sentence="It loads."),
    ),
    knowledge_before="k",
    knowledge_after=None,
    started_at="t",
    ended_at=None,
)  # fmt: skip

CHANGES = [
    (None, P.VALIDATING, Kind.ROLLOUT_STARTED),
    (P.VALIDATING, P.PROGRESSING, Kind.ROLLOUT_VALIDATED),
    (P.VALIDATING, P.BLOCKED, Kind.ROLLOUT_BLOCKED),
    (P.VALIDATING, P.ABORTED, Kind.ROLLOUT_ABORTED),
    (P.PROGRESSING, P.PROGRESSING, Kind.ROLLOUT_STEPPED),
    (P.PROGRESSING, P.PAUSED, Kind.ROLLOUT_PAUSED),
    (P.PAUSED, P.PROGRESSING, Kind.ROLLOUT_RESUMED),
    (P.PAUSED, P.ROLLED_BACK, Kind.ROLLOUT_ROLLED_BACK),
    (P.PROGRESSING, P.PROMOTED, Kind.ROLLOUT_PROMOTED),
    (P.PROMOTED, P.UNDONE, Kind.ROLLOUT_UNDONE),
]


@pytest.mark.parametrize(("was", "now", "kind"), CHANGES)
def test_a_change_of_phase_has_its_word(was: Phase | None, now: Phase, kind: Kind) -> None:
    assert kind_of(was, now) is kind


@pytest.mark.parametrize("now", [phase for phase in Phase if phase is not P.VALIDATING])
def test_there_is_a_word_for_every_phase_that_is_reached(now: Phase) -> None:
    assert kind_of(P.PROGRESSING, now) in Kind


def test_a_step_says_where_the_rollout_is_by_which_plan_and_keeps_its_salt() -> None:
    assert rollout_note(FOUND, was=P.PROGRESSING, who="arbiter").body == {
        "rollout": "rol_1",
        "alias": "primary",
        "stable": "sha256:a",
        "candidate": "sha256:b",
        "plan": Plan().digest,
        "phase": "progressing",
        "step": 1,
        "weight": 0.1,
        "reason": "why",
    }


def test_findings_are_told_when_validation_ends() -> None:
    told = [
        {
            "about": "load",
            "task": None,
            "verdict": "pass",
            "warning": False,
            "sentence": "It loads.",
        }
    ]
    assert rollout_note(FOUND, was=P.VALIDATING, who="arbiter").body["findings"] == told


def test_evidence_without_end_can_be_written_down() -> None:
    judgement = structs.replace(Judgement(verdict=Verdict.WORSE, reason="r"), e_worse=inf)
    note = rollout_note(FOUND, was=P.PROGRESSING, who="arbiter", judgement=judgement)
    assert '"e_worse":"inf"' in link(note, at="t", after=None).body
