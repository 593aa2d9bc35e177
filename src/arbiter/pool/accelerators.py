"""This host's accelerators as those who choose a version see them, looked at once at the start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from arbiter.engines.base import Place
from arbiter.hardware.bus import makers
from arbiter.hardware.found import Hardware

NONE_HERE: Final = "needs an accelerator that this host has not"
ONLY_A_SCRIPT: Final = "needs an accelerator, and its engine computes nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerators:
    """What this host has. is_known: False where one may be there that nothing here can read.

    memory_bytes: of all of them together; None where one does not tell, or has none of its own.
    """

    names: tuple[str, ...] = ()
    memory_bytes: int | None = None
    is_known: bool = False

    def lacking(self, *, format_: str, places: Sequence[Place]) -> str | None:
        """Why a version cannot run on an accelerator; None where it can, or nobody knows.

        places: where other programs serve it. What another machine has is not known here.
        """
        if format_ == "script":
            return ONLY_A_SCRIPT
        if self.names or not self.is_known or any(not _is_here(place.url) for place in places):
            return None
        return NONE_HERE


def accelerators_of(hardware: Hardware) -> Accelerators:
    """Look at them; some milliseconds."""
    found = [one for reader in hardware.accelerators.values() for one in reader.look()]
    sizes = [one.memory_bytes for one in found if not one.unified]
    told = [size for size in sizes if size is not None]
    return Accelerators(
        names=tuple(one.name or one.key for one in found),
        memory_bytes=sum(told) if told and len(told) == len(found) else None,
        # what is on the bus and is not read may be an accelerator all the same
        is_known=bool(found) or makers(hardware.sys) == (),
    )


def _is_here(url: str) -> bool:
    """Whether an address, in the house's own form, is of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
