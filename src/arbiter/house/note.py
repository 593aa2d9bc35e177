"""The note in the data directory: where the house that runs listens, and its owner's key."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arbiter.gateway.serving import Address
from arbiter.house.addresses import reachable


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextmanager
def announced(data_dir: Path, address: Address, key: str) -> Iterator[None]:
    """Leave word in the data directory of where the running house listens, and its owner's key."""
    note = data_dir / "house.json"
    text = json.dumps({"pid": os.getpid(), "url": reachable(address), "key": key})
    note.unlink(missing_ok=True)
    with open(note, "x", encoding="utf-8", opener=_private) as file:  # its mode
        file.write(text)
    try:
        yield
    finally:
        note.unlink(missing_ok=True)
