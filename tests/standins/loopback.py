"""Runs a command where there is no network but loopback: a network namespace of its own.

    python -m tests.standins.loopback COMMAND...

Exit status 96 when this system allows no such namespace, with the reason on stderr.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path
from typing import NoReturn

NOT_ALLOWED = 96
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def enter() -> None:
    """Leave every network but an own loopback. Raises `OSError`."""
    user, group = os.getuid(), os.getgid()
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER | CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14s", b"lo", 0, b"")
        found = fcntl.ioctl(any_socket, SIOCGIFFLAGS, request)
        flags = struct.unpack("16sh14s", found)[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14s", b"lo", flags | IFF_UP, b""))


def main() -> NoReturn:
    """Enter, and become the command."""
    try:
        enter()
    except OSError as error:
        sys.stderr.write(f"no network namespace: {error.strerror}\n")
        sys.exit(NOT_ALLOWED)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606  # the command of a test


if __name__ == "__main__":
    main()
