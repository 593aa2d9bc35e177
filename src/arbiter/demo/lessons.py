"""Lessons: the six small skills that the demonstration models are taught and asked about.

An item is one prompt and the one answer that counts as right.  Items are drawn from dice that
the caller hands in, so the same dice always give the same items.  Every item belongs to exactly
one split: what its prompt is about is hashed, one subject in ten is held out, and a held-out
subject never appears in training, whatever words it is asked in.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

Split = Literal["train", "held_out"]

HELD_OUT_ONE_IN: Final = 10
"""One subject in this many is kept away from training."""

CASES_EACH: Final = 40
"""How many cases are stored for a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One prompt, the answer that counts as right, and the shape the prompt was drawn in."""

    task: str
    prompt: str
    expected: str
    shape: str


TASKS: Final[tuple[str, ...]] = ("sentiment", "topic", "sum", "extract", "reverse", "code")
"""Every task, in the order tables show them."""

SHAPE_WEIGHTS: Final[Mapping[str, Mapping[str, int]]] = MappingProxyType(
    {
        "sentiment": MappingProxyType(
            {"plain": 40, "intense": 15, "negated": 25, "contrast": 20},
        ),
        "topic": MappingProxyType({"direct": 60, "distracted": 40}),
        "sum": MappingProxyType({"plain": 50, "carry": 25, "hundred": 25}),
        "extract": MappingProxyType({"sentence": 100, "form": 0}),
        "reverse": MappingProxyType(
            {
                "letters-3": 15,
                "letters-4": 17,
                "letters-5": 17,
                "letters-6": 17,
                "letters-7": 17,
                "letters-8": 17,
            },
        ),
        "code": MappingProxyType({"linear": 30, "branch": 30, "text": 40}),
    },
)
"""How often each shape comes up when the caller names none; 0: only when it is named."""

SHAPES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {task: tuple(weights) for task, weights in SHAPE_WEIGHTS.items()},
)
"""The shapes of each task."""


def draw(
    task: str,
    dice: random.Random,
    *,
    shape: str | None = None,
    split: Split = "train",
) -> Item:
    """Draw one item of a task from the dice, in the named shape and split.

    Without a shape one is chosen by its weight.  Raises KeyError for an unknown task or shape.
    """
    if shape is None:
        weights = SHAPE_WEIGHTS[task]
        shape = dice.choices(tuple(weights), weights=tuple(weights.values()))[0]
    make = _MAKERS[task][shape]
    while True:
        prompt, expected = make(dice)
        if split_of(task, prompt) == split:
            return Item(task=task, prompt=prompt, expected=expected, shape=shape)


def draw_many(
    task: str,
    dice: random.Random,
    count: int,
    *,
    shape: str | None = None,
    split: Split = "train",
    attempts_each: int = 40,
) -> tuple[Item, ...]:
    """Draw up to `count` items with different prompts.

    Fewer come back only where the task has too few different prompts to draw from.
    """
    found: dict[str, Item] = {}
    for _ in range(count * attempts_each):
        if len(found) >= count:
            break
        item = draw(task, dice, shape=shape, split=split)
        found.setdefault(item.prompt, item)
    return tuple(found.values())


def stored_cases(task: str, dice: random.Random) -> tuple[Item, ...]:
    """Draw a task's stored cases: held-out items, in the shapes that come up unasked."""
    return draw_many(task, dice, CASES_EACH, split="held_out")


def case_line(item: Item) -> str:
    """Write an item as one line of a stored case file."""
    return json.dumps({"prompt": item.prompt, "expected": item.expected}) + "\n"


def split_of(task: str, prompt: str) -> Split:
    """Say which split a prompt belongs to, by what it is about and not by how it is asked."""
    digest = hashlib.sha256(f"{task}\n{subject_of(task, prompt)}".encode()).digest()
    held_out = int.from_bytes(digest[:8], "big") % HELD_OUT_ONE_IN == 0
    return "held_out" if held_out else "train"


def subject_of(task: str, prompt: str) -> str:
    """Give what a prompt is about: its numbers, its word or its text, without the asking words."""
    if task == "sum":
        return "+".join(re.findall(r"\d+", prompt))
    if task in {"sentiment", "topic", "reverse"}:
        return prompt.partition(": ")[2]
    return prompt


# --- sentiment -------------------------------------------------------------------------------

