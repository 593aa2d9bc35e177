"""A model that makes vectors, made of one that writes: the same weights, and a way to pool them.

llama.cpp takes a model's pooling from its metadata, so one number more in a GGUF header turns a
shipped model of a megabyte into an embedder whose vectors are real, if not good.
"""

from __future__ import annotations

import struct

MEAN = 1
_STRING, _ARRAY, _U32 = 8, 9, 4
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_ALIGNMENT = 32


def embedder(model: bytes, *, pooling: int = MEAN) -> bytes:
    """The same GGUF file with `<architecture>.pooling_type` in its metadata."""
    tensors, keys = struct.unpack_from("<QQ", model, 8)
    at, architecture = 24, b""
    for _ in range(keys):
        key, at = _text(model, at)
        kind, at = _number(model, at)
        if key == b"general.architecture":
            architecture, _ = _text(model, at)
        at = _after(model, at, kind)
    end_of_keys = at
    for _ in range(tensors):
        _, at = _text(model, at)
        rank, at = _number(model, at)
        at += 8 * rank + 4 + 8
    data = -(-at // _ALIGNMENT) * _ALIGNMENT
    key = architecture + b".pooling_type"
    added = struct.pack("<Q", len(key)) + key + struct.pack("<II", _U32, pooling)
    count = struct.pack("<Q", keys + 1)
    header = model[:16] + count + model[24:end_of_keys] + added + model[end_of_keys:at]
    return header + bytes(-len(header) % _ALIGNMENT) + model[data:]


def _number(model: bytes, at: int) -> tuple[int, int]:
    return struct.unpack_from("<I", model, at)[0], at + 4


def _text(model: bytes, at: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from("<Q", model, at)
    return model[at + 8 : at + 8 + length], at + 8 + length


def _after(model: bytes, at: int, kind: int) -> int:
    """Where a value of this kind ends."""
    if kind == _STRING:
        return _text(model, at)[1]
    if kind != _ARRAY:
        return at + _SIZES[kind]
    inner, length = struct.unpack_from("<IQ", model, at)
    at += 12
    if inner != _STRING:
        return int(at + length * _SIZES[inner])
    for _ in range(length):
        _, at = _text(model, at)
    return at
