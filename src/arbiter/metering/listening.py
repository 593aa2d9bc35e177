"""Which process of this machine listens at an address, so that its work can be counted.

Only for addresses of this machine, and only as far as this user may look: what another user runs,
such as a service, is not told, and neither is what runs in a container behind a forwarded port.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from arbiter.hardware.reading import Reading, absent, text_in

PROC: Final = Path("/proc")
_LISTENING: Final = "0A"
_FORWARDERS: Final = frozenset({"docker-proxy", "rootlessport", "pasta", "slirp4netns"})


def listener_of(url: str, *, proc: Path = PROC) -> Reading:
    """The process id of who listens at a URL, or why that is not known."""
    parts = urlsplit(url)
    if not _is_here(parts.hostname or ""):
        return absent("it is another machine's")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    sockets = set(_sockets(proc, port))
    if not sockets:
        return absent(f"nobody is seen to listen at port {port}")
    for pid in _pids(proc):
        if _holds(proc, pid, sockets):
            name = text_in(proc / str(pid) / "comm") or ""
            if name in _FORWARDERS:
                return absent(f"{name} forwards port {port} to a container")
            return Reading(value=pid)
    return absent(f"who listens at port {port} runs as another user")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _sockets(proc: Path, port: int) -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        for line in (text_in(proc / "net" / name) or "").splitlines()[1:]:
            words = line.split()
            if len(words) <= 9 or words[3] != _LISTENING:
                continue
            if int(words[1].rpartition(":")[2], 16) == port:
                yield f"socket:[{words[9]}]"


def _pids(proc: Path) -> list[int]:
    """Every process, the oldest first: a child may have inherited the socket."""
    try:
        return sorted(int(name) for name in os.listdir(proc) if name.isdigit())  # noqa: PTH208
    except OSError:
        return []


def _holds(proc: Path, pid: int, sockets: set[str]) -> bool:
    folder = proc / str(pid) / "fd"
    try:
        names = os.listdir(folder)  # noqa: PTH208  # each is read as a link, never opened
    except OSError:
        return False
    for name in names:
        try:
            if str((folder / name).readlink()) in sockets:
                return True
        except OSError:
            continue
    return False
