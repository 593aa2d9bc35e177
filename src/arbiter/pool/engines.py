"""Which engine runs a format here, and why none does."""

from __future__ import annotations

from collections.abc import Sequence

from arbiter.engines.base import Engine
from arbiter.errors import EngineUnavailable


class Engines:
    """The engines that are installed, in the order in which they are asked."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = tuple(engines)

    def find(self, format_: str) -> Engine:
        """The engine that loads this format here. Raises `EngineUnavailable` that says why not."""
        reasons: list[str] = []
        for engine in self._engines:
            if format_ in engine.formats:
                availability = engine.availability()
                if availability.available:
                    return engine
                reasons.append(f"{engine.name}: {availability.reason}")
        raise EngineUnavailable(
            f"Nothing here can run a {format_} model.",
            hint="; ".join(reasons) or "Install an engine for it: docs/how-to/add-an-engine.md.",
        )

    def features(self, format_: str) -> frozenset[str]:
        """What the engine that runs this format here adds to a model's own capabilities."""
        for engine in self._engines:
            if format_ in engine.formats:
                return engine.features
        return frozenset()

    def unavailable(self, format_: str) -> str | None:
        """Why this format cannot run here, or None when it can."""
        try:
            self.find(format_)
        except EngineUnavailable as error:
            return error.sentence
        return None
