"""The devices that a maker's library tells of, and how such a library is asked.

Whatever it refuses is None with its own words, and no error leaves here. What it is asked for is
known to the reader of each maker alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from arbiter.hardware.reading import About, Part, Reading, absent

UPDATE_S: Final = 0.1
"""How often a device's energy counter changes: NVIDIA's by measurement (arXiv 2312.02741).

Others do not say, so the same is taken of them.
"""

_T = TypeVar("_T")


def energy_of(device: str, *, source: str, name: str | None = None) -> About:
    """What the energy counter of a device is. name: by default the device's own."""
    return About(
        name=device if name is None else name,
        source=source,
        part=Part.GPU,
        update_s=UPDATE_S,
        device=device,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEnergy:
    """The energy counter of one device. ask: microjoules since some start."""

    about: About
    devices: Devices
    ask: Callable[[], int]

    def read(self) -> Reading:
        """Microjoules since some start, or why not."""
        unknown: dict[str, str] = {}
        value = self.devices.asked("energy", unknown, self.ask)
        if value is None:
            return absent(f"{self.about.name}: {unknown['energy']}")
        return Reading(value=value)


class Devices:
    """Every device of a library, by its key.

    failure: what the library raises. words: how that is told, by the maker's own words.
    """

    def __init__(self, *, failure: type[Exception], words: Callable[[Exception], str]) -> None:
        self._failure = failure
        self._words = words
        self._handles: list[tuple[str, object]] = []
        self._reason: str | None = None

    @classmethod
    def none(cls, reason: str) -> Devices:
        """No library is there, and why."""
        empty = cls(failure=Exception, words=str)
        empty._reason = reason
        return empty

    def find(self, found: Callable[[], Iterable[tuple[str, object]]], *, otherwise: str) -> None:
        """Take those that the library finds. otherwise: the reason where that is none."""
        try:
            self._handles.extend(found())
        except self._failure as error:
            self._reason = self._words(error)
        if self._reason is None:
            self._reason = otherwise

    @property
    def keys(self) -> tuple[str, ...]:
        """What they are told under."""
        return tuple(key for key, _ in self._handles)

    def missing(self) -> str | None:
        """Why no device is seen; None: one is."""
        return None if self._handles else self._reason

    def each(self, make: Callable[[str, object], _T]) -> tuple[_T, ...]:
        """Something of each of them, by its key and the library's handle."""
        return tuple(make(key, handle) for key, handle in self._handles)

    def one(self, key: str, make: Callable[[object], _T | None]) -> _T | None:
        """The same of one of them, by the library's handle; None where none is called so."""
        return next((make(handle) for known, handle in self._handles if known == key), None)

    def asked(self, what: str, unknown: dict[str, str], ask: Callable[[], _T]) -> _T | None:
        """What the library answers; None, and its words among what is unknown, if it refuses."""
        try:
            return ask()
        except self._failure as error:
            unknown[what] = self._words(error)
            return None
