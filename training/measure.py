"""Measure every model on held-out items: `python training/measure.py --models build/models`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from answers import EXAMS, accuracies, exam_name
from recipes import RECIPES


def main() -> None:
    """Write a table: a row a model, a column a task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--items", type=int, default=300)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    columns = [exam_name(task, shape) for task, shape in EXAMS]
    _row("model", columns)
    _row("---", ["---"] * len(columns))
    for name in RECIPES:
        network = AutoModelForCausalLM.from_pretrained(chosen.models / name, dtype=torch.float32)
        found = accuracies(network, chosen.items)
        _row(f"`{name}`", [f"{found[column]:.3f}" for column in columns])


def _row(first: str, others: list[str]) -> None:
    sys.stdout.write(f"| {' | '.join([first, *others])} |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
