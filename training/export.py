"""Write GGUF files of trained models: `python training/export.py --models build/models`.

Training does this itself; alone, it rewrites the files after a change to how they are written.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from chat_tokens import make_tokenizer
from checkout import file_digest, script_commit
from gguf_export import write_gguf
from networks import CONTEXT
from recipes import RECIPES, Recipe

PROVENANCE_FILE = "provenance.json"


def main() -> None:
    """Write the files that are asked for, parents first: a child names its parent's digest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=tuple(RECIPES), metavar="NAME")
    chosen = parser.parse_args()
    for name, recipe in RECIPES.items():
        if chosen.only is None or name in chosen.only:
            path = export(recipe, chosen.models)
            sys.stdout.write(f"{path} {file_digest(path)}\n")


def export(recipe: Recipe, models: Path) -> Path:
    """Write a trained model's tokenizer and GGUF file from its Hugging Face folder."""
    folder = models / recipe.name
    path = models / f"{recipe.name}.gguf"
    make_tokenizer(CONTEXT).save_pretrained(folder)
    provenance: dict[str, str] = json.loads((folder / PROVENANCE_FILE).read_text())
    provenance["base"] = _base(recipe, models)
    provenance["export_commit"] = script_commit()
    notes = {f"provenance.{key}": value for key, value in provenance.items()}
    write_gguf(
        path,
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        name=recipe.name,
        basename=recipe.basename,
        version=recipe.version,
        description=recipe.description,
        notes={"specialization": recipe.specialization, **notes},
    )
    return path


def _base(recipe: Recipe, models: Path) -> str:
    if recipe.parent is None:
        return "none"
    return f"{recipe.parent} {file_digest(models / f'{recipe.parent}.gguf')}"


if __name__ == "__main__":
    main()
