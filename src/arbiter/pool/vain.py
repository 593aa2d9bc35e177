"""A try at a request, as its lease tells of it."""

from __future__ import annotations

from asyncio import CancelledError

from arbiter.cost import unknown, unknown_cost
from arbiter.engines.base import Runner, ServedRunner
from arbiter.errors import ArbiterError, Unexpected
from arbiter.knowledge.costs import PENDING
from arbiter.knowledge.tries import BESIDE, CANCELLED, NO_SLOT, Try, Vain, without_slot
from arbiter.pool.lease import Lease
from arbiter.refs import VersionId


def vain(version: VersionId, lease: Lease | None, error: BaseException, *, took_s: float) -> Vain:
    """What there is to tell of a try that ended with an error.

    lease: what it ran on, given back already; None where it never had a slot.
    """
    return Vain(
        tried=Try(
            version=version,
            place=None if lease is None else place_of(lease.runner),
            error=_code(error),
            took_ms=took_s * 1000,
            cost=unknown_cost(NO_SLOT if lease is None else PENDING),
        ),
        cpu=unknown(NO_SLOT) if lease is None else lease.stop_metering(),
        then=without_slot if lease is None else lease.then,
    )


def answered(version: VersionId, lease: Lease, *, took_ms: float | None) -> Try:
    """The try that answered, after others that did not."""
    return Try(
        version=version,
        place=place_of(lease.runner),
        error=None,
        took_ms=took_ms or 0.0,
        cost=BESIDE,
    )


def place_of(runner: Runner) -> str | None:
    """What does a runner's work: a server's address, or a process of this machine."""
    if isinstance(runner, ServedRunner):
        return runner.place.url
    return None if runner.pid is None else f"process {runner.pid}"


def _code(error: BaseException) -> str:
    if isinstance(error, ArbiterError):
        return error.code
    return CANCELLED if isinstance(error, CancelledError) else Unexpected.code
