"""Local first, proved: all the tests run where there is no network but loopback.

`make test` runs them so; only those marked `outside` come after.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import pytest

DIAL = """
import socket
out = socket.socket()
out.settimeout(1)
try:
    out.connect(("192.0.2.1", 80))
except OSError as error:
    print(type(error).__name__)
"""


async def test_there_is_no_network_but_loopback_for_any_of_these_tests() -> None:
    if "TESTS_WITHOUT_A_NETWORK" not in os.environ:
        pytest.skip("needs make test, and a system that allows a network namespace")
    assert [name for _, name in socket.if_nameindex()] == ["lo"]
    # in a process of its own: in this one a test may not even try
    dialling = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DIAL, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await dialling.communicate()
    assert told.decode().strip() == "OSError"
