"""Whether a prompt fits into a context: an estimate that says it is one.

Nobody counts tokens before a version is picked, because each has its own. So the characters are
counted, and how many of them make a token is learned from each version's earlier prompts. Only
what is certainly too long is held against a version. Near the limit it stays in: its engine may
refuse the prompt, and the next version is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp2, floor, log2

from arbiter.inference import NO_LIMITS, Embedding, Limits, Work, prompt_chars

USUAL_CHARS = 4.0
"""Characters of a token where a version's are not known: English prose has 4 to 5, code 3."""

MOST_CHARS = 8.0
"""No prompt is believed to have more of them a token, where a version's are not known."""

MARGIN = 1.25
"""A prompt may have so many times the characters a token that 9 of 10 of a version's had."""

STEPS = 4
"""Lengths are rounded down to powers of 2 ** (1 / 4), so that a plan serves many requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """How many a prompt has: about, and at least. chars: those of a token, in the estimate."""

    about: float
    least: float
    chars: float
    is_learned: bool


def tokens_of(chars: int, known: tuple[float, float] | None) -> Tokens:
    """The tokens of a prompt; known: the version's median and 90th percentile of characters each.

    >>> tokens_of(36_000, None).about, tokens_of(36_000, (3.0, 4.0)).least
    (9000.0, 7200.0)
    """
    if known is None:
        return Tokens(
            about=chars / USUAL_CHARS, least=chars / MOST_CHARS, chars=USUAL_CHARS, is_learned=False
        )
    median, most = known
    return Tokens(
        about=chars / median, least=chars / (MARGIN * most), chars=median, is_learned=True
    )


def rounded(number: int) -> int:
    """The next number below (or this one) that is a power of 2 ** (1 / 4), in whole numbers.

    >>> [rounded(number) for number in (1, 4096, 5000, 36_000)]
    [1, 4096, 4870, 32768]
    """
    step = floor(STEPS * log2(max(1, number)) + 1e-9)
    return floor(exp2(step / STEPS) + 1e-9)


def demanded(work: Work, max_tokens: int | None, least: int | None) -> Limits:
    """What a request demands of a context; nothing where it fits into the least there is.

    least: in tokens; None where no context is known.

    A token has one character at least, so that is known without an estimate.

    >>> demanded(Embedding(inputs=("a" * 9_000, "b")), None, 4096).prompt_chars
    8192
    >>> demanded(Embedding(inputs=("short",)), 100, 4096) == Limits()
    True
    """
    # each text for a vector has the context to itself
    chars = (
        max(map(len, work.inputs), default=0) if isinstance(work, Embedding) else prompt_chars(work)
    )
    if least is None or chars + (max_tokens or 0) <= least:
        return NO_LIMITS
    return Limits(
        prompt_chars=rounded(chars),
        answer_tokens=None if max_tokens is None else rounded(max_tokens),
    )


def too_small(context: int | None, limits: Limits, known: tuple[float, float] | None) -> str | None:
    """Why a context is certainly too small, or None.

    >>> too_small(4096, Limits(prompt_chars=36_000), None)
    'the prompt has about 9,000 tokens (estimated at 4.0 characters each), its context holds 4,096'
    """
    if context is None or limits.prompt_chars is None:
        return None
    tokens = tokens_of(limits.prompt_chars, known)
    answer = limits.answer_tokens or 0
    if tokens.least + answer <= context:
        return None
    source = " by its earlier prompts" if tokens.is_learned else ""
    more = f" and the answer may have {answer:,}" if answer else ""
    return (
        f"the prompt has about {two_figures(tokens.about)} tokens "
        f"(estimated at {tokens.chars:.1f} characters each{source}){more}, "
        f"its context holds {context:,}"
    )


def has_room(context: int | None, chars: int, max_tokens: int | None) -> bool:
    """Whether a prompt and its answer fit for certain enough: as if twice its usual tokens.

    Not known to fit is no: whoever asks has another who answers.

    >>> has_room(4096, 4_000, 1_000), has_room(4096, 8_000, 1_000), has_room(None, 1, None)
    (True, False, False)
    """
    if context is None:
        return False
    return 2.0 * tokens_of(chars, None).about + (max_tokens or 0) <= context


def two_figures(number: float) -> str:
    """Two figures: an estimate should not look like a count.

    >>> two_figures(8_871.0), two_figures(7.0)
    ('8,900', '7')
    """
    digits = len(f"{number:.0f}")
    return f"{round(number, min(0, 2 - digits)):,.0f}"
