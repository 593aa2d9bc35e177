"""Whether a prompt fits: an estimate that drops only what is certainly too small."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.inference import Chat, Completion, Embedding, Limits, Message
from arbiter.selection.room import MARGIN, demanded, rounded, tokens_of, too_small


def chat(length: int) -> Chat:
    return Chat(messages=(Message(role="user", content="a" * length),))


def test_a_request_that_fits_everywhere_demands_nothing() -> None:
    assert demanded(chat(4000), 96, 4096) == Limits()
    assert demanded(chat(4000), 97, 4096) != Limits()


def test_where_no_context_is_known_nothing_is_demanded() -> None:
    assert demanded(chat(10**6), 10**6, None) == demanded(chat(10**6), None, None) == Limits()


def test_a_long_request_demands_its_rounded_length_and_answer() -> None:
    assert demanded(chat(36_000), 1000, 4096) == Limits(prompt_chars=32_768, answer_tokens=861)
    assert demanded(chat(36_000), None, 4096) == Limits(prompt_chars=32_768)


def test_texts_for_vectors_have_the_context_one_by_one() -> None:
    assert demanded(Embedding(inputs=("a" * 4000,) * 9), None, 4096) == Limits()
    assert demanded(Completion(prompt="a" * 5000), None, 4096).prompt_chars == 4870


@given(number=st.integers(1, 10**9))
def test_rounding_takes_a_fifth_at_most_and_never_adds(number: int) -> None:
    found = rounded(number)
    assert found <= number
    assert found >= number / 1.1893 - 1  # 2 ** (1 / 4)
    assert rounded(found) <= found


def test_a_million_lengths_make_few_plans() -> None:
    assert len({rounded(number) for number in range(4096, 1_000_000, 97)}) <= 33


@given(
    chars=st.integers(1, 10**7),
    context=st.integers(128, 10**6),
    known=st.none() | st.tuples(st.floats(0.5, 5.0), st.floats(5.0, 9.0)),
)
def test_only_what_is_certainly_too_small_is_dropped(
    chars: int, context: int, known: tuple[float, float] | None
) -> None:
    most = 8.0 if known is None else MARGIN * known[1]
    dropped = too_small(context, Limits(prompt_chars=chars), known) is not None
    assert dropped == (chars / most > context)


def test_what_a_versions_prompts_told_is_used_and_said() -> None:
    learned, usual = tokens_of(12_000, (2.0, 2.5)), tokens_of(12_000, None)
    assert (learned.about, learned.is_learned) == (6000.0, True)
    assert (usual.about, usual.is_learned) == (3000.0, False)
    assert too_small(3072, Limits(prompt_chars=12_000), None) is None
    reason = too_small(3072, Limits(prompt_chars=12_000), (2.0, 2.5))
    assert reason == (
        "the prompt has about 6,000 tokens (estimated at 2.0 characters each by its earlier "
        "prompts), its context holds 3,072"
    )


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (Limits(), Limits(prompt_chars=5), Limits(prompt_chars=5)),
        (Limits(prompt_chars=7), Limits(prompt_chars=5), Limits(prompt_chars=7)),
        (Limits(answer_tokens=7), Limits(answer_tokens=9), Limits(answer_tokens=9)),
    ],
)
def test_of_two_demands_the_larger_one_counts(one: Limits, other: Limits, both: Limits) -> None:
    assert one.narrowed(other) == other.narrowed(one) == both
