"""Graphics devices that are in this machine, whether or not anything here can read them.

A reader that sees nothing may lack its library. The bus tells that from a machine without devices:
so nobody is told that there is no accelerator where there is one that is not read.

Source: the kernel's Documentation/ABI/testing/sysfs-bus-pci; class 0x03 is a display controller.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Final

from arbiter.hardware.reading import text_in

SYS: Final = Path("/sys")
_MAKERS: Final = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}
_DISPLAY: Final = "0x03"


def makers(sys: Path = SYS, *, system: str = platform.system()) -> tuple[str, ...] | None:
    """Who made the graphics devices that are on the bus, each once; None where no bus is told of.

    Devices of other makers, such as those that virtual machines draw their screens on, compute
    nothing and are left out.
    """
    if system == "Darwin":
        return ("Apple",) if platform.machine() == "arm64" else None
    try:
        folders = sorted((sys / "bus" / "pci" / "devices").iterdir())
    except OSError:
        return None
    found = [
        _MAKERS.get(text_in(folder / "vendor") or "")
        for folder in folders
        if (text_in(folder / "class") or "").startswith(_DISPLAY)
    ]
    return tuple(dict.fromkeys(maker for maker in found if maker is not None))
