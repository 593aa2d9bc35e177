"""Compare llama.cpp with transformers: `python training/verify.py --models build/models`.

Every model answers the same conversations in both, greedily; the answers must be the same text.
Where they differ, the report says how far apart transformers held its two best tokens: llama.cpp
rounds activations to halves, so a model that is undecided may fall to either side.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
import xllamacpp
from transformers import AutoModelForCausalLM, AutoTokenizer

from answers import EXAMS, LONGEST_ANSWER, exam_name
from chat_tokens import text_of
from checkout import lessons
from networks import CONTEXT
from recipes import RECIPES

PROMPTS_EACH: Final = 15
UNDECIDED: Final = 0.15
"""Two best logits closer than this count as undecided."""

Conversation = Sequence[dict[str, str]]

_ODD: Final[tuple[Conversation, ...]] = (
    ({"role": "user", "content": "Reverse: blåbær"},),
    ({"role": "user", "content": "Review: 🍜 was great"},),
    ({"role": "user", "content": "Ticket: \u202eÿÿ \x01 \t tabs\r\nand \x7f"},),
    ({"role": "user", "content": "  Add 12 and 13  "},),
    (
        {"role": "system", "content": "Answer in French."},
        {"role": "user", "content": "Review: the soup was great"},
    ),
    (
        {"role": "user", "content": "Add 3 and 4"},
        {"role": "assistant", "content": "7"},
        {"role": "user", "content": "Reverse: tim"},
    ),
    ({"role": "user", "content": "Ticket: " + "the parcel is late and " * 12},),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer, and the least lead that any of its tokens had over the second best."""

    text: str
    lead: float


def main() -> None:
    """Compare every model; leave with 1 where any answer differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=tuple(RECIPES), metavar="NAME")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    differing = 0
    for name in chosen.only or RECIPES:
        differing += compare(chosen.models, name)
    sys.exit(1 if differing else 0)


def compare(models: Path, name: str) -> int:
    """Compare one model and report; give the number of answers that differ without excuse."""
    conversations = _conversations()
    expected = _transformers_answers(models / name, conversations)
    answers, tokens, seconds = _llama_answers(models / f"{name}.gguf", conversations)
    pairs = list(zip(conversations, expected, answers, strict=True))
    differing = [pair for pair in pairs if pair[1].text != pair[2]]
    undecided = sum(answer.lead < UNDECIDED for _, answer, _ in differing)
    report = {
        "name": name,
        "conversations": len(pairs),
        "equal": len(pairs) - len(differing),
        "undecided": undecided,
        "tokens_per_second": round(tokens / seconds),
    }
    sys.stdout.write(json.dumps(report) + "\n")
    for conversation, ours, theirs in differing:
        asked = conversation[-1]["content"]
        sys.stdout.write(f"  {asked!r}: {ours.text!r} ({ours.lead:.3f}) became {theirs!r}\n")
    sys.stdout.flush()
    return len(differing) - undecided


def _conversations() -> list[Conversation]:
    made: list[Conversation] = list(_ODD)
    for task, shape in EXAMS:
        dice = random.Random(f"verify/{exam_name(task, shape)}")
        items = lessons.draw_many(task, dice, PROMPTS_EACH, shape=shape, split="held_out")
        made.extend(({"role": "user", "content": item.prompt},) for item in items)
    return made


def _transformers_answers(folder: Path, conversations: Sequence[Conversation]) -> list[Answer]:
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network.eval()
    answers: list[Answer] = []
    for conversation in conversations:
        asked = tokenizer.apply_chat_template(
            list(conversation), add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            made = network.generate(
                **asked,
                max_new_tokens=LONGEST_ANSWER,
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
            )
        best = torch.stack(made.logits).topk(2).values
        ids = made.sequences[0, asked["input_ids"].shape[1] :].tolist()
        answers.append(
            Answer(
                text=text_of(ids),
                lead=float((best[..., 0] - best[..., 1]).min()),
            ),
        )
    return answers


def _llama_answers(
    file: Path, conversations: Sequence[Conversation]
) -> tuple[list[str], int, float]:
    """Answer through llama.cpp's server; give the answers, their tokens and the seconds taken."""
    settings = xllamacpp.CommonParams()
    settings.model.path = str(file)
    settings.n_ctx = CONTEXT
    settings.n_parallel = 1
    settings.cpuparams.n_threads = 1
    settings.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(settings)
    answers: list[str] = []
    tokens = 0
    started = time.perf_counter()
    for conversation in conversations:
        answer: dict[str, Any] = server.handle_chat_completions(
            {
                "messages": list(conversation),
                "temperature": 0,
                "max_tokens": LONGEST_ANSWER,
            },
        )
        if "choices" not in answer:
            raise RuntimeError(f"llama.cpp refused: {answer}")
        answers.append(answer["choices"][0]["message"]["content"])
        tokens += answer["usage"]["completion_tokens"]
    return answers, tokens, time.perf_counter() - started


if __name__ == "__main__":
    main()
