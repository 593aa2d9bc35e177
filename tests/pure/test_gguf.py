"""The GGUF reader: what it reads, every fault it names, and that nothing else ever comes out."""

from __future__ import annotations

import math
import struct
from dataclasses import replace

import pytest
from tests.pure.gguf_files import (
    BOOL,
    F64,
    GOOD,
    I8,
    I16,
    I32,
    I64,
    TEMPLATE,
    U8,
    U16,
    U32,
    U64,
    Gguf,
    Tensor,
    array,
    header_of,
    number,
    word,
    words,
)

from arbiter.registry.gguf import capabilities


def test_a_good_file_tells_what_it_is() -> None:
    header = header_of(GOOD)
    assert (header.gguf_version, header.architecture, header.name) == (3, "llama", "Tiny")
    assert (header.licence, header.quantization) == ("apache-2.0", "Q4_K_M")
    assert (header.context_length, header.block_count, header.embedding_length) == (512, 3, 64)
    assert (header.head_count, header.head_count_kv, header.vocabulary_size) == (4, 2, 3)
    assert (header.parameter_count, header.tensor_bytes, header.tensor_count) == (256, 1024, 2)
    assert header.chat_template == TEMPLATE
    assert (header.kind, header.part, header.parts) == ("model", 1, 1)


def test_version_2_is_read_as_well() -> None:
    assert header_of(replace(GOOD, version=struct.pack("<I", 2))).gguf_version == 2


def test_provenance_is_every_word_and_number_of_general_and_arbiter() -> None:
    header = header_of(
        GOOD.having(
            number("general.quality", 0.5, F64),
            number("general.broken", math.nan, F64),
            words("general.tags", ["a"]),
            word("tokenizer.ggml.model", "gpt2"),
        )
    )
    assert dict(header.provenance) == {
        "general.architecture": "llama",
        "general.name": "Tiny",
        "general.license": "apache-2.0",
        "arbiter.provenance.seed": "7",
        "general.file_type": 15,
        "general.quality": 0.5,
    }


def test_what_a_file_does_not_say_is_none() -> None:
    header = header_of(replace(GOOD, metadata=(word("general.architecture", "llama"),)))
    assert header.name is None
    assert header.context_length is None
    assert header.head_count is None
    assert header.vocabulary_size is None
    assert header.chat_template is None
    assert header.kv_bytes_per_token_estimate is None


def test_without_a_file_type_the_type_of_most_elements_names_the_quantization() -> None:
    tensors = (Tensor(shape=(32, 1)), Tensor(name="b", shape=(32, 9), kind=8, offset=128))
    file = Gguf(metadata=(word("general.architecture", "x"),), tensors=tensors)
    assert header_of(file).quantization == "Q8_0"
    assert header_of(file.having(number("general.file_type", 999))).quantization == "Q8_0"


def test_a_name_that_is_not_utf_8_in_a_text_is_shown_with_its_fault() -> None:
    metadata = (word("general.architecture", "x"), word("general.name", b"a\xffb"))
    assert header_of(Gguf(metadata=metadata)).name == "a\ufffdb"


def test_every_kind_of_number_is_read() -> None:
    kinds = (U8, I8, U16, I16, U32, I32, U64, I64, BOOL)
    more = [number(f"general.n{kind}", 1, kind) for kind in kinds]
    found = header_of(GOOD.having(*more)).provenance
    assert [found[f"general.n{kind}"] for kind in kinds] == [1] * len(kinds)
    assert found[f"general.n{BOOL}"] is True


def test_the_cache_estimate_sums_layers_heads_and_both_lengths() -> None:
    # 3 layers * 2 heads * (16 + 16) * 2 bytes, with a head length of 64 / 4.
    assert header_of(GOOD).kv_bytes_per_token_estimate == 3 * 2 * 32 * 2


def test_the_cache_estimate_takes_heads_layer_by_layer_where_they_differ() -> None:
    metadata = (
        word("general.architecture", "x"),
        number("x.block_count", 3),
        array("x.attention.head_count_kv", I32, [4, 0, 2]),
        number("x.attention.key_length", 8),
        number("x.attention.value_length", 8),
    )
    assert header_of(Gguf(metadata=metadata)).kv_bytes_per_token_estimate == 6 * 16 * 2


def test_a_compressed_cache_has_no_estimate() -> None:
    file = GOOD.having(number("llama.attention.kv_lora_rank", 512))
    assert header_of(file).kv_bytes_per_token_estimate is None


def test_a_part_of_a_split_model_says_so() -> None:
    header = header_of(GOOD.having(number("split.no", 1, U16), number("split.count", 3, U16)))
    assert (header.part, header.parts) == (2, 3)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ((), {"completion"}),
        ((word("tokenizer.chat_template", TEMPLATE),), {"completion", "chat"}),
        (
            (word("tokenizer.chat_template", "{% if tools %}{% endif %}"),),
            {"completion", "chat", "tools"},
        ),
        ((word("tokenizer.chat_template", "toolshed"),), {"completion", "chat"}),
        ((number("x.pooling_type", 3), word("tokenizer.chat_template", "t")), {"embedding"}),
        ((number("x.pooling_type", 4),), {"rerank"}),
        ((number("x.pooling_type", 0),), {"completion"}),
    ],
)
def test_capabilities_are_what_the_file_shows(more: tuple[bytes, ...], expected: set[str]) -> None:
    file = Gguf(metadata=(word("general.architecture", "x"), *more))
    assert capabilities(header_of(file)) == expected


def test_an_encoder_makes_embeddings_whatever_else_it_says() -> None:
    file = Gguf(metadata=(word("general.architecture", "nomic-bert"),))
    assert capabilities(header_of(file)) == {"embedding"}
