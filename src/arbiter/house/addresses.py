"""Where this machine reaches a door."""

from __future__ import annotations

from urllib.parse import quote

from arbiter.gateway.serving import Address


def own_addresses(host: str, port: int) -> frozenset[str]:
    """The addresses at which a door of these settings is reached from this machine.

    >>> sorted(own_addresses("127.0.0.1", 8017))
    ['http://127.0.0.1:8017', 'http://localhost:8017']
    """
    hosts = {"localhost", "127.0.0.1"}
    return frozenset(
        {f"http://{one}:{port}" for one in hosts} | {reachable(Address(host=host, port=port))}
    )


def reachable(address: Address) -> str:
    """The URL at which this machine reaches a door, also one that listens everywhere.

    >>> reachable(Address(host="0.0.0.0", port=8017))
    'http://127.0.0.1:8017'
    """
    host = f"[{address.host}]" if ":" in address.host else address.host
    everywhere = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  # compared with
    return f"http://{quote(everywhere.get(host, host), safe='[]:')}:{address.port}"
