"""Energy of Apple's chips, with the package zeus-apple-silicon (the extra ``apple``).

It reads IOReport's model of the chip in whole millijoules: processor, memory, GPU and neural
engine, without being root. Apple says of these figures that they are estimates. Windows below
10 ms are noise.

This was written against the package's own description and a stand-in. It has not run on a Mac.
"""

from __future__ import annotations

import importlib
import platform
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol, cast

from arbiter.hardware.reading import (
    About,
    Accelerator,
    EnergyCounter,
    Part,
    Reading,
    Use,
    absent,
)

UPDATE_S: Final = 0.01
NOT_VERIFIED: Final = "not verified: this reader has not run on a Mac"

_FIELDS: Final = {
    # the package calls the processor cpu_total_mj since 1.0, and cpu_mj before
    Part.CPU: ("cpu_total_mj", "cpu_mj"),
    Part.DRAM: ("dram_mj",),
    Part.GPU: ("gpu_mj",),
    Part.ANE: ("ane_mj",),
}


class Monitor(Protocol):
    """What is called of ``zeus_apple_silicon.AppleEnergyMonitor``."""

    def get_cumulative_energy(self) -> object:
        """Millijoules so far, by part; None where a chip does not tell one."""
        ...


def installed(machine: str = platform.system()) -> Monitor | str:
    """A monitor, or why there is none."""
    if machine != "Darwin":
        return "this is no Mac"
    try:
        module = importlib.import_module("zeus_apple_silicon")
        make = cast("Callable[[], Monitor]", module.AppleEnergyMonitor)
        return make()
    except (ImportError, AttributeError):
        return 'zeus-apple-silicon is not installed. Run: pip install "arbiter-house[apple]"'
    except RuntimeError as error:
        return f"IOReport: {error}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartEnergy:
    """The energy counter of one part of the chip."""

    monitor: Monitor
    about: About

    def read(self) -> Reading:
        """Microjoules since some start, or why not."""
        try:
            metrics = self.monitor.get_cumulative_energy()
        except RuntimeError as error:
            return absent(f"{self.about.name}: IOReport: {error}")
        for field in _FIELDS[self.about.part]:
            millijoules = getattr(metrics, field, None)
            if isinstance(millijoules, int):
                return Reading(value=millijoules * 1000)
        return absent(f"{self.about.name}: IOReport does not tell it on this chip")


class Apple:
    """The chip of a Mac. An `AcceleratorReader`."""

    def __init__(self, monitor: Monitor | str) -> None:
        self._monitor = monitor

    def missing(self) -> str | None:
        """Why nothing is seen."""
        return self._monitor if isinstance(self._monitor, str) else None

    def look(self) -> tuple[Accelerator, ...]:
        """GPU and neural engine. They work in the machine's own memory."""
        if isinstance(self._monitor, str):
            return ()
        untold = {"busy": "IOReport's energy channels do not tell it", "verified": NOT_VERIFIED}
        return tuple(
            Accelerator(key=part.value, name=name, source="ioreport", unified=True, unknown=untold)
            for part, name in ((Part.GPU, "Apple GPU"), (Part.ANE, "Apple Neural Engine"))
        )

    def counters(self) -> tuple[EnergyCounter, ...]:
        """One for each part of the chip."""
        monitor = self._monitor
        if isinstance(monitor, str):
            return ()
        return tuple(
            PartEnergy(
                monitor=monitor,
                about=About(
                    name=part.value,
                    source="ioreport",
                    part=part,
                    update_s=UPDATE_S,
                    device=part.value if part in {Part.GPU, Part.ANE} else None,
                ),
            )
            for part in _FIELDS
        )

    def use(self, mine: Collection[int] | None = None) -> tuple[Use, ...]:  # noqa: ARG002  # of none
        """Nothing: use of the GPU by processes is not told."""
        return tuple(
            Use(key=one.key, busy=None, processes=None, reason="macOS does not tell it here")
            for one in self.look()
        )
