"""The header of a GGUF file, read without trusting a byte of it.

A loader written in C believes the counts, lengths and offsets that it finds, and files have been
made to abuse that; so no file reaches an engine before it has passed here. The reader is pure:
it takes a stream, reads no further than the header and a stated limit, keeps no more than a
stated amount of text, and raises nothing but `ModelFileError`. It never renders a template and
never looks at a weight.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Block sizes and the names
of the types are those of ggml (``gguf-py/gguf/constants.py``).
"""

from __future__ import annotations

import math
import re
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final

from arbiter.errors import ModelFileError
from arbiter.registry.bounded import U64, Cursor
from arbiter.registry.ggml import FILE_TYPES, RETIRED_TYPES, TENSOR_TYPES

MAGIC: Final = b"GGUF"
OLD_MAGICS: Final = frozenset({b"tjgg", b"lmgg", b"fmgg", b"algg"})
"""What the files began with that llama.cpp wrote before GGUF."""
LIMIT_BYTES: Final = 64 * 1024 * 1024
"""No header is longer than this; those of the largest vocabularies are about 16 MB."""

_ENTRIES = 1 << 16
"""Most metadata keys, and most tensors."""
_KEPT_NUMBERS = 1024
"""Arrays of numbers up to this length are kept: some say a number for each layer."""
_TENSOR_NAME = 63
_DIMENSIONS = 4
_PLAUSIBLE = 1 << 31
"""No layer count, head count or context length reaches this."""


_U32 = struct.Struct("<I")
_TENSOR_TAIL = struct.Struct("<IQ")
_BOOL, _STRING, _ARRAY = 7, 8, 9
_NUMBERS: Final[Mapping[int, struct.Struct]] = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: _U32,
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    _BOOL: struct.Struct("<B"),
    10: U64,
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}

_EMBEDDER_NAMES = (
    "bert nomic-bert nomic-bert-moe jina-bert-v2 jina-bert-v3 modern-bert neo-bert eurobert "
    "t5encoder gemma-embedding"
)
_EMBEDDERS = frozenset(_EMBEDDER_NAMES.split())
_POOLS_TOKENS = frozenset({1, 2, 3})
"""Pooling types that make one vector of a text: mean, first token, last token."""
_POOLS_RANK = 4
_TOOLS = re.compile(r"\btool(?:s|_calls?)\b")
_THINKS = re.compile(r"\benable_thinking\b|\breasoning_effort\b|\breasoning_content\b|<think>")

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Array:
    """An array of the metadata. numbers None: it was long, or of strings, and was not kept."""

    length: int
    numbers: tuple[float, ...] | None = None