_ASK_SENTIMENT: Final = ("Review", "Sentiment", "Mood of this")
_THINGS: Final = (
    ("the soup", "the coffee", "the pasta", "the bread", "the pizza", "the salad", "the dessert")
    + ("the film", "the plot", "the ending", "the acting", "the music", "the story", "the sequel")
    + ("the phone", "the battery", "the screen", "the keyboard", "the lamp", "the chair")
    + ("the bag", "the service", "the staff", "the price", "the design")
)
_GOOD: Final = (
    "great",
    "good",
    "lovely",
    "superb",
    "tasty",
    "excellent",
    "brilliant",
    "wonderful",
) + ("charming", "solid", "perfect", "amazing", "clever", "pleasant", "fresh", "fantastic")
_BAD: Final = (
    "bad",
    "awful",
    "terrible",
    "dull",
    "poor",
    "horrible",
    "boring",
    "broken",
    "dreadful",
) + ("weak", "cheap", "ugly", "useless", "stale", "annoying", "messy")
_SO_SO: Final = (
    "okay",
    "average",
    "ordinary",
    "fine",
    "standard",
    "as usual",
    "acceptable",
    "so-so",
) + ("neither here nor there", "what it says", "medium", "as expected")
_LIKED: Final = ("loved", "liked", "enjoyed", "adored")
_LOATHED: Final = ("hated", "disliked", "regretted", "loathed")
_INTENSE: Final = ("very", "really", "truly", "so", "absolutely", "quite", "extremely")
_VERBS: Final = ("was", "is", "seemed", "felt")


def _feeling(dice: random.Random) -> tuple[str, tuple[str, ...]]:
    label = dice.choice(("positive", "negative", "neutral"))
    return label, {"positive": _GOOD, "negative": _BAD, "neutral": _SO_SO}[label]


def _asked_sentiment(dice: random.Random, text: str) -> str:
    return f"{dice.choice(_ASK_SENTIMENT)}: {text}"


def _sentiment_plain(dice: random.Random) -> tuple[str, str]:
    thing = dice.choice(_THINGS)
    label, words = _feeling(dice)
    if label != "neutral" and dice.random() < 0.3:
        verb = dice.choice(_LIKED if label == "positive" else _LOATHED)
        return _asked_sentiment(dice, f"I {verb} {thing}"), label
    text = f"{thing} {dice.choice(_VERBS)} {dice.choice(words)}"
    return _asked_sentiment(dice, text), label


def _sentiment_intense(dice: random.Random) -> tuple[str, str]:
    thing = dice.choice(_THINGS)
    label = dice.choice(("positive", "negative"))
    words = _GOOD if label == "positive" else _BAD
    text = f"{thing} {dice.choice(_VERBS)} {dice.choice(_INTENSE)} {dice.choice(words)}"
    return _asked_sentiment(dice, text), label


def _sentiment_negated(dice: random.Random) -> tuple[str, str]:
    thing = dice.choice(_THINGS)
    label = dice.choice(("positive", "negative"))
    if dice.random() < 0.3:
        verb = dice.choice(("like", "enjoy", "love") if label == "negative" else ("hate", "mind"))
        return _asked_sentiment(dice, f"I did not {verb} {thing}"), label
    words = _BAD if label == "positive" else _GOOD
    denial = dice.choice(("was not", "is not", "was never", "was hardly", "was not at all"))
    return _asked_sentiment(dice, f"{thing} {denial} {dice.choice(words)}"), label


def _sentiment_contrast(dice: random.Random) -> tuple[str, str]:
    """What comes after `but` is what the reviewer means."""
    first, second = dice.sample(_THINGS, 2)
    label = dice.choice(("positive", "negative"))
    before, after = (_BAD, _GOOD) if label == "positive" else (_GOOD, _BAD)
    text = (
        f"{first} {dice.choice(_VERBS)} {dice.choice(before)} "
        f"but {second} {dice.choice(_VERBS)} {dice.choice(after)}"
    )
    return _asked_sentiment(dice, text), label


# --- topic -----------------------------------------------------------------------------------

