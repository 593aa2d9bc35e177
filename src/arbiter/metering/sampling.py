"""Everything that is read at one moment. It reads files and calls libraries, so it has a thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import psutil

from arbiter.clock import Clock
from arbiter.hardware.found import Hardware
from arbiter.hardware.reading import Reading, Use, absent, text_in
from arbiter.metering.memory import Held, held
from arbiter.metering.process import ProcessReader
from arbiter.metering.tree import Tree, read_table

LOOK_EVERY_S: Final = 3.0
"""How often the members of process trees are looked for, at most."""

_LOOK_SHARE: Final = 200.0
"""A look that takes long is made seldom: its time is at most this part of all time."""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What was read. at: seconds of the clock, when it was done. held: by the root's process id.

    energy: of the counters, in their order. uses: of every accelerator.
    """

    at: float
    machine_ns: Reading
    held: Mapping[int, Held]
    energy: tuple[Reading, ...]
    uses: tuple[Use, ...]


class Sampler:
    """Reads. The only one that does, so its readers need no lock."""

    def __init__(self, hardware: Hardware, *, reader: ProcessReader, clock: Clock) -> None:
        self._hardware = hardware
        self._reader = reader
        self._clock = clock
        self._look_again = float("-inf")

    def take(self, trees: Sequence[Tree]) -> Taken:
        """Read everything once; some hundred microseconds."""
        if trees:
            self.look(trees)
        accelerators = self._hardware.accelerators.values()
        mine = {pid for tree in trees for pid in tree.pids}
        energy = tuple(counter.read() for counter in self._hardware.counters)
        return Taken(
            machine_ns=self._machine_ns() if energy else absent("nothing is shared out by it"),
            held={tree.pid: held(tree.pids, self._reader) for tree in trees},
            energy=energy,
            uses=tuple(use for one in accelerators for use in one.use(mine)),
            at=self._clock.monotonic(),
        )

    def look(self, trees: Sequence[Tree], *, now: bool = False) -> None:
        """Find the members of the trees again, when it is time or at once."""
        began = self._clock.monotonic()
        if began < self._look_again and not now:
            return
        table = read_table(self._hardware.proc)
        for tree in trees:
            tree.look(table)
        took = self._clock.monotonic() - began
        self._look_again = began + max(LOOK_EVERY_S, took * _LOOK_SHARE)

    def _machine_ns(self) -> Reading:
        """What all hardware threads together were busy since the start of the machine."""
        line = (text_in(self._hardware.proc / "stat") or "").partition("\n")[0].split()
        if len(line) > 7 and line[0] == "cpu":
            user, nice, system, _, _, irq, softirq = (int(word) for word in line[1:8])
            return Reading(value=(user + nice + system + irq + softirq) * _NS_A_TICK)
        try:
            times = psutil.cpu_times()
        except (OSError, RuntimeError) as error:
            return absent(str(error))
        return Reading(value=round((times.user + times.system) * 1e9))


_NS_A_TICK: Final = 10_000_000
"""Of /proc/stat: it counts hundredths of a second on every Linux that there is."""
