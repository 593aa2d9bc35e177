"""Traces of an open house, where somebody wants them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from arbiter.clock import Clock
from arbiter.config import TelemetrySettings
from arbiter.errors import ConfigError
from arbiter.events import Announcer

if TYPE_CHECKING:
    # needs the extra otel
    from opentelemetry.sdk.trace import SpanProcessor

    from arbiter.tracing.request import Traces


@asynccontextmanager
async def traced(
    settings: TelemetrySettings, spans: SpanProcessor | None, announcer: Announcer, clock: Clock
) -> AsyncIterator[Traces | None]:
    """Traces where an endpoint is set, or spans are taken; else None, and nothing is imported."""
    if settings.disabled or (settings.traces_url is None and spans is None):
        yield None
        return
    try:
        from arbiter.tracing.opening import opened  # noqa: PLC0415  # an extra, and half a second
    except ImportError as error:
        raise ConfigError(
            f"Traces are to be sent to {settings.traces_url}, and OpenTelemetry is not installed.",
            hint='pip install "arbiter-house[otel]", or unset telemetry.otlp_endpoint and the '
            "variable OTEL_EXPORTER_OTLP_ENDPOINT.",
            param="telemetry.otlp_endpoint",
        ) from error
    async with opened(settings, processor=spans, announcer=announcer, clock=clock) as traces:
        yield traces
