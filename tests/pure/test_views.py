"""What the control API shows of the house's values: plain JSON, with nothing lost."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from msgspec import structs

from arbiter.cost import Figure, Method, unknown
from arbiter.gateway import views
from arbiter.gateway.etags import rule_tag, task_tag
from arbiter.inference import Arm, Considered, Decided, Dropped, Limits, Message, Timings, Usage
from arbiter.knowledge.outcome import Attempt, Feedback, Outcome, Record, Status
from arbiter.knowledge.profiles import NOTHING, Profile
from arbiter.knowledge.rules import Rule
from arbiter.knowledge.speed import Measured, Spread, Timing
from arbiter.knowledge.speeds import Speeds
from arbiter.knowledge.tasks import Case, Grading, Task, Weights
from arbiter.refs import DecisionId, ModelName, TaskName, VersionId
from arbiter.registry.moves import Move
from arbiter.selection.contender import Choice, Contender, Said, Scored

A = VersionId("sha256:" + "a" * 64)
B = VersionId("sha256:" + "b" * 64)
SUMS = TaskName("sums")
PRIMARY, OWL = ModelName("primary"), ModelName("owl")
DECISION = DecisionId("dec_" + "0" * 26)

DECIDED = Decided(
    decision=DECISION,
    task=SUMS,
    alias=PRIMARY,
    version=A,
    arm=Arm.STABLE,
    reason="the best",
    probability=0.9,
    scores=(
        Considered(
            name=PRIMARY,
            version=A,
            score=0.8,
            explanation="good",
            chance=0.9,
            samples=12,
            quality=(0.5, 0.9),
        ),
    ),
    would_change="2 wrong answers of primary at sums would",
    dropped=(Dropped(name=OWL, version=B, reason="too large"),),
)
OUTCOME = Outcome(
    decision=DECISION,
    task=SUMS,
    version=A,
    status=Status.FAILURE,
    error="stream_cut",
    detail="The engine died in the middle of its answer.",
    latency_ms=12.5,
    usage=Usage(prompt_tokens=3),
    timings=Timings(decode_ms=4.0),
    cpu=unknown("no process of its own"),
    attempts=(Attempt(version=B, error="load_failed"),),
)
RECORD = Record(
    decided=DECIDED,
    caller="local",
    at="2026-01-01T00:00:00+00:00",
    outcome=OUTCOME,
    feedback=(Feedback(decision=DECISION, score=0.5, comment="meh"),),
)


def test_a_record_shows_the_decision_and_every_reason() -> None:
    assert json.loads(json.dumps(views.record_view(structs.replace(RECORD, outcome=None)))) == {
        "decision": DECISION,
        "at": "2026-01-01T00:00:00+00:00",
        "task": "sums",
        "guessed": None,
        "alias": "primary",
        "version": A,
        "arm": "stable",
        "rollout": None,
        "probability": 0.9,
        "reason": "the best",
        "fallback": None,
        "would_change": "2 wrong answers of primary at sums would",
        "is_held": False,
        "plan": None,
        "to_judge": False,
        "scores": [
            {
                "name": "primary",
                "version": A,
                "score": 0.8,
                "explanation": "good",
                "chance": 0.9,
                "samples": 12,
                "quality": [0.5, 0.9],
            }
        ],
        "dropped": [{"name": "owl", "version": B, "reason": "too large"}],
        "outcome": None,
        "feedback": [
            {
                "source": "person",
                "kind": "quality",
                "score": 0.5,
                "comment": "meh",
                "caller": "local",
            }
        ],
    }


def test_a_record_shows_what_came_of_it() -> None:
    assert json.loads(json.dumps(views.record_view(RECORD)))["outcome"] == {
        "status": "failure",
        "error": "stream_cut",
        "detail": "The engine died in the middle of its answer.",
        "version": A,
        "latency_ms": 12.5,
        "wait_ms": None,
        "ttft_ms": None,
        "prompt_tokens": 3,
        "completion_tokens": None,
        "cached_tokens": None,
        "prefill_ms": None,
        "decode_ms": 4.0,
        "cpu_ms": {"value": None, "method": "unknown", "note": "no process of its own"},
        "grade": None,
        "attempts": [{"version": B, "error": "load_failed"}],
    }


@pytest.mark.parametrize(
    ("cpu", "shown"),
    [
        (unknown("why"), {"value": None, "method": "unknown", "note": "why"}),
        (
            Figure(value=2.0, method=Method.SHARED),
            {"value": 2.0, "method": "shared", "note": None},
        ),
    ],
)
def test_a_figure_is_never_shown_without_its_method(cpu: Figure, shown: dict[str, object]) -> None:
    view = views.record_view(structs.replace(RECORD, outcome=structs.replace(OUTCOME, cpu=cpu)))
    assert json.loads(json.dumps(view))["outcome"]["cpu_ms"] == shown


PROFILES = [
    (
        NOTHING,
        Measured(),
        {
            "samples": 0,
            "graded": 0,
            "quality": None,
            "success_rate": None,
            "latency_ms": None,
            "speed": {
                "latency_ms": None,
                "first_token_ms": None,
                "tokens_per_s": None,
                "prompt_tokens_per_s": None,
            },
        },
    ),
    (
        Profile(samples=4, graded=2, quality=1.0, successes=3, timed=2, latency_ms=50.0),
        Measured(
            latency_ms=Spread(samples=2, median=20.0, slow=30.0),
            first_ms=Spread(samples=1, median=5.0, slow=5.0),
            tokens_per_s=Spread(samples=2, median=40.0, slow=35.0),
            prompt_tokens_per_s=Spread(samples=1, median=900.0, slow=900.0),
        ),
        {
            "samples": 4,
            "graded": 2,
            "quality": 0.5,
            "success_rate": 0.75,
            "latency_ms": 25.0,
            "speed": {
                "latency_ms": {"samples": 2, "p50": 20.0, "p90": 30.0},
                "first_token_ms": {"samples": 1, "p50": 5.0, "p90": 5.0},
                "tokens_per_s": {"samples": 2, "p50": 40.0, "p10": 35.0},
                "prompt_tokens_per_s": {"samples": 1, "p50": 900.0, "p10": 900.0},
            },
        },
    ),
]


@pytest.mark.parametrize(("profile", "measured", "shown"), PROFILES)
def test_a_profile_shows_means_and_spreads_and_null_for_the_unknown(
    profile: Profile, measured: Measured, shown: dict[str, object]
) -> None:
    assert views.profile_view(profile, measured) == shown


def test_each_task_shows_its_own_speed() -> None:
    speeds = Speeds()
    speeds.add(A, SUMS, Timing(latency_ms=100.0))
    one = views.profile_view(NOTHING, speeds.measured(A, SUMS))
    other = views.profile_view(NOTHING, Measured())
    both = {TaskName("tales"): NOTHING, SUMS: NOTHING}
    assert views.profiles_view(A, both, speeds) == {"sums": one, "tales": other}
    assert one["speed"] != other["speed"]


TASK = Task(
    name=SUMS,
    grading=Grading(kind="exact"),
    cases=(Case(messages=(Message(role="user", content="1+1"),), expected="2"),),
)


def test_a_task_shows_its_cases_only_when_they_are_asked_for() -> None:
    assert views.task_view(TASK, TASK)["cases"] == 1
    assert "case_list" not in views.task_view(TASK, TASK)
    assert views.task_view(TASK, TASK, cases=True)["case_list"] == [
        {"messages": [{"role": "user", "content": "1+1"}], "expected": "2"}
    ]


def test_a_task_shows_all_that_people_decided_about_it_and_what_counts() -> None:
    demanding = replace(TASK, limits=Limits(threshold=0.5), weights=Weights())
    assert views.task_view(replace(TASK, parent=TaskName("maths")), demanding)["parent"] == "maths"
    assert views.task_view(TASK, demanding) == {
        "task": "sums",
        "parent": None,
        "in_force": {
            "needs": [],
            "threshold": 0.5,
            "max_latency_ms": None,
            "max_memory_mb": None,
            "grader": {"kind": "exact", "options": {}},
            "weights": {"quality": 0.4, "latency": 0.3, "memory": 0.2, "reliability": 0.1},
        },
        "needs": [],
        "threshold": None,
        "max_latency_ms": None,
        "max_memory_mb": None,
        "grader": {"kind": "exact", "options": {}},
        "weights": None,
        "cases": 1,
        "digest": TASK.digest,
        "etag": task_tag(TASK),
    }


def test_a_rule_shows_its_identity() -> None:
    rule = Rule(task=SUMS, prefer=OWL, why="quick")
    assert views.rule_view(rule) == {
        "task": "sums",
        "prefer": "owl",
        "only": None,
        "never": [],
        "why": "quick",
        "digest": rule.digest,
        "etag": rule_tag(rule),
    }


def test_a_move_shows_where_the_name_pointed_before_and_after() -> None:
    move = Move(name=PRIMARY, from_version=A, to_version=B, who="user", why="set", at="t")
    assert json.loads(json.dumps(views.move_view(move))) == {
        "name": "primary",
        "from_version": A,
        "to_version": B,
        "who": "user",
        "why": "set",
        "rollout": None,
        "keep_until": None,
        "at": "t",
    }


def scored(name: str, version: VersionId, score: float) -> Scored:
    contender = Contender(
        name=ModelName(name),
        version=version,
        capabilities=frozenset({"chat"}),
        context=None,
        memory_bytes=None,
    )
    return Scored(contender=contender, score=score, samples=12, reasons=Said("so and so"))


def test_a_choice_shows_everybody_with_the_reason() -> None:
    best, next_ = scored("owl", A, 0.9), scored("wren", B, 0.5)
    choice = Choice(
        alias=PRIMARY,
        primary=best,
        fallback=next_,
        scored=(best, next_),
        dropped=(Dropped(name=ModelName("big"), version=B, reason="too large"),),
        reason="rule",
        probability=1.0,
    )
    assert json.loads(json.dumps(views.choice_view(choice))) == {
        "pick": "primary",
        "version": A,
        "probability": 1.0,
        "reason": "rule",
        "fallback": "wren",
        "would_change": None,
        "scores": [
            {
                "name": "owl",
                "version": A,
                "score": 0.9,
                "explanation": "so and so",
                "chance": 1.0,
                "samples": 12,
                "quality": None,
            },
            {
                "name": "wren",
                "version": B,
                "score": 0.5,
                "explanation": "so and so",
                "chance": 0.0,
                "samples": 12,
                "quality": None,
            },
        ],
        "dropped": [{"name": "big", "version": B, "reason": "too large"}],
    }
    assert views.choice_view(replace(choice, fallback=None))["fallback"] is None
