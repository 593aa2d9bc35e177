"""What an engine could use of a machine, from values alone.

An engine that runs models here in a process of ours uses the processor, and an accelerator only if
its library was built for it, which is not known before a model is loaded. A program beside the
house decides for itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from arbiter.hardware.machine import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineUse:
    """What an engine could use. processor, accelerators: None where it is not known.

    available: whether the engine can run here at all. reason: why that is said.
    """

    engine: str
    available: bool
    processor: bool | None
    accelerators: tuple[str, ...] | None
    reason: str


def could_use(
    machine: Snapshot, *, engine: str, available: bool, why: str, is_server: bool, computes: bool
) -> EngineUse:
    """What one engine could use here.

    why: what the engine itself says of its being available. is_server: other programs do its work.
    computes: False for an engine that only plays a script.
    """
    if not available:
        return EngineUse(
            engine=engine, available=False, processor=False, accelerators=(), reason=why
        )
    if not computes:
        return EngineUse(
            engine=engine,
            available=True,
            processor=True,
            accelerators=(),
            reason="it plays scripts and computes nothing",
        )
    if is_server:
        return EngineUse(
            engine=engine,
            available=True,
            processor=None,
            accelerators=None,
            reason="the program that serves decides; what it holds is in its own list",
        )
    seen = tuple(one.name or one.key for one in machine.accelerators)
    if not seen:
        return EngineUse(
            engine=engine,
            available=True,
            processor=True,
            accelerators=(),
            reason="no accelerator is seen here",
        )
    return EngineUse(
        engine=engine,
        available=True,
        processor=True,
        accelerators=None,
        reason=f"{', '.join(seen)}: only if its library was built for it; a load shows it",
    )
