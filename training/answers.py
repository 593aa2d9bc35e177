"""Asking a Hugging Face network: greedy answers, and how many of them are right."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

import torch
from transformers import PreTrainedModel

from chat_tokens import PAD_ID, chat_ids, text_of
from checkout import lessons

EXAM_SEED: Final = 20_001
LONGEST_ANSWER: Final = 64
EXAMS: Final = (*((task, None) for task in lessons.TASKS), ("extract", "form"))
"""What is measured: each task in its stored shapes, and forms beside them."""


def exam_name(task: str, shape: str | None) -> str:
    """Name one column of the accuracy table."""
    return task if shape is None else f"{task}/{shape}"


def greedy_answers(network: PreTrainedModel, prompts: Sequence[str]) -> list[str]:
    """Answer prompts greedily, many at a time."""
    network.eval()
    asked = [chat_ids(prompt, "")[0] for prompt in prompts]
    longest = max(map(len, asked))
    ids = torch.tensor([[PAD_ID] * (longest - len(row)) + row for row in asked])
    with torch.inference_mode():
        made = network.generate(
            ids,
            attention_mask=(ids != PAD_ID).long(),
            max_new_tokens=LONGEST_ANSWER,
            do_sample=False,
        )
    return [text_of(row[longest:].tolist()) for row in made]


def accuracies(network: PreTrainedModel, items_each: int) -> dict[str, float]:
    """Measure a network on held-out items of every task; an answer must match exactly."""
    found: dict[str, float] = {}
    for task, shape in EXAMS:
        dice = random.Random(f"{EXAM_SEED}/{exam_name(task, shape)}")
        items = lessons.draw_many(task, dice, items_each, shape=shape, split="held_out")
        answers = greedy_answers(network, [item.prompt for item in items])
        right = sum(a.strip() == item.expected for a, item in zip(answers, items, strict=True))
        found[exam_name(task, shape)] = right / len(items)
    return found
