"""Where a server is, as two attributes of a span."""

from __future__ import annotations

from urllib.parse import urlsplit


def host_and_port(url: str) -> tuple[str, int | None]:
    """The host of an address, and its port if one is known.

    >>> host_and_port("http://[::1]:11434/"), host_and_port("https://models.example")
    (('::1', 11434), ('models.example', 443))
    """
    parts = urlsplit(url)
    usual = {"http": 80, "https": 443}
    return parts.hostname or "", parts.port or usual.get(parts.scheme)
