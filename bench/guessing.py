"""Guessing a task: what a guess costs, and how often it is right on prompts that were not seen.

`make bench` measures the cost, on the demonstration's prompts. With a file of labelled prompts

    python -m bench.guessing CORPUS.jsonl [--seeds 5] [--level 0.8]

prints how guesses get better with what was learned: one JSON object a line, ``task``, ``prompt``
and, if the task has one, ``parent``. Prompts that differ in letters' case or spaces only count
once. A quarter is kept aside and asked; the rest is learned from, one request at a time.
"""

from __future__ import annotations

import argparse
import json
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from statistics import mean

from bench.figures import Figure, quantile

from arbiter.demo import lessons
from arbiter.inference import Chat, Message
from arbiter.knowledge.guess import best_guess
from arbiter.knowledge.kinds import Kinds
from arbiter.knowledge.traits import traits
from arbiter.refs import TaskName

AREA = "guessing"
SEED = 20260101
LEVEL = 0.8
MARKS = (50, 200, 1_000, 3_000)
BLOCK = 40
"""Requests of one task in a row, where tasks come in blocks."""

RUN = 4
COMMON = 0.02
"""A run of words that so many prompts of its task have is taken for the task's template."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A prompt, with its task and the parent of that."""

    task: TaskName
    prompt: str
    parent: TaskName | None = None
    traits: tuple[int, ...] = ()


def _work(prompt: str) -> Chat:
    return Chat(messages=(Message(role="user", content=prompt),))


def _microseconds(kinds: Kinds, prompt: str, times: int) -> list[float]:
    """Of whole guesses, on this thread's CPU clock."""
    found = []
    work = _work(prompt)
    for _ in range(times):
        begun = time.thread_time_ns()
        best_guess(kinds.predict(traits(work)), least=LEVEL)
        found.append((time.thread_time_ns() - begun) / 1e3)
    return found


def _schooled(tasks: int, spent: list[float]) -> Kinds:
    """Forty lessons a task, no two alike. spent: takes the microseconds of each."""
    dice, kinds = Random(SEED), Kinds()
    for number in range(tasks * 40):
        item = lessons.draw(lessons.TASKS[number % tasks % len(lessons.TASKS)], dice)
        found = traits(_work(f"{item.prompt} {dice.randrange(16**8):x}"))
        begun = time.thread_time_ns()
        kinds.learn_one(found, TaskName(f"task-{number % tasks}"))
        spent.append((time.thread_time_ns() - begun) / 1e3)
    return kinds


def measure(times: int) -> list[Figure]:
    """What guessing and learning cost, with 14 and with 100 tasks that were learned."""
    figures, dice = [], Random(SEED)
    words = " ".join([lessons.draw(dice.choice(lessons.TASKS), dice).prompt for _ in range(40_000)])
    for tasks in (14, 100):
        tracemalloc.start()
        kept = _schooled(tasks, [])
        held = tracemalloc.get_traced_memory()[0] / 1e6
        tracemalloc.stop()
        del kept
        learning: list[float] = []
        kinds = _schooled(tasks, learning)
        for what, letters in (("100 letters", 100), ("600 letters", 600), ("1 MB", 1_000_000)):
            spent = _microseconds(kinds, words[:letters], times)
            target = 100.0 if letters == 100 else None
            name = f"a guess among {tasks} tasks, {what}"
            how = f"median of {times}"
            figures.append(_cost(name, quantile(spent, 0.5), how, target))
        figures.append(_cost(f"a lesson, {tasks} tasks", quantile(learning, 0.5), "median"))
        figures.append(
            Figure(area=AREA, name=f"memory of {tasks} tasks", value=held, unit="MB",
                   method="tracemalloc, 40 lessons a task")
        )  # fmt: skip
    return figures


def _cost(name: str, value: float, how: str, target: float | None = None) -> Figure:
    method = f"{how}; the demonstration's prompts, thread CPU clock"
    return Figure(area=AREA, name=name, value=value, unit="us", target=target, method=method)


def _read(path: Path) -> list[Labelled]:
    found: dict[str, Labelled] = {}
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.strip():
            one = json.loads(line)
            key = " ".join(one["prompt"].lower().split())
            parent = TaskName(one["parent"]) if one.get("parent") else None
            found.setdefault(
                key, Labelled(task=TaskName(one["task"]), prompt=one["prompt"], parent=parent)
            )
    return list(found.values())


