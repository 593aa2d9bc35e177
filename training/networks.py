"""The two small networks: their sizes, and how a fresh one is made."""

from __future__ import annotations

from typing import Any, Final, Literal

import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from chat_tokens import END_ID, PAD_ID, START_ID, vocabulary

Architecture = Literal["llama", "gemma3"]
CONTEXT: Final = 512
FULL_EVERY: Final = 6
"""In a `gemma3` network every sixth layer sees the whole context, the others a window."""

_SHARED: Final[dict[str, Any]] = {
    "vocab_size": len(vocabulary()),
    "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": True,
    "pad_token_id": PAD_ID,
    "bos_token_id": START_ID,
    "eos_token_id": END_ID,
    "rms_norm_eps": 1e-6,
    "attention_dropout": 0.0,
    "attn_implementation": "sdpa",
}


def _layer_types(layers: int) -> list[str]:
    every = ["sliding_attention"] * (FULL_EVERY - 1) + ["full_attention"]
    return [every[number % FULL_EVERY] for number in range(layers)]


def fresh_network(architecture: Architecture, layers: int, seed: int) -> PreTrainedModel:
    """Make a network with untrained weights that the seed settles."""
    torch.manual_seed(seed)
    network: PreTrainedModel
    if architecture == "llama":
        network = LlamaForCausalLM(
            LlamaConfig(
                hidden_size=128,
                intermediate_size=320,
                num_hidden_layers=layers,
                num_attention_heads=4,
                num_key_value_heads=4,
                head_dim=32,
                rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
                initializer_range=0.05,
                **_SHARED,
            ),
        )
    else:
        network = Gemma3ForCausalLM(
            Gemma3TextConfig(
                hidden_size=96,
                intermediate_size=256,
                num_hidden_layers=layers,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=32,
                query_pre_attn_scalar=32,
                sliding_window=128,
                layer_types=_layer_types(layers),
                rope_parameters={
                    "full_attention": {"rope_type": "default", "rope_theta": 100_000.0},
                    "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
                },
                hidden_activation="gelu_pytorch_tanh",
                initializer_range=0.05,
                **_SHARED,
            ),
        )
    network.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=64,
        pad_token_id=PAD_ID,
        bos_token_id=START_ID,
        eos_token_id=END_ID,
    )
    return network
