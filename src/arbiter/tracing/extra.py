"""Whether traces can be sent, asked without importing what sends them: that takes half a second."""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from typing import Final

PACKAGES: Final = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")
"""What the extra brings."""

MEND: Final = 'pip install "arbiter-house[otel]"'


def is_complete(packages: Collection[str]) -> bool:
    """Whether these packages are enough to send traces.

    >>> is_complete(["opentelemetry-sdk", "aiohttp"])
    False
    """
    return set(PACKAGES) <= set(packages)


def is_installed() -> bool:
    """Whether they are here."""
    try:
        return all(version(name) for name in PACKAGES)
    except PackageNotFoundError:
        return False


def without_extra(url: str | None) -> str:
    """What to say where they are not.

    >>> without_extra("http://127.0.0.1:4318/v1/traces")[:62]
    'no traces are written to http://127.0.0.1:4318/v1/traces: Open'
    """
    return (
        f"no traces are written to {url}: OpenTelemetry is not installed; {MEND}, "
        "or unset telemetry.otlp_endpoint and the variable OTEL_EXPORTER_OTLP_ENDPOINT"
    )
