"""Addresses of servers, as people write them and as the house writes them.

One form each: what is looked up by address (places, keys, what is known of a server) finds it
however it was written. Nothing here asks the network: an address that is well formed may lead
nowhere.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from arbiter.errors import InvalidField

_EXAMPLE: Final = "Write it as http://127.0.0.1:11434."
_NAME: Final = re.compile(r"[\w-]+(\.[\w-]+)*\.?")
_HERE: Final = frozenset({"localhost", "0.0.0.0", "::"})  # noqa: S104  # compared with
_LOOPBACK: Final = "127.0.0.1"
_OLLAMA_PORT: Final = 11434
_USUAL_PORTS: Final = {"http": 80, "https": 443}
_MOST_PORT: Final = 65535


def is_address(text: str) -> bool:
    """Whether a text is meant as an address and not as a file.

    >>> is_address("HTTP://box#model"), is_address("models/owl.gguf")
    (True, False)
    """
    return "://" in text


def parse_address(text: str) -> str:
    """Scheme, host, port and path of a server; ``http`` when no scheme is written.

    ``localhost`` and the addresses that mean every address become 127.0.0.1, so that one server is
    not taken for two. Servers listen there unless they were told otherwise; one that listens on
    ``::1`` alone is named so. A ``/v1`` at the end goes: every OpenAI path begins with it.

    Raises `InvalidField` for anything else. What may hold a password is not repeated in it: an
    error is shown, logged and kept.

    >>> parse_address("LocalHost:8000/v1/"), parse_address("HTTPS://[0:0::1]:9000/engines")
    ('http://127.0.0.1:8000', 'https://[::1]:9000/engines')
    """
    url = _without_user(text.strip())
    url = url if is_address(url) else f"http://{url}"
    try:
        parts = urlsplit(url)
        host = _host(parts.hostname or "")
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError as error:
        # a port that is none may be half of a password, so not even that is repeated
        raise InvalidField(f"An address is not right: {_why(url)}.", hint=_EXAMPLE) from error
    if parts.scheme not in _USUAL_PORTS:
        raise InvalidField(
            f"An address begins with http:// or https://, not {parts.scheme!r:.20}.", hint=_EXAMPLE
        )
    if parts.query or parts.fragment or not url.isprintable() or " " in url:
        raise InvalidField(
            "An address ends with its path, and has no blanks, no ? and no #.", hint=_EXAMPLE
        )
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return f"{parts.scheme}://{host}{port}{path}"


def parse_ollama_host(text: str) -> str:
    """The address that ``OLLAMA_HOST`` names, as Ollama's own commands read it.

    Quotes around it do not count. Without a scheme the port is 11434, with one it is the scheme's;
    a port that is none is the same as no port. Without a host it is this machine. Raises
    `InvalidField`.

    >>> parse_ollama_host(":11435"), parse_ollama_host("'::1'")
    ('http://127.0.0.1:11435', 'http://[::1]:11434')
    """
    scheme, found, rest = _without_user(text.strip(" \t\"'")).partition("://")
    if not found:
        scheme, rest = "http", scheme
    usual = _USUAL_PORTS.get(scheme.lower(), 0) if found else _OLLAMA_PORT
    authority, _, path = rest.partition("/")
    bare = authority.strip("[]")
    host, port = (bare, "") if _is_ip(bare) else _split(authority)
    if ":" in host:
        host = f"[{host}]"
    number = int(port) if port.isascii() and port.isdigit() else usual
    number = number if number <= _MOST_PORT else usual
    return parse_address(f"{scheme}://{host or _LOOPBACK}:{number}/{path}")


def _without_user(text: str) -> str:
    if "@" in text:
        raise InvalidField(
            "An address holds no user and no password.",
            hint="Put the key of a server into discovery.keys.",
        )
    return text


def _split(authority: str) -> tuple[str, str]:
    host, colon, port = authority.rpartition(":")
    return (host.strip("[]"), port) if colon else (authority, "")


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _host(name: str) -> str:
    """A host as it stands in an address. Raises `ValueError`."""
    host = str(ip_address(name)) if ":" in name else name
    if ":" not in host and not _NAME.fullmatch(host):
        raise ValueError(name)
    if host in _HERE:
        return _LOOPBACK
    return f"[{host}]" if ":" in host else host


def _why(url: str) -> str:
    authority = url.partition("://")[2].partition("/")[0]
    if not authority or authority.startswith(":"):
        return "it names no host"
    return "its host or its port is none"
