"""An answer on its way from a runner: its first chunk, its pieces, and what they cost.

This module knows nothing of versions and rollouts: `arbiter.dispatch.serving` says who is asked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import msgspec
from msgspec import structs

from arbiter.clock import Clock
from arbiter.cost import Figure
from arbiter.engines.base import CountingRunner, Runner
from arbiter.errors import ArbiterError, EngineError, InstanceLost, ServerCut, StreamCut
from arbiter.inference import (
    Chunk,
    Decided,
    Delta,
    Embedding,
    Finish,
    FinishReason,
    Generation,
    Thought,
    Timings,
    Usage,
)
from arbiter.knowledge.speed import timing
from arbiter.knowledge.tries import summed
from arbiter.pool.breaker import Sign
from arbiter.pool.instance import Lease

_LEAST_LOAD_MS = 1.0
"""Below it nobody loaded anything: it is what asking takes."""


class Receipt(msgspec.Struct, kw_only=True):
    """What an answer turned out to cost; filled when its stream has ended."""

    latency_ms: float | None = None
    wait_ms: float | None = None
    ttft_ms: float | None = None
    cpu_ms: Figure | None = None
    usage: Usage = Usage()
    timings: Timings = Timings()


class Served:
    """An answer that has begun (`arbiter.inference.Reply`), and the iterator of its pieces.

    No generator: it would only pass on what another one gives, at the price of one more for each
    request.
    """

    def __init__(
        self,
        *,
        decided: Decided,
        first: Chunk,
        rest: AsyncIterator[Chunk],
        lease: Lease,
        clock: Clock,
        started: float,
        timed: bool,
        wait_ms: float | None = None,
    ) -> None:
        self.decided = decided
        self.earlier: tuple[Figure, ...] = ()
        """The CPU time of the tries before this one, in milliseconds."""
        self.receipt = Receipt(wait_ms=wait_ms)
        self.text: list[str] = []
        self.is_text = True
        """Whether nothing but text has come: no tool call, no vector."""
        self.finished = False
        self.reason: FinishReason | None = None
        self.error: ArbiterError | None = None
        self._first: Chunk | None = first
        self._rest: AsyncIterator[Chunk] | None = rest
        self._lease = lease
        self._clock = clock
        self._started = started
        if timed:
            self.receipt.ttft_ms = (clock.monotonic() - started) * 1000

    def chunks(self) -> AsyncIterator[Chunk]:
        """The answer, piece by piece. Raises `StreamCut`: `ServerCut` if its server is gone."""
        return self

    def tally(self) -> str:
        """What it took, in short; empty before its end.

        Energy and memory are settled a moment later: the receipt has them.
        """
        found = self.receipt
        if found.latency_ms is None:
            return ""
        words = f"wall_ms={found.latency_ms:.1f}"
        if found.wait_ms is not None:
            words += f" wait_ms={found.wait_ms:.1f}"
        cpu, usage = found.cpu_ms, found.usage
        if self.earlier:
            words += f" attempts={len(self.earlier) + 1}"
            cpu = summed((*self.earlier, cpu)) if cpu is not None else None
        if cpu is not None and cpu.value is not None:
            words += f" cpu_ms={cpu.value:.1f} cpu={cpu.method}"
        if usage.prompt_tokens is not None:
            words += f" tokens_in={usage.prompt_tokens}"
        if usage.completion_tokens is not None:
            words += f" tokens_out={usage.completion_tokens}"
        return words

    def __aiter__(self) -> Served:
        """Itself: an answer is gone through once."""
        return self

    async def __anext__(self) -> Chunk:
        """The next piece; raises as `chunks` tells."""
        chunk = self._first
        if chunk is not None:
            self._first = None
            if self._take(chunk):
                self._rest = None
                return self._with_load(chunk)
            return chunk
        if self._rest is None:
            raise StopAsyncIteration
        try:
            chunk = await anext(self._rest)
        except ArbiterError as error:
            self.error = error
            if _is_cut(error) and self._lease.gone.is_set:
                self.error = ServerCut(error.message)
            self._lease.passage.tell_error(self.error)
            if self.error is error:
                raise
            raise self.error from error
        return self._with_load(chunk) if self._take(chunk) else chunk

    def _with_load(self, end: Chunk) -> Chunk:
        """The end as its client is told it: with the load that the house did for this answer.

        The engine's stopwatch runs from the request that reached it, which came after the load.
        """
        load_ms = self._lease.load_ms
        if load_ms < _LEAST_LOAD_MS or not isinstance(end, Finish):
            return end
        load_ms += end.timings.load_ms or 0.0
        return structs.replace(end, timings=structs.replace(end.timings, load_ms=load_ms))

    def _take(self, chunk: Chunk) -> bool:
        if isinstance(chunk, Delta):
            self.text.append(chunk.text)
            return False
        if not isinstance(chunk, Finish):
            # what a model thinks is no part of its answer, and no answer of another kind either
            self.is_text = self.is_text and isinstance(chunk, Thought)
            return False
        self.finished = True
        self.reason = chunk.reason
        self.receipt.usage = chunk.usage
        self.receipt.timings = chunk.timings
        self.receipt.latency_ms = (self._clock.monotonic() - self._started) * 1000
        self.receipt.cpu_ms = self._lease.stop_metering()
        if (
            self.is_text
            and chunk.reason is FinishReason.STOP
            and not any(map(str.strip, self.text))
        ):
            self._lease.passage.tell(Sign.ILL, "an empty answer")
        else:
            self._lease.passage.tell(Sign.WELL)
            self._tell_pace(chunk)
        return True

    def _tell_pace(self, end: Finish) -> None:
        """How fast it was, against what the instance did before."""
        found, owner = self.receipt, self._lease.instance
        one = timing(
            latency_ms=found.latency_ms,
            wait_ms=found.wait_ms,
            ttft_ms=found.ttft_ms,
            usage=end.usage,
            timings=end.timings,
            prompt_chars=None,
        )
        owner.health.paced(one, end.usage, self._lease.concurrency or float(owner.leases))


def _is_cut(error: ArbiterError) -> bool:
    """Whether a stream was cut, and it is not known yet that its server is to blame."""
    return isinstance(error, StreamCut) and not isinstance(error, ServerCut)


def pieces_of(runner: Runner, request: Generation | Embedding) -> AsyncGenerator[Chunk, None]:
    """The answer of a runner, piece by piece, whatever it was asked for."""
    if isinstance(request, Embedding):
        return _embedded(runner, request)
    return _counted(runner, request) if request.counts else runner.generate(request)


async def _counted(runner: Runner, request: Generation) -> AsyncGenerator[Chunk, None]:
    """An end that tells how long the prompt is.

    A runner that cannot say so is asked for a single token: it then tells what it read.
    """
    if isinstance(runner, CountingRunner):
        usage = Usage(prompt_tokens=await runner.count(request))
        yield Finish(reason=FinishReason.STOP, usage=usage)
        return
    sampling = structs.replace(request.sampling, max_tokens=1)
    shortest = structs.replace(request, sampling=sampling, stream=False)
    async with aclosing(runner.generate(shortest)) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, Finish):
                yield chunk


async def _embedded(runner: Runner, request: Embedding) -> AsyncGenerator[Chunk, None]:
    vectors, finish = await runner.embed(request)
    yield vectors
    yield finish


async def first_of(chunks: AsyncIterator[Chunk], lease: Lease) -> Chunk:
    """The first chunk, and what its coming or not says of the instance.

    Raises `InstanceLost` as soon as the server that was to send it is found gone.
    """
    try:
        if lease.is_served:
            first = await lease.gone.next_of(chunks)
        else:
            first = await anext(chunks)
    except ArbiterError as error:
        lease.passage.tell_error(error)
        if isinstance(error, InstanceLost):
            lease.instance.lost(lease.runner)
        raise
    except StopAsyncIteration as error:
        empty = EngineError("The engine ended without an answer.")
        lease.passage.tell_error(empty)
        raise empty from error
    lease.instance.answered()
    return first
