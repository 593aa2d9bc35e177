"""What is the matter with models that a running house has loaded. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from arbiter.refs import legible


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """Something that is wrong with a loaded model. mend: a command, or what to do."""

    model: str
    sentence: str
    mend: str


def complaints(told: Mapping[str, object]) -> tuple[Complaint, ...]:
    """What ``GET /control/v1/instances`` told that somebody should know.

    >>> complaints({"instances": [{"names": ["wren"], "slow": "it begins late"}]})[0].sentence
    'It has become slow: it begins late.'
    """
    found = told.get("instances")
    every = found if isinstance(found, Sequence) and not isinstance(found, str) else ()
    return tuple(one for entry in every if isinstance(entry, Mapping) for one in _of(entry))


def _of(entry: Mapping[str, object]) -> Iterator[Complaint]:
    names = entry.get("names")
    listed = [str(name) for name in names] if isinstance(names, list) else []
    model = ", ".join(listed) or str(entry.get("short", "a model without a name"))
    if (entry.get("most", 1), entry.get("number", 1)) != (1, 1):
        model += f" (instance {entry.get('number')})"
    again = f"arbiter models unload {listed[0] if listed else 'NAME'}"
    slow, ailing, probe = entry.get("slow"), entry.get("ailing"), entry.get("probe")
    if slow:
        yield Complaint(
            model=model,
            sentence=f"It has become slow: {slow}.",
            mend="See who else uses the processor, the accelerator or memory: arbiter hardware. "
            f"To load it anew: {again}",
        )
    if ailing and not (slow and str(slow) in str(ailing)):
        yield Complaint(
            model=model,
            sentence=f"auto asks others for now: {ailing}.",
            mend=f"To load it anew: {again}",
        )
    elif probe and not ailing:
        yield Complaint(
            model=model,
            sentence=f"Its latest probe failed ({probe}).",
            mend=f"To load it anew: {again}",
        )
    if entry.get("state") == "failed" and entry.get("last_error"):
        yield Complaint(
            model=model,
            sentence=f"It is not loaded: {legible(str(entry['last_error']))}",
            mend="It is tried again when it is asked for, or now: "
            f"arbiter models load {listed[0] if listed else 'NAME'}",
        )
    yield from _too_little(entry, model)


def _too_little(entry: Mapping[str, object], model: str) -> Iterator[Complaint]:
    short = entry.get("too_little_bytes")
    for memory, most in (short if isinstance(short, Mapping) else {}).items():
        if isinstance(most, int | float):
            yield Complaint(
                model=model,
                sentence=f"Its last load ran out of memory with {most / 1e6:.0f} MB free "
                f"({memory}).",
                mend="Lower pool.context or pool.slots, or take a smaller quantization.",
            )
