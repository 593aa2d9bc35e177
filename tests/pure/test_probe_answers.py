"""What a probe asks in full, and the edges of what its answer may be."""

from __future__ import annotations

import pytest

from arbiter.inference import (
    Chat,
    Chunk,
    Completion,
    Delta,
    Embedding,
    Finish,
    FinishReason,
    Generation,
    Message,
    Sampling,
    Usage,
)
from arbiter.pool.breaker import Sign
from arbiter.pool.probe import (
    SPARE_TOKENS,
    TOKENS,
    Fault,
    Standing,
    faults,
    question,
    reason_to_probe,
    verdict,
)

FEW_AND_ALWAYS_THE_SAME = Sampling(max_tokens=TOKENS, temperature=0.0, seed=1)
BOTH = frozenset({Fault.EMPTY, Fault.ENDLESS})


def test_a_chat_is_asked_to_say_hello_without_thinking_first() -> None:
    assert question(frozenset({"chat", "completion", "embedding"})) == Generation(
        work=Chat(messages=(Message(role="user", content="Say hello."),), effort="none"),
        sampling=FEW_AND_ALWAYS_THE_SAME,
    )


def test_who_only_completes_is_given_the_same_words() -> None:
    assert question(frozenset({"completion", "embedding"})) == Generation(
        work=Completion(prompt="Say hello."), sampling=FEW_AND_ALWAYS_THE_SAME
    )


def test_who_only_makes_vectors_is_asked_for_one() -> None:
    assert question(frozenset({"embedding"})) == Embedding(inputs=("Say hello.",))


def test_it_is_probed_as_soon_as_it_was_idle_for_so_long() -> None:
    idle = Standing(is_ready=True, in_use=0, idle_s=300.0)
    assert reason_to_probe(idle, every_s=300.0) == "nobody asked it for 300 s"


def written(tokens: int) -> list[Chunk]:
    usage = Usage(completion_tokens=tokens)
    return [Delta(text="hello"), Finish(reason=FinishReason.STOP, usage=usage)]


def test_a_server_may_count_a_few_tokens_more_than_were_asked_for() -> None:
    assert faults(written(TOKENS + SPARE_TOKENS)) == frozenset()
    assert faults(written(TOKENS + SPARE_TOKENS + 1)) == {Fault.ENDLESS}


@pytest.mark.parametrize(("text", "found"), [("!!!!!", set()), ("!!!!!!", {Fault.REPEATS})])
def test_one_character_six_times_is_no_answer(text: str, found: set[Fault]) -> None:
    assert faults([Delta(text=text)]) == found


def test_the_first_probe_of_a_version_tells_its_habits_and_blames_nobody() -> None:
    well = verdict(frozenset(), None)
    assert (well.sign, well.why, well.habits) == (Sign.WELL, "", frozenset())
    ill = verdict(BOTH, None)
    assert (ill.sign, ill.why, ill.habits) == (Sign.NOTHING, "", BOTH)


def test_a_new_fault_is_told_and_habits_stay_what_they_are() -> None:
    habits = frozenset({Fault.EMPTY})
    found = verdict(BOTH, habits)
    assert (found.sign, found.habits) == (Sign.ILL, habits)
    assert found.why == f"a probe: {Fault.ENDLESS.value}"


def test_a_habit_that_was_not_seen_again_is_none_any_more() -> None:
    found = verdict(frozenset({Fault.EMPTY}), BOTH)
    assert (found.sign, found.why) == (Sign.NOTHING, "")
    assert found.habits == {Fault.EMPTY}
