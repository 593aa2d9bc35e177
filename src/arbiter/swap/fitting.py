"""Whether a candidate fits into the place of the stable version: context, capabilities, memory.

What people really asked decides, not what a model's file promises: a window that is smaller and
holds all requests is no reason to refuse, and one that holds most of them is. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from arbiter.knowledge.asked import NOTHING_ASKED, Asked
from arbiter.refs import TaskName
from arbiter.swap.findings import Finding
from arbiter.swap.plan import Apart
from arbiter.swap.rollout import ValidationVerdict

MB = 1_000_000

ENOUGH_SEEN = 300
"""Requests after which it counts that none was longer, or needed more: with 95 % fewer than one in
a hundred is (3 / n, the rule of three: Hanley & Lippman-Hand, JAMA 249, 1983)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A version as it runs here.

    context: tokens that it has room for, by its file and by the settings; None when its server does
    not say. memory_bytes: of this house; 0 when another program runs it. at_once: requests that it
    is sent at the same time.
    """

    context: int | None
    capabilities: frozenset[str]
    memory_bytes: int
    at_once: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What the place demands. asked: of the alias. tasks: what each task declares that it needs."""

    asked: Asked = NOTHING_ASKED
    tasks: Mapping[TaskName, frozenset[str]] = field(default_factory=dict)


def fitting(
    stable: Fit, candidate: Fit, demand: Demand, *, budget_bytes: int | None, apart: Apart
) -> tuple[Finding, ...]:
    """Every finding but those on quality. budget_bytes None: nobody set or knows a limit."""
    both = stable.memory_bytes + candidate.memory_bytes
    fewer = _at_once(stable.at_once, candidate.at_once)
    return (
        context(stable.context, candidate.context, demand.asked),
        capabilities(stable.capabilities, candidate.capabilities, demand),
        *(() if fewer is None else (fewer,)),
        memory(both, budget_bytes, apart),
    )


def context(old: int | None, new: int | None, asked: Asked) -> Finding:
    """Whether its context window holds what was asked, with room for the answers."""
    if new is None or (old is None and not asked.told):
        return _context(ValidationVerdict.UNPROVEN, "The context window of one of them is unknown.")
    if old is not None and new >= old:
        return _context(
            ValidationVerdict.PASS,
            f"Its context window is not smaller: {new} tokens against {old}.",
        )
    against = f"{new} tokens against {'an unknown number' if old is None else old}"
    usual, most = asked.usual_tokens, asked.most_tokens
    if usual is None or most is None:
        return _context(
            ValidationVerdict.UNPROVEN,
            f"Its context window is smaller: {against}, and no request was seen that tells whether "
            "it is enough.",
        )
    if usual > new:
        return _context(
            ValidationVerdict.BLOCK,
            f"Its context window is too small: {against}, and 99.9% of {asked.told} requests took "
            f"up to {usual} with room for their answers.",
        )
    if most > new:
        return _context(
            ValidationVerdict.UNPROVEN,
            f"Its context window is smaller: {against}. It holds 99.9% of {asked.told} requests "
            f"with room for their answers; the longest took {most}.",
        )
    seen = f"{against}. All of {asked.told} requests fit, with up to {most} tokens each"
    if asked.told < ENOUGH_SEEN:
        return _context(
            ValidationVerdict.UNPROVEN,
            f"Its context window is smaller: {seen}; that is too few to be sure.",
        )
    return _context(
        ValidationVerdict.PASS, f"Its context window is smaller: {seen}.", is_warning=True
    )


def _context(verdict: ValidationVerdict, sentence: str, *, is_warning: bool = False) -> Finding:
    return Finding(about="context", verdict=verdict, sentence=sentence, is_warning=is_warning)


def capabilities(old: frozenset[str], new: frozenset[str], demand: Demand) -> Finding:
    """Whether it can do what the old one can and anybody needs."""
    missing = old - new
    if not missing:
        return Finding(
            about="capabilities",
            verdict=ValidationVerdict.PASS,
            sentence="It can do all that the old one can.",
        )
    asked = demand.asked
    used = [
        f"{word} ({asked.needs[word]} of {asked.requests} requests)"
        for word in sorted(missing)
        if asked.needs.get(word)
    ]
    declared = [
        f"{word} (task {task})"
        for task, needs in sorted(demand.tasks.items())
        for word in sorted(missing & needs)
    ]
    if used or declared:
        return Finding(
            about="capabilities",
            verdict=ValidationVerdict.BLOCK,
            sentence=f"It cannot do what is needed: {', '.join(used + declared)}.",
        )
    which = f"It cannot do {', '.join(sorted(missing))}, which the old one can"
    if asked.requests < ENOUGH_SEEN:
        return Finding(
            about="capabilities",
            verdict=ValidationVerdict.UNPROVEN,
            sentence=f"{which}; {asked.requests} requests are too few to know that nobody does.",
        )
    return Finding(
        about="capabilities",
        verdict=ValidationVerdict.PASS,
        sentence=f"{which}, and none of {asked.requests} requests needed.",
        is_warning=True,
    )


def _at_once(old: int, new: int) -> Finding | None:
    """What whoever sends batches should know; more waiting is seen in traffic, and judged there."""
    if new >= old:
        return None
    return Finding(
        about="batching",
        verdict=ValidationVerdict.PASS,
        sentence=f"It is sent {new} requests at once, the old one {old}; others wait.",
        is_warning=True,
    )


def memory(both_bytes: int, budget_bytes: int | None, apart: Apart) -> Finding:
    """Whether both can be loaded at once; if not, what can be done instead."""
    if both_bytes == 0:
        return _memory(
            ValidationVerdict.PASS,
            "Other programs run both, in memory that is not this house's to plan.",
        )
    if budget_bytes is None or both_bytes <= budget_bytes:
        return _memory(
            ValidationVerdict.PASS,
            f"Both fit into memory together ({both_bytes / MB:.0f} MB).",
        )
    short = (
        f"Both together need {both_bytes / MB:.0f} MB and the house has {budget_bytes / MB:.0f} MB"
    )
    if apart is Apart.REPLAY:
        return _memory(
            ValidationVerdict.PASS,
            f"{short}: recorded cases alone decide, one version loaded after the other.",
            is_warning=True,
        )
    if apart is Apart.SLICES:
        return _memory(
            ValidationVerdict.PASS,
            f"{short}: they take turns, a window of time each, and a verdict takes days.",
            is_warning=True,
        )
    return _memory(
        ValidationVerdict.BLOCK,
        f"{short}: they would evict each other at every other request. Raise pool.memory_mb, or "
        "let recorded cases alone decide (--apart replay), or let them take turns for a window of "
        "time each (--apart slices).",
    )


def _memory(verdict: ValidationVerdict, sentence: str, *, is_warning: bool = False) -> Finding:
    return Finding(about="memory", verdict=verdict, sentence=sentence, is_warning=is_warning)
