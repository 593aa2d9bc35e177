"""V10: tokens and tokens a second, through a whole house, of an engine with a known pace."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from arbiter.app import open_house
from arbiter.clock import Clock
from arbiter.config import load_settings
from arbiter.cost import Footprint
from arbiter.engines.base import Availability, LoadSpec
from arbiter.errors import EngineRefused
from arbiter.inference import (
    Chunk,
    Delta,
    Embedding,
    Finish,
    FinishReason,
    Generation,
    Timings,
    Usage,
    Vectors,
)
from arbiter.studies.checks import Check, judged, off_pct

TOKENS: Final = 120
PACE_S: Final = 0.005


@dataclass(slots=True, kw_only=True, eq=False)
class PacedRunner:
    """Says a word a token, one to four of them in a piece, and notes when it said them.

    It is a `Runner`. written_s: for each answer, from its first piece to its last. tells: whether
    it has a stopwatch of its own.
    """

    clock: Clock
    dice: Random
    tells: bool = False
    written_s: list[float] = field(default_factory=list)
    pid: int | None = None
    reported: Footprint | None = None

    async def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:  # noqa: ARG002
        """The answer."""
        said, began = 0, self.clock.monotonic()
        while said < TOKENS:
            burst = min(self.dice.randint(1, 4), TOKENS - said)
            if said:
                await self.clock.sleep(PACE_S * burst)
            said += burst
            yield Delta(text="word " * burst)
        took = self.clock.monotonic() - began
        self.written_s.append(took)
        yield Finish(
            reason=FinishReason.STOP,
            usage=Usage(prompt_tokens=3, completion_tokens=said),
            timings=Timings(decode_ms=took * 1e3) if self.tells else Timings(),
        )

    async def embed(self, request: Embedding) -> tuple[Vectors, Finish]:  # noqa: ARG002
        """It makes no vectors."""
        raise EngineRefused("It makes no vectors.")

    async def is_healthy(self) -> bool:
        """Always."""
        return True

    async def wait_lost(self) -> str:
        """It is never lost."""
        await asyncio.Event().wait()
        return ""

    async def unload(self) -> None:
        """Nothing to free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PacedEngine:
    """Loads any script, and says words at a pace of its own. It is an `Engine`."""

    runner: PacedRunner
    name: str = "paced"
    formats: frozenset[str] = frozenset({"script"})
    features: frozenset[str] = frozenset()

    def availability(self) -> Availability:
        """Always there."""
        return Availability(available=True, reason="it is part of the checks")

    async def load(self, spec: LoadSpec) -> PacedRunner:  # noqa: ARG002
        """The runner."""
        return self.runner


async def check_v10(clock: Clock, *, answers: int = 3, seed: int = 10) -> Check:
    """Streams with several tokens in a piece, with and without the engine's own stopwatch."""
    dice = Random(seed)  # noqa: S311  # how words are put together
    counts, errors = [], []
    for tells in (False, True):
        runner = PacedRunner(clock=clock, dice=dice, tells=tells)
        seen = await _streams(clock, PacedEngine(runner=runner), answers)
        for (tokens, rate), took in zip(seen, runner.written_s, strict=True):
            counts.append(tokens)
            errors.append(off_pct(rate, (TOKENS - 1) / took))
    exact = all(count == TOKENS for count in counts)
    return judged(
        "V10",
        "Tokens, and tokens a second",
        error_pct=max(errors) if exact else 100.0,
        limit_pct=5.0,
        why=f"{len(counts)} streams of {TOKENS} tokens, up to four in a piece: "
        f"{'every' if exact else 'not every'} count is exact; rates against the engine's clock",
    )


async def _streams(
    clock: Clock, engine: PacedEngine, answers: int
) -> Sequence[tuple[float | None, float]]:
    """Tokens and tokens a second on the receipts of so many answers."""
    with tempfile.TemporaryDirectory(prefix="arbiter-check-") as folder:
        script = Path(folder) / "paced.json"
        text = json.dumps({"arbiter_script": 1, "name": "paced", "default": "words"})
        script.write_text(text, encoding="utf-8")
        settings = load_settings(
            environment={},
            overrides={
                "data_dir": Path(folder) / "data",
                "door.port": 0,
                "discovery.enabled": False,
                "calibration.enabled": False,
            },
        )
        found: list[tuple[float | None, float]] = []
        async with open_house(settings, clock=clock, engines=lambda _: (engine,)) as house:
            await house.add(script, "paced")
            for number in range(answers):
                async with house.stream(f"go on, {number}", model="paced") as reply:
                    async for _ in reply.chunks():
                        pass
                receipt = await house.receipt(reply.decided.decision)
                rate = receipt.tokens_per_s.value
                found.append((receipt.tokens_out.value, 0.0 if rate is None else rate))
        return found
