"""Traces of an open house, where somebody wants them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from arbiter.clock import Clock
from arbiter.config import TelemetrySettings
from arbiter.events import Announcer

if TYPE_CHECKING:
    # needs the extra otel
    from opentelemetry.sdk.trace import SpanProcessor

    from arbiter.tracing.request import Traces


LOG = logging.getLogger(__name__)


@asynccontextmanager
async def traced(
    settings: TelemetrySettings, spans: SpanProcessor | None, announcer: Announcer, clock: Clock
) -> AsyncIterator[Traces | None]:
    """Traces where an endpoint is set, or spans are taken; else None, and nothing is imported.

    An endpoint may be set for every program of a person: what is missing to write to it is told,
    and keeps nobody from working.
    """
    if settings.disabled or (settings.traces_url is None and spans is None):
        yield None
        return
    try:
        from arbiter.tracing.opening import opened  # noqa: PLC0415  # an extra, and half a second
    except ImportError:
        from arbiter.tracing.extra import without_extra  # noqa: PLC0415  # only here

        LOG.warning("%s", without_extra(settings.traces_url))
        yield None
        return
    async with opened(settings, processor=spans, announcer=announcer, clock=clock) as traces:
        yield traces
