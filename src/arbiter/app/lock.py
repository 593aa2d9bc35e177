"""One house at a time on a data directory."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arbiter.errors import HouseLocked, StorageError


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the data directory. Raises `HouseLocked` when another house does."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = data_dir / "lock"
        lock.touch(mode=0o600)
        handle = lock.open("a", encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"The data directory {data_dir} cannot be used: {error.strerror}.",
            hint="Name another with --data-dir.",
        ) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise HouseLocked(
                f"Another Arbiter uses {data_dir}.",
                hint="Speak to that one, or name another --data-dir.",
            ) from error
        yield
