"""What every test has at hand: a manual clock, seeded dice, and a network that ends at loopback."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from arbiter.clock import ManualClock

# no test asserts how long something takes: a machine that is busy is no fault of what is tested
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# for `make mutation`: one whose examples change from run to run kills a mutant by luck, and nobody
# reads the smallest example that tells a mutant
settings.register_profile(
    "mutation",
    settings.get_profile("house"),
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "house"))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Collect between two files, and look no more at what has lived until then.

    What thousands of tests leave takes over a second to look through, and while that lasts nothing
    else runs: a server of a test is then as silent as one that a house gives up.
    """
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def dice() -> Random:
    return Random(20260101)


class DialledOut(AssertionError):
    """A test tried to reach something beyond this machine."""


@pytest.fixture(autouse=True, scope="session")
def _network_ends_at_loopback() -> Iterator[None]:
    """Fail whatever dials out. The one place that replaces a function, and for safety only."""
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:  # any address family's form
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            host = str(address[0])
            if host != "localhost" and not ip_address(host).is_loopback:
                raise DialledOut(f"a test dialled {address!r}")
        real(self, address)

    socket.socket.connect = connect  # type: ignore[method-assign, assignment]  # restored below
    yield
    socket.socket.connect = real  # type: ignore[method-assign]  # as it was
