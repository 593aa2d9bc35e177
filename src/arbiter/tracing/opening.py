"""Where spans go: to an OTLP endpoint that somebody named, and nowhere else.

The SDK's own variables hold too (``OTEL_SERVICE_NAME``, ``OTEL_RESOURCE_ATTRIBUTES``,
``OTEL_EXPORTER_OTLP_HEADERS``, ``OTEL_TRACES_SAMPLER``, ``OTEL_BSP_*`` ...). No proxy of the
environment is used and no redirect followed: either would be an address that nobody named.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from arbiter.clock import Clock
from arbiter.config import TelemetrySettings
from arbiter.engines.remote import is_loopback
from arbiter.events import Announcer
from arbiter.tracing.happenings import Happenings
from arbiter.tracing.request import Traces

LOG = logging.getLogger(__name__)
_UNNAMED = "unknown_service"
CLOSE_S = 2.0
"""How long what is left may take to be sent when the house closes."""


@asynccontextmanager
async def opened(
    settings: TelemetrySettings,
    *,
    processor: SpanProcessor | None,
    announcer: Announcer,
    clock: Clock,
) -> AsyncIterator[Traces]:
    """Traces of requests, and of what happens to models, for as long as the context is open.

    processor: takes the spans in place of the endpoint.
    """
    own = version("arbiter-house")
    provider = TracerProvider(resource=_resource(own), shutdown_on_exit=False)
    exporter: OTLPSpanExporter | None = None
    if processor is None:
        exporter = _to_endpoint(settings)
        processor = BatchSpanProcessor(exporter)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("arbiter", own)
    happenings = Happenings(tracer, announcer, clock)
    listening = asyncio.create_task(happenings.listen())
    try:
        yield Traces(tracer=tracer, clock=clock, record_content=settings.record_content)
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening
        happenings.close()
        await _sent(provider, exporter)


async def _sent(provider: TracerProvider, exporter: OTLPSpanExporter | None) -> None:
    """Send what is left; a collector that is gone is not tried for long."""
    closing = asyncio.create_task(asyncio.to_thread(provider.shutdown))
    _, late = await asyncio.wait({closing}, timeout=CLOSE_S)
    if late and exporter is not None:
        # it sleeps between its tries, and this wakes it for good
        exporter.shutdown()  # type: ignore[no-untyped-call]  # theirs
    await closing


def _resource(own: str) -> Resource:
    """What the environment says of this program; else its name."""
    found = Resource.create({"service.version": own})
    if str(found.attributes.get(SERVICE_NAME, _UNNAMED)).startswith(_UNNAMED):
        found = found.merge(Resource({SERVICE_NAME: "arbiter"}))
    return found


def _to_endpoint(settings: TelemetrySettings) -> OTLPSpanExporter:
    url = settings.traces_url
    if url is not None and not is_loopback(url):
        LOG.warning("traces of requests are sent to %s, which is not this machine", url)
    session = requests.Session()
    session.trust_env = False
    session.max_redirects = 0
    return OTLPSpanExporter(endpoint=url, session=session)