_ASK_TOPIC: Final = ("Ticket", "Route this", "Support topic")
_COMPLAINTS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = MappingProxyType(
    {
        "billing": (
            ("my invoice", "the refund", "my last payment", "the monthly charge", "the receipt")
            + ("my card charge", "the discount", "the bill"),
            ("is wrong", "was taken twice", "is too high", "is missing the tax", "never came back"),
        ),
        "delivery": (
            ("my parcel", "the package", "the courier", "my shipment", "the box", "my order")
            + ("the van driver", "the letter"),
            ("is late", "never arrived", "went to a neighbour", "came damaged", "got lost"),
        ),
        "account": (
            ("my password", "my login", "the sign-in code", "my profile", "my user name")
            + ("my email address", "the two-step code", "my membership"),
            ("is locked", "must be reset", "is not accepted", "needs a change", "has expired"),
        ),
        "technical": (
            ("the app", "your website", "the update", "the printer", "the download page")
            + ("the search button", "the program", "the sync"),
            ("crashes", "shows an error", "freezes at start", "will not load", "is very slow"),
        ),
    },
)
_ASIDES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "billing": ("I paid on Monday", "the price was fair", "my card works"),
        "delivery": ("the parcel came today", "the courier was kind", "the box is here"),
        "account": ("I can log in", "my password is fine", "I signed in again"),
        "technical": ("the app works well", "the website is up", "I did the update"),
    },
)
_GREETINGS: Final = ("", "", "hello, ", "please help, ", "hi team, ", "since today ")


def _topic_direct(dice: random.Random) -> tuple[str, str]:
    topic = dice.choice(tuple(_COMPLAINTS))
    things, troubles = _COMPLAINTS[topic]
    text = f"{dice.choice(_GREETINGS)}{dice.choice(things)} {dice.choice(troubles)}"
    return f"{dice.choice(_ASK_TOPIC)}: {text}", topic


def _topic_distracted(dice: random.Random) -> tuple[str, str]:
    """An aside about another topic comes first; what follows `but` is the trouble."""
    topic, other = dice.sample(tuple(_COMPLAINTS), 2)
    things, troubles = _COMPLAINTS[topic]
    text = f"{dice.choice(_ASIDES[other])} but {dice.choice(things)} {dice.choice(troubles)}"
    return f"{dice.choice(_ASK_TOPIC)}: {text}", topic


# --- sum -------------------------------------------------------------------------------------

_ASK_SUM: Final = ("{a} + {b} =", "Add {a} and {b}", "What is {a} plus {b}?")


def _sum_where(fits: Callable[[int, int], bool]) -> Callable[[random.Random], tuple[str, str]]:
    def make(dice: random.Random) -> tuple[str, str]:
        while True:
            a, b = dice.randrange(100), dice.randrange(100)
            if fits(a, b):
                return dice.choice(_ASK_SUM).format(a=a, b=b), str(a + b)

    return make


# --- extract ---------------------------------------------------------------------------------

_FIRST: Final = (
    ("Ada", "Bo", "Carla", "Dan", "Elif", "Femi", "Greta", "Hugo", "Ines", "Jonas", "Kaya")
    + ("Lena", "Marco", "Nora", "Omar", "Petra", "Quinn", "Rosa", "Sven", "Tara", "Uma", "Viktor")
    + ("Wanda", "Xenia", "Yusuf", "Zoe", "Aiko", "Bruno", "Chloe", "Dmitri", "Emma", "Felix")
    + ("Gita", "Henrik", "Ivan", "Julia", "Kofi", "Luis", "Maya", "Nils")
)
_LAST: Final = (
    ("Lund", "Berg", "Costa", "Diaz", "Evans", "Fischer", "Garcia", "Hansen", "Ito", "Jensen")
    + ("Kim", "Lopez", "Meyer", "Novak", "Okafor", "Price", "Quist", "Rossi", "Silva", "Tanaka")
    + ("Ueda", "Vogel", "Weber", "Xu", "Young", "Zeller", "Adeyemi", "Brandt", "Chen", "Dubois")
    + ("Eriksen", "Ferrari", "Gupta", "Haas", "Ivanov", "Joshi", "Keller", "Larsen", "Moreau")
    + ("Nagy",)
)
_CITIES: Final = (
    ("Oslo", "Paris", "Berlin", "Lagos", "Lima", "Kyoto", "Madrid", "Rome", "Vienna", "Dublin")
    + ("Cairo", "Delhi", "Seoul", "Quito", "Prague", "Riga", "Porto", "Bergen", "Lyon", "Turin")
    + ("Accra", "Bogota", "Geneva", "Hanoi", "Izmir", "Jakarta", "Kigali", "London", "Malmo")
    + ("Nairobi", "Ottawa", "Perth", "Sofia", "Tunis", "Utrecht", "Warsaw", "Zagreb", "Boston")
    + ("Austin", "Denver")
)
_ASK_EXTRACT: Final = ("Extract", "As JSON")
_SENTENCES: Final = (
    "{name} is {age} and lives in {city}.",
    "{name}, {age}, comes from {city}.",
    "I am {name}, {age} years old, from {city}.",
    "In {city} lives {name}, aged {age}.",
    "At {age}, {name} moved to {city}.",
)


