"""Whether a request that failed before its first byte is to be asked at another instance.

How often that may be is not known here: `arbiter.pool.again` has the house's budget, and the
journey of a request a bound of its own.
"""

from __future__ import annotations

from arbiter.errors import Busy, EngineError
from arbiter.pool.breaker import Sign, sign_of
from arbiter.pool.doubts import Doubts
from arbiter.pool.lease import Lease
from arbiter.pool.roster import Roster


class Elsewhere:
    """Knows who else there is. Has a version move to its next place, and a busy one left alone."""

    def __init__(self, *, roster: Roster, doubts: Doubts) -> None:
        self._roster = roster
        self._doubts = doubts

    def move_on(self, lease: Lease, error: EngineError | Busy) -> bool:
        """Whether another instance can be asked, or another place. lease: that of who failed.

        False where the instance is not to blame. One that said that it is busy is left out for as
        long as it said; that is no failure, and nobody leaves.
        """
        if isinstance(error, Busy):
            return self._rest(lease, error)
        if self._doubts.move_on(lease, error):
            return True
        siblings = self._roster.get(lease.instance.spec.version)
        if siblings is None or siblings.is_alone or sign_of(error) is Sign.NOTHING:
            return False
        tenant = self._roster.tenants.get(lease.instance.key)
        return tenant is not None and siblings.can_serve_beside(tenant)

    def _rest(self, lease: Lease, error: Busy) -> bool:
        siblings = self._roster.get(lease.instance.spec.version)
        tenant = self._roster.tenants.get(lease.instance.key)
        if siblings is None or tenant is None or siblings.is_alone:
            return False
        moves = siblings.can_take_over(tenant)
        if moves or siblings.serve_without(tenant.instance.number):
            tenant.instance.health.rest(error.retry_after_s)
        return moves
