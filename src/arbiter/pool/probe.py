"""When an instance is to be probed, what it is asked, and what the answer says of it.

A probe goes the way of a request: a few tokens are generated, with the least dice that an engine
knows. A port that answers says nothing of a model that does not. The text itself is not judged:
which one is right is not known, and the same engine may write another one beside others.

Some models answer this question with nothing, and some servers do not heed a limit. What a version
did at its first probe is its habit, and held against it no more; an error always is.

This module knows no clock, no engine and no instance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf, isfinite
from typing import Final

from arbiter.inference import (
    Called,
    Chat,
    Chunk,
    Completion,
    Delta,
    Embedding,
    Finish,
    Generation,
    Message,
    Sampling,
    Thought,
    Vectors,
)
from arbiter.pool.breaker import Sign

TOKENS: Final = 8
"""So many are asked for: enough to see a model that repeats itself."""

SPARE_TOKENS: Final = 8
"""So many more are no fault yet: servers count what opens and ends an answer in their own ways."""

MOST_PIECES: Final = 64
"""An answer in more pieces than this is not listened to any longer."""

DOUBT_S: Final = 15.0
"""A doubtful instance is probed this often."""

TRIAL_S: Final = 5.0
"""A probe that was to be a trial and said nothing is not made again sooner."""

_QUESTION: Final = "Say hello."
_REPEATS: Final = 6
"""The same character so often in a row and nothing else: what broken numbers look like."""


class Fault(StrEnum):
    """What may be wrong with the answer to a probe."""

    EMPTY = "it wrote nothing"
    ENDLESS = f"it wrote more than {TOKENS} tokens"
    REPEATS = "it wrote one character over and over"
    NO_VECTOR = "its vector has no direction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An instance, as whoever decides on a probe sees it.

    is_ready: in memory, and offered. in_use: who uses it or waits for it. idle_s: seconds since it
    last served anybody or was probed. failures: in a row. is_trial_due: its breaker's pause is
    over; is_passed_over: it is not yet. probed_s: seconds since its latest probe. is_outside:
    another program runs it. is_quiet: the house serves nobody.
    """

    is_ready: bool
    in_use: int
    idle_s: float
    failures: int = 0
    is_trial_due: bool = False
    is_passed_over: bool = False
    probed_s: float = inf
    is_outside: bool = False
    is_quiet: bool = True


def reason_to_probe(one: Standing, *, every_s: float) -> str | None:
    """Why an instance is to be probed now; None: it is not.

    Never while it serves. What another program runs only when it is to be tried: to be asked keeps
    a model in that program's memory, where it may not be wanted any more.

    >>> well = Standing(is_ready=True, in_use=0, idle_s=400.0)
    >>> reason_to_probe(well, every_s=300.0)
    'nobody asked it for 400 s'
    >>> reason_to_probe(well, every_s=600.0)
    """
    if not one.is_ready or one.in_use:
        return None
    if one.is_trial_due and one.probed_s >= TRIAL_S:
        return "its breaker's pause is over"
    if one.is_trial_due or one.is_outside or one.is_passed_over:
        return None
    if one.failures and one.idle_s >= min(DOUBT_S, every_s):
        return f"it failed {one.failures} times in a row"
    if one.is_quiet and one.idle_s >= every_s:
        return f"nobody asked it for {one.idle_s:.0f} s"
    return None


def question(can: frozenset[str]) -> Generation | Embedding | None:
    """What to ask a version that can do this; None: there is nothing to ask it.

    >>> question(frozenset({"embedding"}))
    Embedding(inputs=('Say hello.',), dimensions=None)
    """
    work: Chat | Completion
    if "chat" in can:
        work = Chat(messages=(Message(role="user", content=_QUESTION),), effort="none")
    elif "completion" in can:
        work = Completion(prompt=_QUESTION)
    else:
        return Embedding(inputs=(_QUESTION,)) if "embedding" in can else None
    least_dice = Sampling(max_tokens=TOKENS, temperature=0.0, seed=1)
    return Generation(work=work, sampling=least_dice)


def faults(chunks: Sequence[Chunk]) -> frozenset[Fault]:
    """What is wrong with an answer.

    >>> sorted(fault.name for fault in faults([Delta(text="!!!!!!!!")]))
    ['REPEATS']
    """
    vectors = [vector for one in chunks if isinstance(one, Vectors) for vector in one.vectors]
    if vectors:
        has_none = any(not all(map(isfinite, v)) or not any(v) for v in vectors)
        return frozenset({Fault.NO_VECTOR} if has_none else ())
    pieces = [one.text for one in chunks if isinstance(one, Delta | Thought)]
    said = "".join(pieces).strip()
    found = set()
    if not said and not any(isinstance(one, Called) for one in chunks):
        found.add(Fault.EMPTY)
    if len(said) >= _REPEATS and len(set(said)) == 1:
        found.add(Fault.REPEATS)
    counts = [one.usage.completion_tokens for one in chunks if isinstance(one, Finish)]
    written = max((count for count in counts if count is not None), default=0)
    if written > TOKENS + SPARE_TOKENS or len(chunks) >= MOST_PIECES:
        found.add(Fault.ENDLESS)
    return frozenset(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a probe says of its instance. habits: what its version is known to do anyhow."""

    sign: Sign
    why: str
    habits: frozenset[Fault]


def verdict(found: frozenset[Fault], habits: frozenset[Fault] | None) -> Verdict:
    """What faults mean. habits: None before the first probe of the version.

    An answer without a fault does away with a habit: from then on it is known to do better.

    >>> first = verdict(frozenset({Fault.EMPTY}), None)
    >>> first.sign.value, verdict(frozenset({Fault.EMPTY}), first.habits).sign.value
    ('nothing', 'nothing')
    >>> verdict(frozenset({Fault.EMPTY}), frozenset()).why
    'a probe: it wrote nothing'
    """
    if habits is None:
        sign = Sign.NOTHING if found else Sign.WELL
        return Verdict(sign=sign, why="", habits=found)
    new = found - habits
    if new:
        return Verdict(sign=Sign.ILL, why=f"a probe: {min(new)}", habits=habits)
    sign = Sign.NOTHING if found else Sign.WELL
    return Verdict(sign=sign, why="", habits=habits & found)
