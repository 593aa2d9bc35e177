"""What the control API shows: the house's values as plain JSON, nothing decided here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from msgspec import structs

from arbiter.gateway.etags import alias_tag, rollout_tag, rule_tag, task_tag
from arbiter.knowledge.outcome import Record
from arbiter.knowledge.profiles import Profile
from arbiter.knowledge.rules import Rule
from arbiter.knowledge.speed import Measured, Spread
from arbiter.knowledge.speeds import Speeds
from arbiter.knowledge.tasks import Task
from arbiter.pool.pool import InstanceView
from arbiter.pool.reloading import Reloaded
from arbiter.refs import TaskName, VersionId, short
from arbiter.registry.moves import Move
from arbiter.registry.registry import Name, Registry, Version
from arbiter.selection.contender import Choice
from arbiter.swap.compatibility import ERRORS
from arbiter.swap.findings import Compatibility, first_share
from arbiter.swap.looking import RolloutView
from arbiter.swap.plan import Plan
from arbiter.swap.records import Stored
from arbiter.swap.rollout import Phase
from arbiter.swap.shadow import Agreement
from arbiter.swap.telling import (
    in_words,
    of_pairs,
    of_turn,
    only_asked,
    outlook,
    to_expect,
    to_go,
    units_of,
    worse_tasks,
)
from arbiter.swap.watching import WatchView

Plain = dict[str, object]


_MOST_TO_JUDGE = 100
"""Decisions shown that wait to be judged."""


def reloaded_view(reloaded: Reloaded, registry: Registry) -> Plain:
    """What became of settings that were read again; models with the names that stand for them."""
    return {
        "applied": list(reloaded.applied),
        "at_next_start": list(reloaded.at_next_start),
        "loaded_again": [_named(version, registry) for version in reloaded.loaded_again],
        "stays": [_named(version, registry) for version in reloaded.stays],
    }


def _named(version: VersionId, registry: Registry) -> Plain:
    return {"version": version, "names": list(registry.names_of(version))}


def profile_view(profile: Profile, measured: Measured) -> Plain:
    """A profile with its means, and how its times are spread; unknown is null."""
    graded = round(profile.graded, 1)
    return {
        "samples": profile.samples,
        "graded": int(graded) if graded == int(graded) else graded,
        "quality": profile.mean_quality,
        "success_rate": profile.success_rate,
        "latency_ms": profile.mean_latency_ms,
        "speed": speed_view(measured),
    }


def speed_view(measured: Measured) -> Plain:
    """What was timed: of times the 90th percentile, of rates the 10th, which 9 of 10 keep to."""
    return {
        "latency_ms": _spread(measured.latency_ms, "p90"),
        "first_token_ms": _spread(measured.first_ms, "p90"),
        "tokens_per_s": _spread(measured.tokens_per_s, "p10"),
        "prompt_tokens_per_s": _spread(measured.prompt_tokens_per_s, "p10"),
    }


def _spread(spread: Spread | None, slow: str) -> Plain | None:
    if spread is None:
        return None
    return {"samples": spread.samples, "p50": spread.median, slow: spread.slow}


def _kept_until(version: VersionId, registry: Registry) -> str | None:
    until = registry.kept_until(version)
    return None if until is None else until.isoformat()


def version_view(version: Version, registry: Registry) -> Plain:
    """A version with what was read from its file, and why its server is not there now."""
    artifact = version.artifact
    return {
        "version": version.version,
        "short": short(version.version),
        "names": list(registry.names_of(version.version)),
        "standing": version.standing.value,
        "format": artifact.format,
        "path": artifact.path,
        "size_bytes": artifact.size_bytes,
        "architecture": artifact.architecture,
        "parameters": artifact.parameters,
        "quantization": artifact.quantization,
        "context_length": artifact.context_length,
        "capabilities": sorted(artifact.capabilities),
        "template_digest": artifact.template_digest,
        "licence": artifact.licence,
        "predecessor": version.predecessor,
        "kept_until": _kept_until(version.version, registry),
        "absent": registry.places.absent(version.version),
        "registered_at": version.registered_at,
    }


def name_view(name: Name, registry: Registry) -> Plain:
    """A name and what it points at now."""
    version = registry.version(name.version)
    others = [other for other in registry.names_of(name.version) if other != name.name]
    return {
        "name": name.name,
        "kind": name.kind.value,
        "version": name.version,
        "short": short(name.version),
        "also": others,
        "standing": version.standing.value,
        "etag": alias_tag(name),
    }


def move_view(move: Move) -> Plain:
    """Where a name pointed before and after."""
    return asdict(move)


def task_view(task: Task, in_force: Task, *, cases: bool = False) -> Plain:
    """A task; its cases only when they are asked for.

    in_force: the task with what it takes from those above it.
    """
    counts = in_force.spec()
    counts.pop("parent", None)
    view: Plain = {
        "task": task.name,
        "parent": task.parent,
        **task.spec(),
        "in_force": counts,
        "cases": len(task.cases),
        "digest": task.digest,
        "etag": task_tag(task),
    }
    if cases:
        view["case_list"] = [case.to_plain() for case in task.cases]
    return view


def rule_view(rule: Rule) -> Plain:
    """A rule with its identity."""
    return {
        "task": rule.task,
        "prefer": rule.prefer,
        "only": rule.only,
        "never": list(rule.never),
        "why": rule.why,
        "digest": rule.digest,
        "etag": rule_tag(rule),
    }


def choice_view(choice: Choice) -> Plain:
    """A pick with every reason."""
    return {
        "pick": choice.alias,
        "version": choice.primary.contender.version,
        "probability": choice.probability,
        "reason": choice.reason,
        "fallback": None if choice.fallback is None else choice.fallback.contender.name,
        "would_change": choice.would_change,
        "scores": [asdict(one) for one in choice.considered],
        "dropped": [
            {"name": drop.name, "version": drop.version, "reason": drop.reason}
            for drop in choice.dropped
        ],
    }


def record_view(record: Record) -> Plain:
    """A decision, what came of it and what was said of it."""
    decided, outcome = record.decided, record.outcome
    return {
        "decision": decided.decision,
        "at": record.at,
        "task": decided.task,
        "guessed": decided.guessed,
        "alias": decided.alias,
        "version": decided.version,
        "arm": decided.arm.value,
        "rollout": decided.rollout,
        "probability": decided.probability,
        "reason": decided.reason,
        "fallback": decided.fallback,
        "would_change": decided.would_change,
        "is_held": decided.is_held,
        "plan": decided.plan,
        "to_judge": decided.to_judge,
        "scores": [asdict(one) for one in decided.scores],
        "dropped": [
            {"name": drop.name, "version": drop.version, "reason": drop.reason}
            for drop in decided.dropped
        ],
        "outcome": None
        if outcome is None
        else {
            "status": outcome.status.value,
            "error": outcome.error,
            "detail": outcome.detail,
            "version": outcome.version,
            "latency_ms": outcome.latency_ms,
            "wait_ms": outcome.wait_ms,
            "ttft_ms": outcome.ttft_ms,
            "prompt_tokens": outcome.usage.prompt_tokens,
            "completion_tokens": outcome.usage.completion_tokens,
            "cached_tokens": outcome.usage.cached_tokens,
            "prefill_ms": outcome.timings.prefill_ms,
            "decode_ms": outcome.timings.decode_ms,
            "cpu_ms": {
                "value": outcome.cpu.value,
                "method": outcome.cpu.method.value,
                "note": outcome.cpu.note,
            },
            "grade": outcome.grade,
            "attempts": [
                {"version": attempt.version, "error": attempt.error} for attempt in outcome.attempts
            ],
        },
        "feedback": [
            {
                "source": feedback.source,
                "kind": feedback.kind,
                "score": feedback.score,
                "comment": feedback.comment,
                "caller": feedback.caller,
            }
            for feedback in record.feedback
        ],
    }


def stored_view(stored: Stored, registry: Registry) -> Plain:
    """A rollout in short."""
    rollout = stored.rollout
    return {
        "rollout": rollout.id,
        "alias": rollout.alias,
        "stable": rollout.stable,
        "stable_names": list(registry.names_of(rollout.stable)),
        "candidate": rollout.candidate,
        "candidate_names": list(registry.names_of(rollout.candidate)),
        "continues": rollout.continues,
        "phase": rollout.phase.value,
        "weight": rollout.weight,
        "holdback": rollout.plan.holdback,
        "step": rollout.index,
        "shadow_only": rollout.shadow_only,
        "steps": list(rollout.plan.ladder),
        "soaked_s": rollout.soaked_s,
        "kept_until": _kept_until(rollout.stable, registry)
        if rollout.phase is Phase.PROMOTED
        else None,
        "reason": rollout.reason,
        "started_at": stored.started_at,
        "ended_at": stored.ended_at,
        "etag": rollout_tag(rollout),
        "knowledge_before": stored.knowledge_before,
        "knowledge_after": stored.knowledge_after,
    }


def rollout_view(view: RolloutView, registry: Registry) -> Plain:
    """A rollout with its findings and its evidence."""
    judgement = view.judgement
    to_come = outlook(view.stored.rollout, judgement)
    return {
        **stored_view(view.stored, registry),
        "plan": view.stored.rollout.plan.to_dict(),
        "plan_digest": view.stored.rollout.plan.digest,
        "watch": None if view.watch is None else watch_view(view.watch),
        "advice": Compatibility(findings=view.stored.findings).advice.value
        if view.stored.findings
        else None,
        "findings": [finding.to_dict() for finding in view.stored.findings],
        "progress": {task: list(done) for task, done in view.progress.items()},
        "log": [{**asdict(entry), "phase": entry.phase.value} for entry in view.log],
        "judgement": structs.asdict(judgement),
        "in_words": [
            *only_asked(view.stored.rollout),
            *of_turn(view.turn),
            *in_words(judgement),
            *to_expect(view.stored.rollout),
        ],
        "interval": None if view.interval is None else list(view.interval),
        "pairs": pairs_view(view.agreement, view.open_pairs),
        "outlook": {**asdict(to_come), "is_estimate": True},
        "to_go": list(to_go(to_come, units_of(view.stored.rollout.plan))),
        "worse_tasks": list(worse_tasks(view.tasks, view.stored.rollout.plan)),
        "metrics": [
            {**asdict(one), "verdict": one.verdict.value, "sentence": one.sentence}
            for one in view.metrics
        ],
        "to_judge": list(view.to_judge[:_MOST_TO_JUDGE]),
        "waiting": len(view.to_judge),
        "judged": view.judged,
        "unjudged": view.unjudged,
        "evidence": [
            {**asdict(evidence), "e_worse": evidence.e_worse, "verdict": evidence.verdict.value}
            for evidence in view.tasks
        ],
    }


def check_view(report: Compatibility, plan: Plan) -> Plain:
    """What validation says before a rollout."""
    return {
        "advice": report.advice.value,
        "reason": report.reason,
        "starts_at": first_share(plan, report.advice),
        "errors": ERRORS,
        "findings": [finding.to_dict() for finding in report.findings],
    }


def watch_view(watch: WatchView) -> Plain:
    """What became of a promotion: how long it is watched yet, and how the alarms stand."""
    since = watch.since
    return {
        "state": watch.state,
        "left_s": watch.left_s,
        "until": None if watch.until is None else watch.until.isoformat(),
        "ended_at": watch.ended_at,
        "why": watch.why,
        "held_back": watch.closed is None and watch.ended_at is None,
        "closed": watch.closed,
        "n_new": since.new.count,
        "mean_new": since.new.value,
        "n_old": since.old.count,
        "mean_old": since.old.value,
        "mean_before": since.reference,
        "log_beside": since.log_beside,
        "log_before": since.log_before,
        "needed": since.needed,
        "alarms": [
            {"sign": alarm.sign.value, "until": alarm.until, "sentence": alarm.sentence}
            for alarm in since.alarms.values()
        ],
        "to_judge": list(watch.to_judge[:_MOST_TO_JUDGE]),
        "waiting": len(watch.to_judge),
        "judged": watch.judged.judged,
        "unjudged": watch.judged.unjudged,
        "judging_stopped": watch.judged.has_stopped,
        "in_words": list(watch.in_words),
    }


def pairs_view(found: Agreement, waiting: int) -> Plain:
    """What was asked of both versions. waiting: how many are to be."""
    return {
        **asdict(found),
        "pairs": found.pairs,
        "open": waiting,
        "in_words": list(of_pairs(found, waiting)),
    }


def instance_view(view: InstanceView, registry: Registry) -> Plain:
    """An instance: predicted memory beside measured, and why its server is not there now."""
    return {
        **asdict(view),
        "short": short(view.version),
        "names": list(registry.names_of(view.version)),
        "absent": registry.places.absent(view.version),
    }


def profiles_view(
    version: VersionId, profiles: Mapping[TaskName, Profile], speeds: Speeds
) -> Plain:
    """A version's profile at each task."""
    return {
        str(task): profile_view(profile, speeds.measured(version, task))
        for task, profile in sorted(profiles.items())
    }
