"""The static rule: a weighted mean of four parts, 0.5 until there are ten samples.

It never explores and never forgets. It is kept as the baseline that anything cleverer must beat.
"""

from __future__ import annotations

from arbiter.inference import Limits
from arbiter.knowledge.tasks import Weights
from arbiter.selection.contender import (
    LEAST_SAMPLES,
    NEUTRAL,
    PATIENCE_MS,
    Said,
    Scored,
    Seen,
    Situation,
)
from arbiter.selection.energy import Scale, energy_part, energy_words, per_solved


def latency_part(mean_ms: float | None, limits: Limits) -> float:
    """The score of a latency: 1 for none, 0 at the limit, 0.5 when it is unknown."""
    if mean_ms is None:
        return NEUTRAL
    return max(0.0, 1.0 - mean_ms / (limits.max_latency_ms or PATIENCE_MS))


def memory_part(need: int | None, limits: Limits, situation: Situation) -> float:
    """The score of a footprint: 1 for none, 0 at the limit, 0.5 when it is unknown."""
    most = limits.max_memory_mb * 1e6 if limits.max_memory_mb else situation.budget_bytes
    if need is None or not most:
        return NEUTRAL
    return max(0.0, 1.0 - need / most)


def static_mwh(seen: Seen) -> float | None:
    """The energy of a solved task by the mean of its grades; None where that is not known."""
    return per_solved(seen.spend, seen.profile.mean_quality)


def static_score(
    seen: Seen,
    limits: Limits,
    situation: Situation,
    weights: Weights,
    *,
    scale: Scale | None = None,
) -> Scored:
    """Score a contender: quality, latency, memory and reliability, each in [0, 1].

    Latency scores ``1 - mean / limit`` (limit: the task's or request's, else 10 s), memory
    ``1 - footprint / limit`` (else the house's budget), reliability is the share of samples that
    did not fail. A part that nobody measured counts 0.5. Energy counts where it has a weight, as
    `arbiter.selection.energy` says; scale: what it is measured against.
    """
    contender, profile = seen.contender, seen.profile
    if profile.samples < LEAST_SAMPLES:
        return Scored(
            contender=contender,
            score=NEUTRAL,
            samples=profile.samples,
            reasons=Said(f"0.5 until {LEAST_SAMPLES} samples, has {profile.samples}"),
        )
    quality = profile.mean_quality
    mean = profile.mean_latency_ms
    rate = profile.success_rate
    parts = (
        (weights.quality, NEUTRAL if quality is None else quality),
        (weights.latency, latency_part(mean, limits)),
        (weights.memory, memory_part(contender.memory_bytes, limits, situation)),
        (weights.reliability, NEUTRAL if rate is None else rate),
        (weights.energy, energy_part(static_mwh(seen), scale)),
    )
    score = sum(weight * part for weight, part in parts) / sum(weight for weight, _ in parts)
    need = contender.memory_bytes
    return Scored(
        contender=contender,
        score=score,
        samples=profile.samples,
        reasons=Said(
            ", ".join(
                (
                    "quality not graded"
                    if quality is None
                    else f"quality {quality:.2f} ({profile.graded:.0f} graded)",
                    "latency unknown" if mean is None else f"latency {mean:.0f} ms",
                    "memory unknown"
                    if need is None
                    else f"memory {need / 1e6:.0f} MB"
                    + ("" if contender.memory_measured else " (estimate)"),
                    "reliability unknown" if rate is None else f"reliability {rate:.2f}",
                    *(
                        (energy_words(static_mwh(seen), seen.spend, scale),)
                        if weights.energy
                        else ()
                    ),
                )
            )
        ),
    )