_Metadata = dict[str, Scalar | _Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    name: str
    type_name: str
    elements: int
    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """What a GGUF file says of itself. None: it does not say.

    parameter_count: elements of all tensors. tensor_bytes: bytes of all tensors.
    quantization: the name of ``general.file_type``, else of the type that most elements have.
    head_count_kv: of the layer that has most. pooling_type: as in llama.cpp; 0 is none.
    kind: ``general.type``: model, adapter, mmproj, ... part, parts: of a split model.
    kv_bytes_per_token_estimate: an estimate; see `_kv_estimate`.
    provenance: every text and number under ``general.`` and ``arbiter.``.
    """

    gguf_version: int
    architecture: str
    kind: str
    name: str | None
    licence: str | None
    chat_template: str | None
    quantization: str | None
    context_length: int | None
    block_count: int | None
    embedding_length: int | None
    head_count: int | None
    head_count_kv: int | None
    vocabulary_size: int | None
    pooling_type: int | None
    kv_bytes_per_token_estimate: int | None
    parameter_count: int
    tensor_count: int
    tensor_bytes: int
    header_bytes: int
    part: int
    parts: int
    provenance: Mapping[str, Scalar]


def read_header(stream: BinaryIO, *, file_size: int, limit_bytes: int = LIMIT_BYTES) -> GgufHeader:
    """Read and check the header of a GGUF file of `file_size` bytes, from its first byte.

    Reads at most `limit_bytes`, and at most a chunk beyond the header. Raises `ModelFileError`
    with a sentence that names the fault and the byte where it is.
    """
    cursor = Cursor(stream, file_size=file_size, limit_bytes=limit_bytes)
    version = _read_version(cursor)
    tensor_count = cursor.count(U64, most=_ENTRIES, what="tensors")
    keys = cursor.count(U64, most=_ENTRIES, what="metadata keys")
    metadata = _read_metadata(cursor, keys)
    alignment = _alignment(metadata)
    tensors = [_read_tensor(cursor, alignment) for _ in range(tensor_count)]
    header_bytes = cursor.offset
    _check_tensors(tensors, start=-(-header_bytes // alignment) * alignment, file_size=file_size)
    return _summary(metadata, tensors, gguf_version=version, header_bytes=header_bytes)


def capabilities(header: GgufHeader) -> frozenset[str]:
    """What the file itself shows that the model can do; what is not known stays out.

    ``embedding`` or ``rerank`` for a model that makes vectors or ranks; else ``completion``, with
    ``chat`` when it has a chat template, ``tools`` when that template speaks of tools and
    ``thinking`` when it speaks of thoughts.
    """
    if header.pooling_type == _POOLS_RANK:
        return frozenset({"rerank"})
    if header.architecture in _EMBEDDERS or header.pooling_type in _POOLS_TOKENS:
        return frozenset({"embedding"})
    return template_capabilities(header.chat_template)


def template_capabilities(template: str | None) -> frozenset[str]:
    """What a generating model can do with this chat template.

    >>> sorted(template_capabilities("{% if tools %}...{% endif %}"))
    ['chat', 'completion', 'tools']
    >>> sorted(template_capabilities("{% if enable_thinking %}<think>{% endif %}"))
    ['chat', 'completion', 'thinking']
    """
    if not template:
        return frozenset({"completion"})
    found = {"completion", "chat"}
    if _TOOLS.search(template):
        found.add("tools")
    if _THINKS.search(template):
        found.add("thinking")
    return frozenset(found)


def _read_version(cursor: Cursor) -> int:
    magic = cursor.take(4, "the magic number")
    if magic in OLD_MAGICS:
        raise cursor.fault("this is the older GGML format", hint="Convert the model to GGUF again.")
    if magic != MAGIC:
        raise cursor.fault(f"the file begins with {magic!r}, not with {MAGIC!r}: it is not GGUF")
    version = cursor.whole(_U32, "the format's version")
    if version in {2, 3}:
        return version
    if version & 0xFFFF == 0 and version:
        raise cursor.fault("the file is big-endian", hint="Convert it with gguf-convert-endian.")
    if version == 1:
        raise cursor.fault(
            "GGUF version 1 is no longer read", hint="Convert the model to GGUF again."
        )
    raise cursor.fault(f"GGUF version {version} is unknown; versions 2 and 3 are read")


def _read_metadata(cursor: Cursor, count: int) -> _Metadata:
    found: _Metadata = {}
    seen: set[str] = set()
    for _ in range(count):
        key = cursor.name("a metadata key", most=0xFFFF)
        if not key:
            raise cursor.fault("a metadata key is empty")
        if key in seen:
            raise cursor.fault(f"the metadata key {key!r:.80} is there twice")
        seen.add(key)
        value = _read_value(cursor, key)
        if value is not None:
            found[key] = value
    return found


def _read_value(cursor: Cursor, key: str) -> Scalar | _Array | None:
    what = f"the value of {key!r:.80}"
    kind = cursor.whole(_U32, f"the type of {key!r:.80}")
    if kind == _ARRAY:
        return _read_array(cursor, what)
    if kind == _STRING:
        if key.startswith(("general.", "arbiter.")) or key == "tokenizer.chat_template":
            return cursor.text(what)
        cursor.skip(cursor.whole(U64, what), what)
        return None
    return _read_number(cursor, kind, what)


def _read_number(cursor: Cursor, kind: int, what: str) -> float:
    form = _NUMBERS.get(kind)
    if form is None:
        raise cursor.fault(f"{what} has the unknown type {kind}")
    value = cursor.number(form, what)
    if kind != _BOOL:
        return value
    if value not in {0, 1}:
        raise cursor.fault(f"{what} is neither true nor false but {value}")
    return value == 1


def _read_array(cursor: Cursor, what: str) -> _Array:
    kind = cursor.whole(_U32, what)
    length = cursor.whole(U64, what)
    if kind == _ARRAY:
        raise cursor.fault(f"{what} is an array of arrays, which no reader knows")
    if kind == _STRING:
        cursor.skip_strings(length, what)
        return _Array(length=length)
    form = _NUMBERS.get(kind)
    if form is None:
        raise cursor.fault(f"{what} is an array of the unknown type {kind}")
    if length > _KEPT_NUMBERS:
        cursor.skip(length * form.size, what)
        return _Array(length=length)
    numbers = tuple(_read_number(cursor, kind, what) for _ in range(length))
    return _Array(length=length, numbers=numbers)


def _alignment(metadata: _Metadata) -> int:
    found = metadata.get("general.alignment", 32)
    if not isinstance(found, int) or not 0 < found <= 1 << 16 or found & (found - 1):
        raise ModelFileError(
            f"The metadata key 'general.alignment' is {found!r:.40}, and must be a power of two "
            "up to 65536."
        )
    return found


def _read_tensor(cursor: Cursor, alignment: int) -> _Tensor:
    name = cursor.name("a tensor's name", most=_TENSOR_NAME)
    what = f"the tensor {name!r}"
    rank = cursor.count(_U32, most=_DIMENSIONS, what=f"dimensions of {what}")
    shape = [cursor.whole(U64, f"the shape of {what}") for _ in range(rank)]
    # One dimension of 0 makes loaders divide by zero; a product past 63 bits makes them wrap.
    elements = math.prod(shape)
    if not 0 < elements < 1 << 63:
        raise cursor.fault(
            f"{what} has the shape {shape}, which holds no sensible number of elements"
        )
    kind = cursor.whole(_U32, f"the type of {what}")
    offset = cursor.whole(U64, f"the offset of {what}")
    if kind not in TENSOR_TYPES:
        state = "retired" if kind in RETIRED_TYPES else "unknown"
        hint = "Convert the model to GGUF again." if kind in RETIRED_TYPES else None
        raise cursor.fault(f"{what} has the {state} type {kind}", hint=hint)
    type_name, block, block_bytes = TENSOR_TYPES[kind]
    if (shape[0] if shape else 1) % block:
        raise cursor.fault(
            f"{what} has rows of {shape[:1]} elements; {type_name} has blocks of {block}"
        )
    if offset % alignment:
        raise cursor.fault(f"{what} is at the offset {offset}, which is not aligned to {alignment}")
    return _Tensor(
        name=name,
        type_name=type_name,
        elements=elements,
        offset=offset,
        size_bytes=elements // block * block_bytes,
    )


def _check_tensors(tensors: list[_Tensor], *, start: int, file_size: int) -> None:
    """Every tensor lies inside the file, has a name of its own, and lies on no other."""
    names = Counter(tensor.name for tensor in tensors)
    for name, times in names.items():
        if times > 1:
            raise ModelFileError(f"Before byte {start}: the tensor {name!r} is there twice.")
    end, before = 0, ""
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        at = start + tensor.offset
        if at + tensor.size_bytes > file_size:
            raise ModelFileError(
                f"At byte {at}: the tensor {tensor.name!r} needs {tensor.size_bytes} bytes, and "
                f"the file ends at byte {file_size}.",
                hint="The download may be incomplete.",
            )
        if tensor.offset < end:
            raise ModelFileError(
                f"At byte {at}: the tensor {tensor.name!r} begins inside {before!r}."
            )
        end, before = tensor.offset + tensor.size_bytes, tensor.name


def _summary(
    metadata: _Metadata, tensors: list[_Tensor], *, gguf_version: int, header_bytes: int
) -> GgufHeader:
    architecture = _text(metadata, "general.architecture")
    if not architecture:
        raise ModelFileError("The metadata names no architecture (general.architecture).")
    vocabulary = metadata.get("tokenizer.ggml.tokens")
    heads = _per_layer(metadata, f"{architecture}.attention.head_count")
    heads_kv = _per_layer(metadata, f"{architecture}.attention.head_count_kv") or heads
    return GgufHeader(
        gguf_version=gguf_version,
        architecture=architecture,
        kind=_text(metadata, "general.type") or "model",
        name=_text(metadata, "general.name") or _text(metadata, "general.basename"),
        licence=_text(metadata, "general.license"),
        chat_template=_text(metadata, "tokenizer.chat_template"),
        quantization=_quantization(metadata, tensors),
        context_length=_count(metadata, f"{architecture}.context_length"),
        block_count=_count(metadata, f"{architecture}.block_count"),
        embedding_length=_count(metadata, f"{architecture}.embedding_length"),
        head_count=max(heads, default=None),
        head_count_kv=max(heads_kv, default=None),
        vocabulary_size=(
            vocabulary.length
            if isinstance(vocabulary, _Array)
            else _count(metadata, f"{architecture}.vocab_size")
        ),
        pooling_type=_count(metadata, f"{architecture}.pooling_type"),
        kv_bytes_per_token_estimate=_kv_estimate(metadata, architecture, heads, heads_kv),
        parameter_count=sum(tensor.elements for tensor in tensors),
        tensor_count=len(tensors),
        tensor_bytes=sum(tensor.size_bytes for tensor in tensors),
        header_bytes=header_bytes,
        part=(_count(metadata, "split.no") or 0) + 1,
        parts=_count(metadata, "split.count") or 1,
        provenance={
            key: value
            for key, value in metadata.items()
            if key.startswith(("general.", "arbiter."))
            and not isinstance(value, _Array)
            and not (isinstance(value, float) and not math.isfinite(value))
        },
    )


def _text(metadata: _Metadata, key: str) -> str | None:
    value = metadata.get(key)
    if value is None or isinstance(value, str):
        return value
    raise ModelFileError(f"The metadata key {key!r:.80} is not a text.")


def _count(metadata: _Metadata, key: str) -> int | None:
    value = metadata.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value < _PLAUSIBLE else None


def _per_layer(metadata: _Metadata, key: str) -> tuple[int, ...]:
    """One number for all layers, or one for each; empty when there is no sensible one."""
    value = metadata.get(key)
    if not isinstance(value, _Array):
        one = _count(metadata, key)
        return () if one is None else (one,)
    numbers = value.numbers or ()
    return tuple(n for n in numbers if isinstance(n, int) and 0 <= n < _PLAUSIBLE)


def _quantization(metadata: _Metadata, tensors: list[_Tensor]) -> str | None:
    named = FILE_TYPES.get(_count(metadata, "general.file_type") or 0, "-")
    if "general.file_type" in metadata and named != "-":
        return named
    elements: Counter[str] = Counter()
    for tensor in tensors:
        elements[tensor.type_name] += tensor.elements
    return max(elements, key=lambda name: elements[name], default=None)


def _kv_estimate(
    metadata: _Metadata, architecture: str, heads: tuple[int, ...], heads_kv: tuple[int, ...]
) -> int | None:
    """Bytes of key and value cache for one token of context: an estimate, mostly from above.

    Sum over layers of heads_kv * (key length + value length) * 2 bytes (16-bit cache), with
    embedding_length / head_count where a length is not given. Layers with a sliding window or a
    shared cache need less; caches that are compressed or recurrent follow no such formula: None.
    """
    if any(
        f"{architecture}.{key}" in metadata
        for key in ("attention.kv_lora_rank", "ssm.state_size", "wkv.head_size")
    ):
        return None
    layers = _count(metadata, f"{architecture}.block_count")
    if not layers or not heads_kv:
        return None
    width = _count(metadata, f"{architecture}.embedding_length") or 0
    usual = width // heads[0] if heads and heads[0] else 0
    key = _count(metadata, f"{architecture}.attention.key_length") or usual
    value = _count(metadata, f"{architecture}.attention.value_length") or usual
    in_all = heads_kv[0] * layers if len(heads_kv) == 1 else sum(heads_kv)
    estimate = in_all * (key + value) * 2
    return estimate if 0 < estimate < _PLAUSIBLE else None
