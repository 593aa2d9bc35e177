"""An open house: what a program, the door and the command line do, through the same rooms.

This is the Python API. It builds nothing; `arbiter.app` does.
"""

from __future__ import annotations

from arbiter.house.addresses import own_addresses, reachable
from arbiter.house.answers import Answered, Embedded
from arbiter.house.house import House

__all__ = ["Answered", "Embedded", "House", "own_addresses", "reachable"]
