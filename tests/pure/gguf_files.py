"""GGUF files as tests need them, and what is read of them."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Final

import pytest

from arbiter.errors import ModelFileError
from arbiter.registry.gguf import LIMIT_BYTES, GgufHeader, read_header

MUTATIONS: Final = int(os.environ.get("ARBITER_GGUF_MUTATIONS", "3000"))
"""How many damaged headers are tried; raise it for a long run."""

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)

_FORMS = {
    U8: "B",
    I8: "b",
    U16: "H",
    I16: "h",
    U32: "I",
    I32: "i",
    F32: "f",
    BOOL: "B",
    U64: "Q",
    I64: "q",
    F64: "d",
}

TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def entry(key: str | bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def word(key: str, value: str | bytes) -> bytes:
    return entry(key, STRING, text(value))


def number(key: str, value: float, kind: int = U32) -> bytes:
    return entry(key, kind, struct.pack("<" + _FORMS[kind], value))


def array(key: str, kind: int, items: Sequence[float]) -> bytes:
    body = b"".join(struct.pack("<" + _FORMS[kind], item) for item in items)
    return entry(key, ARRAY, struct.pack("<IQ", kind, len(items)) + body)


def words(key: str, items: Sequence[str]) -> bytes:
    return entry(
        key, ARRAY, struct.pack("<IQ", STRING, len(items)) + b"".join(text(i) for i in items)
    )


@dataclass(frozen=True, kw_only=True)
class Tensor:
    name: str | bytes = "token_embd.weight"
    shape: tuple[int, ...] = (32, 4)
    kind: int = 0
    offset: int = 0

    def pack(self) -> bytes:
        return (
            text(self.name)
            + struct.pack(f"<I{len(self.shape)}Q", len(self.shape), *self.shape)
            + struct.pack("<IQ", self.kind, self.offset)
        )


METADATA: Final = (
    word("general.architecture", "llama"),
    word("general.name", "Tiny"),
    word("general.license", "apache-2.0"),
    word("arbiter.provenance.seed", "7"),
    number("general.file_type", 15),
    number("llama.context_length", 512),
    number("llama.block_count", 3),
    number("llama.embedding_length", 64),
    number("llama.attention.head_count", 4),
    number("llama.attention.head_count_kv", 2),
    words("tokenizer.ggml.tokens", ["<s>", "a", "b"]),
    array("tokenizer.ggml.scores", F32, [0.0, -1.0, -2.0]),
    word("tokenizer.chat_template", TEMPLATE),
)


@dataclass(frozen=True, kw_only=True)
class Gguf:
    """A GGUF file to be written, right or wrong."""

    magic: bytes = b"GGUF"
    version: bytes = struct.pack("<I", 3)
    metadata: tuple[bytes, ...] = METADATA
    tensors: tuple[Tensor, ...] = (Tensor(), Tensor(name="output.weight", offset=512))
    data_bytes: int = 1024
    alignment: int = 32
    keys: int | None = None
    tensor_count: int | None = None
    extra: bytes = field(default=b"")

    def pack(self) -> bytes:
        header = (
            self.magic
            + self.version
            + struct.pack(
                "<QQ",
                len(self.tensors) if self.tensor_count is None else self.tensor_count,
                len(self.metadata) if self.keys is None else self.keys,
            )
            + b"".join(self.metadata)
            + b"".join(tensor.pack() for tensor in self.tensors)
        )
        return header + bytes(-len(header) % self.alignment) + bytes(self.data_bytes) + self.extra

    def having(self, *more: bytes) -> Gguf:
        return replace(self, metadata=self.metadata + more)


GOOD: Final = Gguf()


class CountingStream(BytesIO):
    """A file that counts what was read of it."""

    read_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.read_bytes += len(found)
        return found


def header_of(file: Gguf, *, limit_bytes: int = LIMIT_BYTES) -> GgufHeader:
    raw = file.pack()
    return read_header(BytesIO(raw), file_size=len(raw), limit_bytes=limit_bytes)


def fault_of(file: Gguf, *, limit_bytes: int = LIMIT_BYTES) -> str:
    with pytest.raises(ModelFileError) as caught:
        header_of(file, limit_bytes=limit_bytes)
    return caught.value.sentence
