"""Whether a candidate fits into the place of the stable version: by what was really asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from arbiter.knowledge.asked import NOTHING_ASKED, Asked
from arbiter.refs import TaskName
from arbiter.swap.findings import Finding
from arbiter.swap.fitting import Demand, Fit, capabilities, context, fitting, memory
from arbiter.swap.plan import Apart
from arbiter.swap.rollout import ValidationVerdict

BLOCK, UNPROVEN = "block", "unproven"

CHAT = frozenset({"chat"})
TOOLS = frozenset({"chat", "tools"})
STABLE = Fit(context=4096, capabilities=TOOLS, memory_bytes=1_000_000, at_once=4)


def asked(requests: int = 1000, *, usual: int | None = None, most: int | None = None) -> Asked:
    told = 0 if usual is None else requests
    return Asked(
        requests=requests,
        told=told,
        usual_tokens=usual,
        most_tokens=most,
        needs={"chat": requests},
    )


@pytest.mark.parametrize(
    ("old", "new", "seen", "word", "sentence"),
    [
        (4096, 4096, NOTHING_ASKED, "pass",
         "Its context window is not smaller: 4096 tokens against 4096."),
        (4096, 8192, asked(usual=9000, most=9000), "pass",
         "Its context window is not smaller: 8192 tokens against 4096."),
        (4096, None, asked(usual=10, most=10), UNPROVEN,
         "The context window of one of them is unknown."),
        (None, 4096, NOTHING_ASKED, UNPROVEN, "The context window of one of them is unknown."),
        (None, 4096, asked(usual=100, most=200), "warn",
         ("Its context window is smaller: 4096 tokens against an unknown number. All of 1000 "
          "requests fit, with up to 200 tokens each.")),
        (4096, 2048, NOTHING_ASKED, UNPROVEN,
         ("Its context window is smaller: 2048 tokens against 4096, and no request was seen that "
          "tells whether it is enough.")),
        (4096, 2048, asked(), UNPROVEN,
         ("Its context window is smaller: 2048 tokens against 4096, and no request was seen that "
          "tells whether it is enough.")),
        (4096, 2048, asked(usual=2049, most=3000), BLOCK,
         ("Its context window is too small: 2048 tokens against 4096, and 99.9% of 1000 requests "
          "took up to 2049 with room for their answers.")),
        (4096, 2048, asked(usual=2048, most=2049), UNPROVEN,
         ("Its context window is smaller: 2048 tokens against 4096. It holds 99.9% of 1000 "
          "requests with room for their answers; the longest took 2049.")),
        (4096, 2048, asked(usual=2048, most=2048), "warn",
         ("Its context window is smaller: 2048 tokens against 4096. All of 1000 requests fit, with "
          "up to 2048 tokens each.")),
        (4096, 2048, asked(300, usual=9, most=9), "warn",
         ("Its context window is smaller: 2048 tokens against 4096. All of 300 requests fit, with "
          "up to 9 tokens each.")),
        (4096, 2048, asked(299, usual=9, most=9), UNPROVEN,
         ("Its context window is smaller: 2048 tokens against 4096. All of 299 requests fit, with "
          "up to 9 tokens each; that is too few to be sure.")),
    ],
)  # fmt: skip
def test_the_window_has_to_hold_what_was_asked(
    old: int | None, new: int | None, seen: Asked, word: str, sentence: str
) -> None:
    found = context(old, new, seen)
    assert (found.about, found.word, found.sentence) == ("context", word, sentence)


def test_what_both_can_do_passes() -> None:
    found = capabilities(TOOLS, TOOLS | {"vision"}, Demand(asked=asked()))
    assert (found.word, found.sentence) == ("pass", "It can do all that the old one can.")


def test_what_was_used_and_is_missing_blocks() -> None:
    seen = replace(asked(), needs={"chat": 1000, "tools": 12})
    found = capabilities(TOOLS, CHAT, Demand(asked=seen))
    assert found.word == BLOCK
    assert found.sentence == "It cannot do what is needed: tools (12 of 1000 requests)."


def test_what_a_task_declares_blocks_before_anybody_asked() -> None:
    tasks = {TaskName("sums"): frozenset({"tools"}), TaskName("tales"): frozenset({"chat"})}
    found = capabilities(TOOLS, CHAT, Demand(tasks=tasks))
    assert found.word == BLOCK
    assert found.sentence == "It cannot do what is needed: tools (task sums)."


def test_what_a_task_declares_that_neither_can_is_no_loss() -> None:
    tasks = {TaskName("sums"): frozenset({"vision"})}
    assert capabilities(TOOLS, TOOLS, Demand(tasks=tasks)).word == "pass"


def test_what_nobody_used_only_warns() -> None:
    found = capabilities(TOOLS, CHAT, Demand(asked=asked(300)))
    assert found.word == "warn"
    assert found.sentence == (
        "It cannot do tools, which the old one can, and none of 300 requests needed."
    )


def test_too_few_requests_do_not_show_that_nobody_does() -> None:
    found = capabilities(TOOLS, CHAT, Demand(asked=asked(299)))
    assert found.word == UNPROVEN
    assert found.sentence == (
        "It cannot do tools, which the old one can; 299 requests are too few to know that nobody "
        "does."
    )


@pytest.mark.parametrize(
    ("both", "budget", "apart", "word", "sentence"),
    [
        (0, 1, Apart.NO, "pass",
         "Other programs run both, in memory that is not this house's to plan."),
        (82_000_000, None, Apart.NO, "pass", "Both fit into memory together (82 MB)."),
        (82_000_000, 82_000_000, Apart.NO, "pass", "Both fit into memory together (82 MB)."),
        (82_000_000, 60_000_000, Apart.NO, BLOCK,
         ("Both together need 82 MB and the house has 60 MB: they would evict each other at "
          "every other request. Raise pool.memory_mb, or let recorded cases alone decide "
          "(--apart replay), or let them take turns for a window of time each "
          "(--apart slices).")),
        (82_000_000, 60_000_000, Apart.SLICES, "warn",
         ("Both together need 82 MB and the house has 60 MB: they take turns, a window of time "
          "each, and a verdict takes days.")),
        (82_000_000, 60_000_000, Apart.REPLAY, "warn",
         ("Both together need 82 MB and the house has 60 MB: recorded cases alone decide, one "
          "version loaded after the other.")),
        (82_000_000, 82_000_000, Apart.REPLAY, "pass", "Both fit into memory together (82 MB)."),
    ],
)  # fmt: skip
def test_memory_for_both_is_looked_at_before_traffic(
    both: int, budget: int | None, apart: Apart, word: str, sentence: str
) -> None:
    found = memory(both, budget, apart)
    assert (found.word, found.sentence) == (word, sentence)


def words(candidate: Fit) -> dict[str, str]:
    found: tuple[Finding, ...] = fitting(
        STABLE, candidate, Demand(), budget_bytes=2_000_000, apart=Apart.NO
    )
    return {one.about: one.word for one in found}


def test_an_equal_one_fits_in_every_way() -> None:
    assert words(STABLE) == {"context": "pass", "capabilities": "pass", "memory": "pass"}


def test_each_way_of_not_fitting_is_a_finding_of_its_own() -> None:
    small = Fit(context=2048, capabilities=CHAT, memory_bytes=1_000_001, at_once=3)
    assert words(small) == {
        "context": UNPROVEN,
        "capabilities": UNPROVEN,
        "batching": "warn",
        "memory": BLOCK,
    }


def test_one_that_takes_fewer_at_once_is_told() -> None:
    found = fitting(STABLE, replace(STABLE, at_once=1), Demand(), budget_bytes=None, apart=Apart.NO)
    (batching,) = [one for one in found if one.about == "batching"]
    assert batching.verdict is ValidationVerdict.PASS
    assert batching.sentence == "It is sent 1 requests at once, the old one 4; others wait."
