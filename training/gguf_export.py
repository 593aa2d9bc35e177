"""Writing a trained network as one GGUF file that llama.cpp loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import gguf
import numpy as np
import torch
from transformers import PreTrainedModel

from chat_tokens import (
    CHAT_TEMPLATE,
    END_ID,
    NEVER_MERGED,
    PAD_ID,
    SPECIALS,
    START_ID,
    UNUSED,
    vocabulary,
)
from networks import CONTEXT, FULL_EVERY

AUTHOR: Final = "The Arbiter contributors"
LICENCE: Final = "Apache-2.0"

_BLOCK_PARTS: Final = {
    "llama": {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    },
    "gemma3": {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "post_attention_norm",
        "pre_feedforward_layernorm": "ffn_norm",
        "post_feedforward_layernorm": "post_ffw_norm",
        "self_attn.q_norm": "attn_q_norm",
        "self_attn.k_norm": "attn_k_norm",
    },
}
_SHARED_PARTS: Final = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(
    path: Path,
    network: PreTrainedModel,
    *,
    name: str,
    basename: str,
    version: str,
    description: str,
    notes: Mapping[str, str],
) -> None:
    """Write weights, tokenizer, template and provenance; `notes` are the keys under `arbiter.`."""
    architecture = "gemma3" if network.config.model_type.startswith("gemma3") else "llama"
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(name)
    writer.add_author(AUTHOR)
    writer.add_license(LICENCE)
    writer.add_basename(basename)
    writer.add_version(version)
    writer.add_description(description)
    writer.add_languages(["en"])
    for key, value in sorted(notes.items()):
        writer.add_string(f"arbiter.{key}", value)
    _add_sizes(writer, network, architecture)
    _add_tokenizer(writer)
    for tensor_name, values in _tensors(network, architecture):
        writer.add_tensor(tensor_name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_sizes(writer: gguf.GGUFWriter, network: PreTrainedModel, architecture: str) -> None:
    config = network.config
    writer.add_context_length(CONTEXT)
    writer.add_vocab_size(config.vocab_size)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    if architecture == "llama":
        writer.add_rope_dimension_count(config.head_dim)
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
        return
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope["full_attention"]["rope_theta"])
    writer.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
    writer.add_sliding_window(config.sliding_window)
    writer.add_sliding_window_pattern(FULL_EVERY)


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    tokens = vocabulary()
    kinds = [
        gguf.TokenType.CONTROL
        if token in SPECIALS
        else gguf.TokenType.UNUSED
        if token in UNUSED
        else gguf.TokenType.NORMAL
        for token in tokens
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(list(tokens))
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(NEVER_MERGED)])
    writer.add_bos_token_id(START_ID)
    writer.add_eos_token_id(END_ID)
    writer.add_eot_token_id(END_ID)
    writer.add_pad_token_id(PAD_ID)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _tensors(network: PreTrainedModel, architecture: str) -> list[tuple[str, np.ndarray]]:
    config = network.config
    state = network.state_dict()
    norm_shift = 1.0 if architecture == "gemma3" else 0.0

    def matrix(key: str) -> torch.Tensor:
        return state[f"model.{key}.weight"].detach().float()

    def norm(key: str) -> np.ndarray:
        return (matrix(key) + norm_shift).numpy().astype(np.float32)

    tensors = [
        ("token_embd.weight", matrix("embed_tokens").numpy().astype(np.float16)),
        ("output_norm.weight", norm("norm")),
    ]
    for block in range(config.num_hidden_layers):
        for source, target in _BLOCK_PARTS[architecture].items():
            tensors.append((f"blk.{block}.{target}.weight", norm(f"layers.{block}.{source}")))
        for source, target in _SHARED_PARTS.items():
            values = matrix(f"layers.{block}.{source}")
            if architecture == "llama" and target == "attn_q":
                values = _paired(values, config.num_attention_heads)
            if architecture == "llama" and target == "attn_k":
                values = _paired(values, config.num_key_value_heads)
            tensors.append((f"blk.{block}.{target}.weight", values.numpy().astype(np.float16)))
    return tensors


def _paired(values: torch.Tensor, heads: int) -> torch.Tensor:
    """Put the two halves that rotary positions turn together side by side, as `llama` wants."""
    rows, columns = values.shape
    halves = values.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns).contiguous()