def _runs(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    folded = ["0" if word.isdigit() else word.lower() for word in words]
    return zip(*[folded[place:] for place in range(RUN)], strict=False)


def _bare(corpus: Sequence[Labelled]) -> list[Labelled]:
    """The prompts without the words of their task's templates; those that are then empty go."""
    sizes = Counter(one.task for one in corpus)
    shared: Counter[tuple[TaskName, tuple[str, ...]]] = Counter()
    for one in corpus:
        shared.update({(one.task, run) for run in _runs(one.prompt.split())})
    found = []
    for one in corpus:
        words = one.prompt.split()
        gone = {
            place + further
            for place, run in enumerate(_runs(words))
            if shared[one.task, run] >= max(3, COMMON * sizes[one.task])
            for further in range(RUN)
        }
        left = " ".join([word for place, word in enumerate(words) if place not in gone])
        if left:
            found.append(replace(one, prompt=left))
    return found


def _blocks(learned: Sequence[Labelled], dice: Random) -> list[Labelled]:
    left: dict[TaskName, list[Labelled]] = {}
    for one in learned:
        left.setdefault(one.task, []).append(one)
    found: list[Labelled] = []
    while left:
        task = dice.choice(sorted(left))
        found += left[task][:BLOCK]
        left[task] = left[task][BLOCK:]
        if not left[task]:
            del left[task]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How guesses at unseen prompts went. best: whether the most probable task was the right one.

    error: the expected calibration error of the most probable task's probability, ten bins.
    """

    best: float
    guessed: float
    right: float
    error: float
    parents: float
    parents_right: float


def _score(kinds: Kinds, asked: Sequence[Labelled], level: float) -> Score:
    parents = {one.task: one.parent for one in asked if one.parent}
    bins: dict[int, list[float]] = {}
    best = made = right = above = above_right = 0
    for one in asked:
        found = kinds.predict(one.traits)
        name = max(found, key=lambda task: (found[task], task)) if found else TaskName("")
        told = bins.setdefault(min(9, int(10 * found.get(name, 0.0))), [0.0, 0.0])
        told[0] += found.get(name, 0.0)
        told[1] += name == one.task
        best += name == one.task
        guess = best_guess(found, least=level, parents=parents)
        if guess is not None and guess.task in found:
            made += 1
            right += guess.task == one.task
        elif guess is not None:
            above += 1
            above_right += guess.task == one.parent
    n = len(asked)
    return Score(
        best=best / n,
        guessed=made / n,
        right=right / made if made else 1.0,
        error=sum(abs(said - was) for said, was in bins.values()) / n,
        parents=above / n,
        parents_right=above_right / above if above else 1.0,
    )


def _curve(corpus: Sequence[Labelled], seeds: int, level: float, *, blocks: bool = False) -> None:
    scores: dict[int, list[Score]] = {}
    for seed in range(seeds):
        dice = Random(seed)
        mixed = dice.sample(corpus, len(corpus))
        asked, learned = mixed[: len(mixed) // 4], mixed[len(mixed) // 4 :]
        kinds = Kinds()
        for number, one in enumerate(_blocks(learned, dice) if blocks else learned, start=1):
            kinds.learn_one(one.traits, one.task)
            if number in MARKS:
                scores.setdefault(number, []).append(_score(kinds, asked, level))
    for number, found in scores.items():
        _tell(f"{number:,} labelled", found)


def _strangers(corpus: Sequence[Labelled], seeds: int, level: float, *, hidden: int) -> None:
    """Some tasks are never named; one request in five is of one of them."""
    scores: dict[int, list[Score]] = {}
    for seed in range(seeds):
        dice = Random(seed)
        away = set(dice.sample(sorted({one.task for one in corpus}), hidden))
        mixed = dice.sample(corpus, len(corpus))
        asked, learned = mixed[: len(mixed) // 4], mixed[len(mixed) // 4 :]
        known = [one for one in asked if one.task not in away]
        strange = [one for one in asked if one.task in away]
        many = min(len(known) // 4, len(strange))
        kinds = Kinds()
        for number, one in enumerate([one for one in learned if one.task not in away], start=1):
            kinds.learn_one(one.traits, one.task)
            if number in MARKS:
                scores.setdefault(number, []).append(
                    _score(kinds, known[: 4 * many] + strange[:many], level)
                )
    for number, found in scores.items():
        _tell(f"{number:,} labelled", found)


def _tell(name: str, scores: Sequence[Score]) -> None:
    print(
        f"  {name:16} best {mean(s.best for s in scores):.3f}"
        f"  guessed {mean(s.guessed for s in scores):.3f}"
        f"  right {mean(s.right for s in scores):.3f}"
        f"  calibration error {mean(s.error for s in scores):.3f}"
        f"  and by parent {mean(s.parents for s in scores):.3f}"
        f" right {mean(s.parents_right for s in scores):.3f}"
    )


def main() -> None:
    """Measure on a file of labelled prompts."""
    parser = argparse.ArgumentParser(prog="python -m bench.guessing", description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--level", type=float, default=LEVEL, help="selection.guess_confidence")
    chosen = parser.parse_args()
    read = _read(chosen.corpus)
    for title, prompts in (("whole prompts", read), ("without templates", _bare(read))):
        corpus = [replace(one, traits=traits(_work(one.prompt))) for one in prompts]
        print(f"{title}: {len(corpus)} prompts of {len({one.task for one in corpus})} tasks")
        print(" in any order")
        _curve(corpus, chosen.seeds, chosen.level)
        print(f" in blocks of {BLOCK} of one task")
        _curve(corpus, chosen.seeds, chosen.level, blocks=True)
        for hidden in (3, 7):
            print(f" {hidden} tasks were never named, one request in five is of one of them")
            _strangers(corpus, chosen.seeds, chosen.level, hidden=hidden)


if __name__ == "__main__":
    main()
