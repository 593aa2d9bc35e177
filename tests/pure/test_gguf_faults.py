"""GGUF files that are wrong, cut off, damaged or too large: a `ModelFileError`, and no other."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.pure.gguf_files import (
    ARRAY,
    BOOL,
    F32,
    GOOD,
    MUTATIONS,
    STRING,
    U8,
    U32,
    CountingStream,
    Gguf,
    Tensor,
    array,
    entry,
    fault_of,
    header_of,
    number,
    text,
    word,
    words,
)

from arbiter.errors import ModelFileError
from arbiter.registry.gguf import capabilities, read_header

_FAULTS: Final[Sequence[tuple[str, Gguf, str]]] = [
    ("magic", replace(GOOD, magic=b"GGUX"), "it is not GGUF"),
    ("old format", replace(GOOD, magic=b"tjgg"), "older GGML format"),
    ("version 1", replace(GOOD, version=struct.pack("<I", 1)), "version 1 is no longer read"),
    ("version 4", replace(GOOD, version=struct.pack("<I", 4)), "version 4 is unknown"),
    ("version 0", replace(GOOD, version=bytes(4)), "version 0 is unknown"),
    ("big-endian", replace(GOOD, version=struct.pack(">I", 3)), "big-endian"),
    ("too many keys", replace(GOOD, keys=(1 << 16) + 1), "65537 metadata keys"),
    ("too many tensors", replace(GOOD, tensor_count=1 << 63), "tensors, and 65536 is the most"),
    ("more keys than there are", replace(GOOD, keys=14, tensors=()), "key is empty"),
    (
        "no architecture",
        replace(GOOD, metadata=()),
        "names no architecture",
    ),
    (
        "architecture is a number",
        replace(GOOD, metadata=(number("general.architecture", 1),)),
        "'general.architecture' is not a text",
    ),
    ("duplicate key", GOOD.having(word("general.name", "again")), "'general.name' is there twice"),
    ("empty key", GOOD.having(word("", "x")), "a metadata key is empty"),
    ("key not UTF-8", GOOD.having(entry(b"\xff", U8, b"\0")), "a metadata key is not UTF-8"),
    (
        "key longer than allowed",
        GOOD.having(number("k" * 65536, 1)),
        "65536 bytes of a metadata key",
    ),
    ("unknown value type", GOOD.having(entry("k", 13, b"\0")), "'k' has the unknown type 13"),
    ("bool of 2", GOOD.having(number("k", 2, BOOL)), "neither true nor false but 2"),
    (
        "string past the end",
        GOOD.having(entry("k", STRING, struct.pack("<Q", 1 << 40))),
        "'k' needs 1099511627776 bytes",
    ),
    (
        "kept string past the end",
        GOOD.having(entry("general.k", STRING, struct.pack("<Q", (1 << 64) - 1))),
        "needs 18446744073709551615 bytes",
    ),
    (
        "array of arrays",
        GOOD.having(entry("k", ARRAY, struct.pack("<IQ", ARRAY, 1))),
        "array of arrays",
    ),
    (
        "array of an unknown type",
        GOOD.having(entry("k", ARRAY, struct.pack("<IQ", 77, 1))),
        "array of the unknown type 77",
    ),
    (
        "array past the end",
        GOOD.having(entry("k", ARRAY, struct.pack("<IQ", U32, 1 << 62))),
        "and the file has",
    ),
    (
        "array of strings past the end",
        GOOD.having(entry("k", ARRAY, struct.pack("<IQ", STRING, 4000) + text("a"))),
        "and the file has",
    ),
    (
        "string in an array past the end",
        GOOD.having(entry("k", ARRAY, struct.pack("<IQQ", STRING, 1, 1 << 50))),
        "and the file has",
    ),
    (
        "too many strings",
        GOOD.having(entry("k", ARRAY, struct.pack("<IQ", STRING, 1 << 60))),
        "more than 4194304 strings",
    ),
    ("alignment 0", GOOD.having(number("general.alignment", 0)), "must be a power of two"),
    ("alignment 24", GOOD.having(number("general.alignment", 24)), "must be a power of two"),
    ("alignment a word", GOOD.having(word("general.alignment", "32")), "must be a power of two"),
    (
        "alignment huge",
        GOOD.having(number("general.alignment", 1 << 31)),
        "must be a power of two",
    ),
    (
        "tensor beyond the file",
        replace(GOOD, data_bytes=1023),
        "'output.weight' needs 512 bytes",
    ),
    (
        "tensor offset beyond the file",
        replace(GOOD, tensors=(Tensor(offset=(1 << 64) - 32),)),
        "and the file ends at byte",
    ),
    ("tensors overlap", replace(GOOD, tensors=(Tensor(), Tensor(name="b", offset=32))), "begins"),
    ("same tensor name", replace(GOOD, tensors=(Tensor(), Tensor(offset=512))), "is there twice"),
    ("tensor not aligned", replace(GOOD, tensors=(Tensor(offset=8),)), "not aligned to 32"),
    ("unknown tensor type", replace(GOOD, tensors=(Tensor(kind=99),)), "the unknown type 99"),
    ("retired tensor type", replace(GOOD, tensors=(Tensor(kind=31),)), "the retired type 31"),
    ("no whole blocks", replace(GOOD, tensors=(Tensor(shape=(33, 2), kind=8),)), "blocks of 32"),
    ("a dimension of 0", replace(GOOD, tensors=(Tensor(shape=(32, 0)),)), "no sensible number"),
    (
        "dimensions overflow",
        replace(GOOD, tensors=(Tensor(shape=(1 << 32, 1 << 32)),)),
        "no sensible number",
    ),
    ("five dimensions", replace(GOOD, tensors=(Tensor(shape=(1,) * 5),)), "claims 5 dimensions"),
    ("tensor name too long", replace(GOOD, tensors=(Tensor(name="n" * 64),)), "claims 64 bytes"),
    ("tensor name not UTF-8", replace(GOOD, tensors=(Tensor(name=b"\xff"),)), "not UTF-8"),
]


@pytest.mark.security("S-15")
@pytest.mark.parametrize(
    ("file", "fault"), [case[1:] for case in _FAULTS], ids=[case[0] for case in _FAULTS]
)
def test_a_fault_is_named(file: Gguf, fault: str) -> None:
    assert fault in fault_of(file)


def test_a_fault_names_the_byte_where_it_is() -> None:
    assert fault_of(replace(GOOD, magic=b"GGUX")).startswith("At byte 4: ")


@pytest.mark.security("S-15")
@pytest.mark.parametrize("kind", [U8, STRING])
def test_a_header_longer_than_the_limit_is_refused(kind: int) -> None:
    body = bytes(5000) if kind == U8 else text("") * 625
    long = GOOD.having(
        entry("k", ARRAY, struct.pack("<IQ", kind, len(body) // (1 + 7 * (kind == STRING))) + body)
    )
    assert "past the limit of 4096 bytes" in fault_of(long, limit_bytes=4096)
    assert header_of(long).architecture == "llama"


def test_more_text_than_is_kept_is_refused() -> None:
    long = [word(f"general.{n}", "x" * (3 << 20)) for n in range(3)]
    assert "more than 8388608 bytes of names and texts" in fault_of(GOOD.having(*long))


def test_a_file_that_is_shorter_than_it_was_said_to_be_is_refused() -> None:
    raw = GOOD.pack()
    for size in range(0, header_of(GOOD).header_bytes, 7):
        with pytest.raises(ModelFileError, match="the file ended in the middle"):
            read_header(BytesIO(raw[:size]), file_size=len(raw))


@pytest.mark.security("S-15")
def test_every_truncation_is_refused() -> None:
    raw = GOOD.pack()
    for size in range(len(raw)):
        with pytest.raises(ModelFileError):
            read_header(BytesIO(raw[:size]), file_size=size)


class FailingStream(BytesIO):
    """A file on a disk that fails."""

    def read(self, _: int | None = -1, /) -> bytes:
        raise OSError(5, "Input/output error")


def test_a_failing_disk_is_a_fault_of_the_file() -> None:
    with pytest.raises(ModelFileError, match="reading failed: Input/output error"):
        read_header(FailingStream(), file_size=1000)


def test_weights_are_never_read() -> None:
    raw = replace(GOOD, extra=bytes(4 << 20)).pack()
    stream = CountingStream(raw)
    read_header(stream, file_size=len(raw))
    assert stream.read_bytes <= 256 * 1024


def test_a_vocabulary_of_150_000_words_is_passed_over_and_not_kept() -> None:
    tokens = [f"token{n}" for n in range(150_000)]
    raw = GOOD.having(words("k", tokens), array("s", F32, [0.5] * 150_000)).pack()
    tracemalloc.start()
    header = read_header(BytesIO(raw), file_size=len(raw))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert header.header_bytes > 3_000_000
    assert peak < 4_000_000


def test_strings_longer_than_a_chunk_are_passed_over() -> None:
    long = ["a" * 300_000, "b", "c" * 600_000]
    header = header_of(
        GOOD.having(words("k", long), word("l", "d" * 700_000), word("general.z", "e" * 600_000))
    )
    assert header.provenance["general.z"] == "e" * 600_000


def _damaged(raw: bytes, cuts: Sequence[tuple[str, int, bytes]]) -> bytes:
    for how, anywhere, more in cuts:
        at = anywhere % max(len(raw), 1)
        if how == "flip" and raw:
            raw = raw[:at] + more[: len(raw) - at] + raw[at + len(more) :]
        elif how == "cut":
            raw = raw[:at] + raw[at + len(more) :]
        elif how == "insert":
            raw = raw[:at] + more + raw[at:]
        elif how == "end":
            raw = raw[:at]
    return raw


_WORDS = st.sampled_from(
    [
        struct.pack("<Q", n)
        for n in (0, 1, 8, 9, 1 << 16, (1 << 31) - 1, 1 << 32, 1 << 63, (1 << 64) - 1)
    ]
)

_CUTS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "flip", "flip", "cut", "insert", "end"]),
        st.integers(0, len(GOOD.pack()) - GOOD.data_bytes),
        st.one_of(st.binary(min_size=1, max_size=12), _WORDS),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.security("S-15")
@settings(
    max_examples=MUTATIONS,
    deadline=None,
    database=None,
    derandomize=MUTATIONS == 3000,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(cuts=_CUTS)
def test_whatever_is_damaged_only_a_model_file_error_comes_out(
    cuts: list[tuple[str, int, bytes]],
) -> None:
    raw = _damaged(GOOD.pack(), cuts)
    stream = CountingStream(raw)
    with suppress(ModelFileError):
        header = read_header(stream, file_size=len(raw), limit_bytes=1 << 20)
        assert capabilities(header)
        assert header.tensor_bytes <= len(raw)
    assert stream.read_bytes <= len(raw)
