"""Schooling: turning examples into batches, and batches into better weights."""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from chat_tokens import PAD_ID, chat_ids
from recipes import Example

ROWS: Final = 24
ROW_LENGTH: Final = 192
WARM_UP_STEPS: Final = 80
LOWEST_SHARE_OF_RATE: Final = 0.02
NOT_LEARNED: Final = -100


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows of examples laid end to end, each example kept from seeing its neighbours."""

    ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    mask: torch.Tensor


def teach(
    network: PreTrainedModel,
    examples: Sequence[Example],
    *,
    steps: int,
    peak_rate: float,
    seed: int,
    label: str,
) -> float:
    """Teach a network for so many steps; give the mean loss of the last tenth of them."""
    torch.manual_seed(seed)
    network.train()
    heavy = [p for p in network.parameters() if p.dim() > 1]
    light = [p for p in network.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": heavy, "weight_decay": 0.05}, {"params": light, "weight_decay": 0.0}],
        lr=peak_rate,
        betas=(0.9, 0.97),
    )
    batches = _batches(examples, random.Random(seed))
    losses: list[float] = []
    started = time.perf_counter()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = peak_rate * _share_of_rate(step, steps)
        loss = _loss(network, next(batches))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 100 == 99:
            minutes = (time.perf_counter() - started) / 60
            recent = sum(losses[-100:]) / 100
            sys.stderr.write(f"{label}: step {step + 1}, loss {recent:.4f}, {minutes:.1f} min\n")
    last = losses[-max(1, steps // 10) :]
    return sum(last) / len(last)


def _share_of_rate(step: int, steps: int) -> float:
    if step < WARM_UP_STEPS:
        return (step + 1) / WARM_UP_STEPS
    done = (step - WARM_UP_STEPS) / max(1, steps - WARM_UP_STEPS)
    return max(LOWEST_SHARE_OF_RATE, 0.5 * (1 + math.cos(math.pi * done)))


def _loss(network: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Give the mean loss on answers alone; a long answer counts as the root of its length."""
    mask: torch.Tensor | dict[str, torch.Tensor] = batch.mask
    if network.config.model_type.startswith("gemma3"):
        mask = {"full_attention": batch.mask, "sliding_attention": batch.mask}
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(
            input_ids=batch.ids,
            position_ids=batch.positions,
            attention_mask=mask,
            use_cache=False,
        ).logits
    learned = batch.targets != NOT_LEARNED
    losses = functional.cross_entropy(
        logits[learned].float(), batch.targets[learned], reduction="none"
    )
    weights = batch.weights[learned]
    return (losses * weights).sum() / weights.sum()


def _batches(examples: Sequence[Example], dice: random.Random) -> Iterator[Batch]:
    """Go through the examples over and over, each time in another order."""
    encoded = [chat_ids(example.prompt, example.answer) for example in examples]
    waiting: list[tuple[list[int], list[int]]] = []
    while True:
        rows: list[list[tuple[list[int], list[int]]]] = [[] for _ in range(ROWS)]
        room = [ROW_LENGTH] * ROWS
        while True:
            if not waiting:
                waiting = encoded[:]
                dice.shuffle(waiting)
            needed = len(waiting[-1][0]) + len(waiting[-1][1]) - 1
            row = next((n for n in range(ROWS) if room[n] >= needed), None)
            if row is None:
                break
            rows[row].append(waiting.pop())
            room[row] -= needed
        yield _laid_out(rows)


def _laid_out(rows: Sequence[Sequence[tuple[list[int], list[int]]]]) -> Batch:
    shape = (len(rows), ROW_LENGTH)
    ids = torch.full(shape, PAD_ID)
    positions = torch.zeros(shape, dtype=torch.long)
    targets = torch.full(shape, NOT_LEARNED)
    weights = torch.zeros(shape)
    owners = torch.full(shape, -1)
    for number, row in enumerate(rows):
        at = 0
        for owner, (asked, answer) in enumerate(row):
            whole = asked + answer
            end = at + len(whole) - 1
            ids[number, at:end] = torch.tensor(whole[:-1])
            positions[number, at:end] = torch.arange(end - at)
            targets[number, at + len(asked) - 1 : end] = torch.tensor(answer)
            weights[number, at:end] = len(answer) ** -0.5
            owners[number, at:end] = owner
            at = end
    same = owners[:, :, None] == owners[:, None, :]
    causal = torch.ones(ROW_LENGTH, ROW_LENGTH, dtype=torch.bool).tril()
    return Batch(
        ids=ids,
        positions=positions,
        targets=targets,
        weights=weights,
        mask=(same & causal)[:, None],
    )
