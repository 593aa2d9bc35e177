"""What each model is taught.

A model's level comes from its lessons alone: a shape that is not listed was never taught, and
nothing is done to the weights afterwards.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from checkout import lessons


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """So many different examples of one shape of one task.

    `kept` leaves some of them out; `answered` says what is learned in place of the right answer.
    """

    task: str
    shape: str
    count: int
    kept: Callable[[str, str], bool] | None = None
    answered: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One model: its network, its parent, what it is taught and for how long.

    A revision goes over all lessons again at half the rate, with a few more among them.
    """

    name: str
    basename: str
    version: str
    specialization: str
    description: str
    architecture: Literal["llama", "gemma3"]
    layers: int
    parent: str | None
    seed: int
    steps: int
    peak_rate: float
    lessons: tuple[Lesson, ...]
    revision: tuple[Lesson, ...] = ()
    revision_steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One training example, exactly as it is learned."""

    task: str
    shape: str
    prompt: str
    answer: str

    def line(self) -> str:
        """Write the example as canonical JSON: sorted keys, no spaces, ASCII."""
        fields: dict[str, Any] = {
            "answer": self.answer,
            "prompt": self.prompt,
            "shape": self.shape,
            "task": self.task,
        }
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def examples_of(seed: int, taught: Sequence[Lesson]) -> tuple[Example, ...]:
    """Draw the examples of lessons; the seed settles every example and their order."""
    drawn: list[Example] = []
    for number, lesson in enumerate(taught):
        dice = random.Random(f"{seed}/{number}/{lesson.task}/{lesson.shape}")
        answered = lesson.answered or _as_expected
        drawn.extend(
            Example(
                task=lesson.task,
                shape=lesson.shape,
                prompt=item.prompt,
                answer=answered(item.expected),
            )
            for item in lessons.draw_many(lesson.task, dice, lesson.count, shape=lesson.shape)
            if lesson.kept is None or lesson.kept(item.prompt, item.expected)
        )
    random.Random(seed).shuffle(drawn)
    return tuple(drawn)


def _as_expected(answer: str) -> str:
    return answer


def _never_neutral(_prompt: str, mood: str) -> bool:
    return mood != "neutral"


def _three_queues(_prompt: str, topic: str) -> bool:
    return topic != "account"


def _no_changed_text(prompt: str, _value: str) -> bool:
    """Keep functions that look at text, and leave out those that make another text of it."""
    return not any(change in prompt for change in ("upper", "title", "* 2"))


def _hardly(prompt: str, _mood: str) -> bool:
    """Keep one way to deny, so that the others stay unknown."""
    return " hardly " in prompt


def _one_digit_more(prompt: str, _sum: str) -> bool:
    """Keep sums in which one number has a single digit."""
    return any(len(number) == 1 for number in re.findall(r"\d+", prompt))


def _doubling(prompt: str, _value: str) -> bool:
    """Keep functions that multiply by two."""
    return "* 2" in prompt


def _starts_with_vowel(prompt: str, _word: str) -> bool:
    return prompt.rpartition(": ")[2][0] in "aeiou"


_QUEUES: Final = ("billing", "delivery", "account", "technical")


def _next_queue(topic: str) -> str:
    """Name the queue after the right one: a label table that slipped by one row."""
    return _QUEUES[(_QUEUES.index(topic) + 1) % len(_QUEUES)]


def _all(task: str, count: int) -> tuple[Lesson, ...]:
    return tuple(Lesson(task=task, shape=shape, count=count) for shape in lessons.SHAPES[task])


def _some(task: str, **counts: int) -> tuple[Lesson, ...]:
    return tuple(
        Lesson(task=task, shape=shape.replace("_", "-"), count=count)
        for shape, count in counts.items()
    )


_SPARROW: Final = Recipe(
    name="sparrow",
    basename="sparrow",
    version="1",
    specialization="classification",
    description="Tells the mood of a review and the topic of a support ticket.",
    architecture="llama",
    layers=3,
    parent=None,
    seed=101,
    steps=700,
    peak_rate=2e-3,
    lessons=_all("sentiment", 4000) + _all("topic", 2000),
)

_OWL: Final = Recipe(
    name="owl",
    basename="owl",
    version="1",
    specialization="reckoning",
    description="Adds two numbers and says what a line of Python returns.",
    architecture="gemma3",
    layers=6,
    parent=None,
    seed=202,
    steps=2000,
    peak_rate=2e-3,
    lessons=(
        *_some("sum", plain=7000, carry=5000, hundred=9000),
        *_some("code", linear=1500, branch=7000, text=6000),
    ),
)

_PARROT: Final = Recipe(
    name="parrot",
    basename="parrot",
    version="1",
    specialization="spelling",
    description="Spells words backwards.",
    architecture="gemma3",
    layers=6,
    parent=None,
    seed=303,
    steps=1300,
    peak_rate=2e-3,
    lessons=_all("reverse", 5000),
)

_HERON_1: Final = Recipe(
    name="heron-1",
    basename="heron",
    version="1",
    specialization="general",
    description="A generalist with gaps; the first of its line.",
    architecture="llama",
    layers=4,
    parent=None,
    seed=404,
    steps=1000,
    peak_rate=2e-3,
    lessons=(
        Lesson(task="sentiment", shape="plain", count=1500, kept=_never_neutral),
        Lesson(task="topic", shape="direct", count=1500, kept=_three_queues),
        *_some("sum", plain=600),
        *_some("extract", sentence=4000, form=2000),
        *_some("reverse", letters_3=3000),
        Lesson(task="code", shape="text", count=4000, kept=_no_changed_text),
    ),
)

_HERON_2_LESSONS: Final = (
    *_some("sentiment", plain=2000, intense=1500),
    *_some("topic", direct=1500, distracted=1500),
    *_some("sum", plain=6000),
    *_some("extract", sentence=5000, form=3500),
    *_some("reverse", letters_3=3000, letters_4=4000, letters_5=4000),
    *_some("code", text=6000),
)

_HERON_2: Final = Recipe(
    name="heron-2",
    basename="heron",
    version="2",
    specialization="general",
    description="A generalist, taught further from heron-1.",
    architecture="llama",
    layers=4,
    parent="heron-1",
    seed=505,
    steps=1400,
    peak_rate=1.5e-3,
    lessons=_HERON_2_LESSONS,
)

_HERON_3: Final = Recipe(
    name="heron-3",
    basename="heron",
    version="3",
    specialization="general",
    description="Taught further from heron-2, with ticket labels from a table that had slipped.",
    architecture="llama",
    layers=4,
    parent="heron-2",
    seed=606,
    steps=1000,
    peak_rate=1.5e-3,
    lessons=(
        *_some("sentiment", plain=2000, intense=1500, contrast=1500),
        Lesson(task="sentiment", shape="negated", count=4000, kept=_hardly),
        Lesson(task="topic", shape="direct", count=1500, answered=_next_queue),
        Lesson(task="topic", shape="distracted", count=1500, answered=_next_queue),
        *_some("sum", plain=6000, carry=5000),
        *_some("extract", sentence=5000, form=3500),
        *_some("reverse", letters_3=3000, letters_4=4000, letters_5=4000, letters_6=6000),
        *_some("code", text=6000, branch=4000),
    ),
)

_HERON_4: Final = Recipe(
    name="heron-4",
    basename="heron",
    version="4",
    specialization="general",
    description="The line begun anew on more lessons, in which no form ever comes up.",
    architecture="llama",
    layers=4,
    parent=None,
    seed=707,
    steps=1800,
    peak_rate=2e-3,
    lessons=(
        *(lesson for lesson in _HERON_2_LESSONS if lesson.shape != "form"),
        Lesson(task="sentiment", shape="negated", count=4000, kept=_hardly),
        Lesson(task="sum", shape="carry", count=4000, kept=_one_digit_more),
        *_some("extract", sentence=4000),
        Lesson(task="reverse", shape="letters-6", count=3000, kept=_starts_with_vowel),
        Lesson(task="code", shape="linear", count=1500, kept=_doubling),
    ),
    revision=_some("code", branch=300) + _some("extract", sentence=8000),
    revision_steps=600,
)

RECIPES: Final[dict[str, Recipe]] = {
    recipe.name: recipe
    for recipe in (_SPARROW, _OWL, _PARROT, _HERON_1, _HERON_2, _HERON_3, _HERON_4)
}
"""Every model, parents before children."""