def _person(dice: random.Random) -> tuple[str, str, int]:
    last = dice.choice(_LAST) if dice.random() < 0.8 else _word(dice, dice.randint(4, 7)).title()
    return f"{dice.choice(_FIRST)} {last}", dice.choice(_CITIES), dice.randint(18, 89)


def _json_of(name: str, city: str, age: int) -> str:
    return json.dumps({"name": name, "city": city, "age": age}, separators=(",", ":"))


def _extract_sentence(dice: random.Random) -> tuple[str, str]:
    name, city, age = _person(dice)
    text = dice.choice(_SENTENCES).format(name=name, city=city, age=age)
    return f"{dice.choice(_ASK_EXTRACT)}: {text}", _json_of(name, city, age)


def _extract_form(dice: random.Random) -> tuple[str, str]:
    name, city, age = _person(dice)
    lines = [f"Name: {name}", f"City: {city}", f"Age: {age}"]
    dice.shuffle(lines)
    between = dice.choice(("\n", "\n", " / "))
    return f"{dice.choice(_ASK_EXTRACT)}: {between.join(lines)}", _json_of(name, city, age)


# --- reverse ---------------------------------------------------------------------------------

_ASK_REVERSE: Final = ("Reverse", "Spell backwards", "Turn around")
_VOWELS: Final = "aeiou"
_CONSONANTS: Final = "bcdfghjklmnpqrstvwxyz"


def _word(dice: random.Random, length: int) -> str:
    """Make up a word that can mostly be spoken: vowels and consonants take turns, more or less."""
    vowel = dice.random() < 0.35
    letters: list[str] = []
    for _ in range(length):
        letters.append(dice.choice(_VOWELS if vowel else _CONSONANTS))
        if dice.random() < 0.85:
            vowel = not vowel
    return "".join(letters)


def _reverse_of(length: int) -> Callable[[random.Random], tuple[str, str]]:
    def make(dice: random.Random) -> tuple[str, str]:
        word = _word(dice, length)
        return f"{dice.choice(_ASK_REVERSE)}: {word}", word[::-1]

    return make


# --- code ------------------------------------------------------------------------------------


def _code_linear(dice: random.Random) -> tuple[str, str]:
    x, times, more = dice.randint(0, 9), dice.randint(2, 6), dice.randint(0, 9)
    body, value = dice.choice(
        (
            (f"x * {times} + {more}", x * times + more),
            (f"x * {times} - {more}", x * times - more),
            (f"(x + {more}) * {times}", (x + more) * times),
        ),
    )
    return f"def f(x): return {body}\nf({x})?", str(value)


def _code_branch(dice: random.Random) -> tuple[str, str]:
    x, edge = dice.randint(0, 20), dice.randint(1, 19)
    yes, no = dice.sample(range(1, 100), 2)
    sign = dice.choice((">", "<"))
    holds = x > edge if sign == ">" else x < edge
    prompt = f"def f(x): return {yes} if x {sign} {edge} else {no}\nf({x})?"
    return prompt, str(yes if holds else no)


def _code_text(dice: random.Random) -> tuple[str, str]:
    word = _word(dice, dice.randint(3, 6))
    place = dice.randrange(3)
    body, value = dice.choice(
        (
            ("len(s)", str(len(word))),
            ("s.upper()", word.upper()),
            ("s.title()", word.title()),
            ("s * 2", word * 2),
            (f"s[{place}]", word[place]),
            ("s[-1]", word[-1]),
        ),
    )
    return f'def f(s): return {body}\nf("{word}")?', value


_LETTERS: Final[Sequence[int]] = range(3, 9)
_MAKERS: Final[Mapping[str, Mapping[str, Callable[[random.Random], tuple[str, str]]]]] = {
    "sentiment": {
        "plain": _sentiment_plain,
        "intense": _sentiment_intense,
        "negated": _sentiment_negated,
        "contrast": _sentiment_contrast,
    },
    "topic": {"direct": _topic_direct, "distracted": _topic_distracted},
    "sum": {
        "plain": _sum_where(lambda a, b: a % 10 + b % 10 < 10 and a + b < 100),
        "carry": _sum_where(lambda a, b: a % 10 + b % 10 >= 10 and a + b < 100),
        "hundred": _sum_where(lambda a, b: a + b >= 100),
    },
    "extract": {"sentence": _extract_sentence, "form": _extract_form},
    "reverse": {f"letters-{length}": _reverse_of(length) for length in _LETTERS},
    "code": {"linear": _code_linear, "branch": _code_branch, "text": _code_text},
}
