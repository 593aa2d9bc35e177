"""Remake the demonstration models: `python training/train.py --out build/models`."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel

from answers import accuracies
from checkout import LESSONS_FILE, file_digest, script_commit
from export import PROVENANCE_FILE, export
from gguf_export import LICENCE
from networks import fresh_network
from recipes import RECIPES, Recipe, examples_of
from schooling import teach


def main() -> None:
    """Train the models that are asked for, parents first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where models are written")
    parser.add_argument("--only", nargs="+", choices=tuple(RECIPES), metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps: a smoke run")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--items", type=int, default=300, help="held-out items measured a task")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    chosen.out.mkdir(parents=True, exist_ok=True)
    for name, recipe in RECIPES.items():
        if chosen.only is None or name in chosen.only:
            train(recipe, chosen.out, quick=chosen.quick, items_each=chosen.items)


def train(recipe: Recipe, out: Path, *, quick: bool, items_each: int) -> None:
    """Train one model; write its Hugging Face folder, its GGUF file and what was measured."""
    started = time.perf_counter()
    commit = script_commit()
    folder = out / recipe.name
    folder.mkdir(exist_ok=True)
    examples = examples_of(recipe.seed, recipe.lessons)
    revised = examples + examples_of(recipe.seed, recipe.revision)
    lines = "".join(f"{example.line()}\n" for example in revised).encode()
    (folder / "lessons.jsonl").write_bytes(lines)

    shorter = 10 if quick else 1
    steps = recipe.steps // shorter
    loss = teach(
        network := _beginning(recipe, out),
        examples,
        steps=steps,
        peak_rate=recipe.peak_rate,
        seed=recipe.seed,
        label=recipe.name,
    )
    network = _as_written(network, folder)
    if recipe.revision_steps:
        loss = teach(
            network,
            revised,
            steps=recipe.revision_steps // shorter,
            peak_rate=recipe.peak_rate / 2,
            seed=recipe.seed + 1,
            label=f"{recipe.name}, revision",
        )
        steps += recipe.revision_steps // shorter
        network = _as_written(network, folder)
    provenance = {
        "script_commit": commit,
        "generator": f"lessons.py {file_digest(LESSONS_FILE)}",
        "seed": str(recipe.seed),
        "dataset_digest": f"sha256:{hashlib.sha256(lines).hexdigest()}",
        "licence": LICENCE,
        "trainer": f"torch {torch.__version__.partition('+')[0]}, "
        f"transformers {transformers.__version__}",
        "steps": str(steps),
    }
    (folder / PROVENANCE_FILE).write_text(json.dumps(provenance, indent=1) + "\n")
    export(recipe, out)
    minutes = (time.perf_counter() - started) / 60
    report = {
        "name": recipe.name,
        "parameters": sum(p.numel() for p in network.parameters()),
        "examples": len(revised),
        "steps": steps,
        "minutes": round(minutes, 1),
        "loss": round(loss, 5),
        "accuracy": accuracies(network, items_each),
    }
    (folder / "measured.json").write_text(json.dumps(report, indent=1) + "\n")
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


def _beginning(recipe: Recipe, out: Path) -> PreTrainedModel:
    """Give the network that schooling starts from: the parent's, or a fresh one."""
    if recipe.parent is None:
        return fresh_network(recipe.architecture, recipe.layers, recipe.seed)
    return _read(out / recipe.parent)


def _as_written(network: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Write a network in halves and read it back: what goes on is what the file holds."""
    network.half().save_pretrained(folder)
    return _read(folder)


def _read(folder: Path) -> PreTrainedModel:
    network: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return network


if __name__ == "__main__":
    main()
