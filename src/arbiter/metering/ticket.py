"""What is known of one request's cost while it runs, and the figures that it makes in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from arbiter.cost import (
    CPU_ERROR_PCT,
    JOULES_IN_A_MWH,
    MEMORY_ERROR_PCT,
    NO_ACCELERATOR,
    NO_COUNTER,
    TOO_SHORT,
    Cost,
    Figure,
    Method,
    unknown,
)
from arbiter.hardware.reading import About, Part
from arbiter.metering.account import Share
from arbiter.metering.estimate import ERROR_PCT, Watts
from arbiter.metering.memory import Held

FEW_UPDATES: Final = 20
"""A counter that changed less often meanwhile says little about one request."""

EDGES: Final = 2.0
"""A counter may be up to one of its updates late at each of the two ends of a request."""


_OF_NOTHING: Final[Mapping[str, float]] = {}


class Ticket:
    """One request at one process tree.

    Mutable and plain: one is made for each request, and its marks are set by the meter alone.
    """

    __slots__ = (
        "_then",
        "assumed",
        "begun_at",
        "cost",
        "cpu",
        "cut_cpu",
        "cut_s",
        "device_bytes",
        "ended_at",
        "final_cpu",
        "final_s",
        "gpu_hidden",
        "gpu_s",
        "gpu_unknown",
        "idle_unknown",
        "joules",
        "memory_area",
        "memory_last",
        "memory_note",
        "memory_peak",
        "memory_s",
        "samples",
        "torn",
    )

    def __init__(self, begun_at: float) -> None:
        self.begun_at = begun_at
        self.ended_at: float | None = None
        self.cpu: Figure | None = None
        """The CPU time that fell to it, in nanoseconds, once it has ended."""
        self.final_cpu: float | None = None
        self.final_s = 0.0
        self.cut_cpu = 0.0
        """What of its CPU time, and of its share of the time, is in slices already."""
        self.cut_s = 0.0
        self.joules: dict[Part, tuple[float, About]] | None = None
        self.torn: dict[Part, str] | None = None
        self.idle_unknown = False
        self.assumed = False
        """Whether an accelerator's energy fell to it because nobody tells who used it."""
        self.gpu_s: float | None = None
        self.gpu_hidden = False
        """Whether a device was busy meanwhile, and nobody knows with whom."""
        self.gpu_unknown: str | None = None
        self.device_bytes: int | None = None
        self.memory_peak = 0
        self.memory_area = 0.0
        self.memory_last: int | None = None
        self.memory_s = 0.0
        self.memory_note: str | None = None
        self.samples = 0
        self.cost: Cost | None = None
        self._then: Callable[[Cost], None] | None = None

    @property
    def concurrency(self) -> float | None:
        """Among how many it ran on average; None before its end, and where nobody shares."""
        if self.ended_at is None or self.final_s <= 0:
            return None
        return max(1.0, (self.ended_at - self.begun_at) / self.final_s)

    def then(self, tell: Callable[[Cost], None]) -> None:
        """Be told the cost once it is known, or at once."""
        if self.cost is not None:
            tell(self.cost)
        else:
            self._then = tell

    def hold(self, found: Held, *, at: float, seconds: float) -> None:
        """Take a sample of its processes' memory: on a line from the one before, seconds ago."""
        total = found.total_bytes
        if total is None:
            self.memory_note = found.reason
            return
        span = min(seconds, at - self.begun_at)
        self.samples += 1
        self.memory_peak = max(self.memory_peak, total)
        before = total if self.memory_last is None else self.memory_last
        self.memory_last = total
        self.memory_area += (before + total) / 2 * span
        self.memory_s += span

    def receive(self, about: About, share: Share) -> None:
        """Take what fell to it of a counter."""
        if share.joules is None:
            self.tear(about.part, share.reason or "the counter had a gap")
            return
        if self.joules is None:
            self.joules = {}
        self.idle_unknown = self.idle_unknown or not share.idle_known
        before = self.joules.get(about.part, (0.0, about))[0]
        self.joules[about.part] = (before + share.joules, about)

    def tear(self, part: Part, reason: str) -> None:
        """What a part of the machine took for it is not known, and why."""
        if self.torn is None:
            self.torn = {}
        self.torn[part] = reason

    def settle(
        self, *, seconds: float, has_counter: bool, watts: Watts | None, trouble: str | None = None
    ) -> Cost:
        """Make its figures, and tell whoever waits for them.

        seconds: how long it lasted. watts: what a person said of the processor, if nothing counts.
        trouble: why a counter says nothing.
        """
        cpu = self.cpu or unknown("it has not ended")
        cost = Cost(
            cpu_ms=_in_ms(cpu),
            gpu_ms=self._gpu(cpu.method),
            energy_mwh=self._energy(cpu, seconds, trouble)
            if has_counter
            else _estimated(cpu, watts),
            peak_bytes=self._memory(float(self.memory_peak)),
            mean_bytes=self._memory(self.memory_area / self.memory_s if self.memory_s else 0.0),
            device_bytes=unknown(self.gpu_unknown or NO_ACCELERATOR)
            if self.device_bytes is None or self.gpu_hidden
            else Figure(value=float(self.device_bytes), method=Method.MEASURED),
            energy_by=self._energy_by(),
            concurrency=self.concurrency,
        )
        return self.be(cost)

    def be(self, cost: Cost) -> Cost:
        """Have this cost, and tell whoever waits for it."""
        self.cost = cost
        tell, self._then = self._then, None
        if tell is not None:
            tell(cost)
        return cost

    def _memory(self, value: float) -> Figure:
        if self.samples < 2:
            return unknown(self.memory_note or TOO_SHORT)
        return Figure(value=value, method=Method.MEASURED, error_pct=MEMORY_ERROR_PCT)

    def _gpu(self, method: Method) -> Figure:
        if self.gpu_s is None or self.gpu_hidden:
            return unknown(self.gpu_unknown or NO_ACCELERATOR)
        known = Method.SHARED if method is Method.UNKNOWN else method
        return Figure(value=self.gpu_s * 1e3, method=known, note=self.gpu_unknown)

    def _energy_by(self) -> Mapping[str, float]:
        known = self.joules
        if known is None:
            return _OF_NOTHING
        return {part.value: joules / JOULES_IN_A_MWH for part, (joules, _) in known.items()}

    def _energy(self, cpu: Figure, seconds: float, trouble: str | None) -> Figure:
        torn = self.torn or {}
        known = {part: one for part, one in (self.joules or {}).items() if part not in torn}
        if not known:
            late = "the counter did not change in time"
            why = next(iter(torn.values()), trouble or late)
            return unknown(why)
        joules = sum(one for one, _ in known.values())
        update_s = max(about.update_s for _, about in known.values())
        return Figure(
            value=joules / JOULES_IN_A_MWH,
            method=self._method(cpu),
            note=self._words(known, torn, coarse=seconds < FEW_UPDATES * update_s),
            error_pct=100.0 * EDGES * update_s / seconds if seconds > 0 else None,
        )

    def _method(self, cpu: Figure) -> Method:
        if self.assumed:
            return Method.ESTIMATED
        return Method.MEASURED if cpu.method is Method.MEASURED else Method.SHARED

    def _words(
        self, known: Mapping[Part, tuple[float, About]], torn: Mapping[Part, str], *, coarse: bool
    ) -> str:
        sources = ", ".join(f"{part.value} by {about.source}" for part, (_, about) in known.items())
        parts = [sources, *(f"without {part.value}: {why}" for part, why in torn.items())]
        if self.idle_unknown:
            parts.append("with what the machine takes at rest, which is not known yet")
        if self.assumed:
            parts.append("as if nobody else used the accelerator")
        if coarse:
            parts.append(f"coarse: shorter than {FEW_UPDATES} updates of its counter")
        return "; ".join(parts)


def _in_ms(cpu: Figure) -> Figure:
    if cpu.value is None:
        return cpu
    return Figure(value=cpu.value / 1e6, method=cpu.method, note=cpu.note, error_pct=CPU_ERROR_PCT)


def _estimated(cpu: Figure, watts: Watts | None) -> Figure:
    if watts is None or cpu.value is None:
        return unknown(NO_COUNTER if watts is None else cpu.note or "its CPU time is not known")
    return Figure(
        value=watts.joules(cpu.value / 1e9) / JOULES_IN_A_MWH,
        method=Method.ESTIMATED,
        note=watts.words,
        error_pct=ERROR_PCT,
    )
