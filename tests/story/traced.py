"""Houses whose spans stay in memory, and what stories ask of spans."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Kept:
    """Every span that has ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.processor = SimpleSpanProcessor(self._exporter)

    def all(self) -> Sequence[ReadableSpan]:
        """In the order in which they ended."""
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        """Those with this name."""
        return [span for span in self.all() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        """The only one with this name."""
        (span,) = self.named(name)
        return span

    def below(self, parent: ReadableSpan) -> list[str]:
        """The names of a span's children, in the order of their beginnings."""
        children = [
            span
            for span in self.all()
            if span.parent is not None and span.parent.span_id == ids(parent)[1]
        ]
        return [span.name for span in sorted(children, key=lambda one: one.start_time or 0)]


def ids(span: ReadableSpan) -> tuple[int, int]:
    """A span's trace, and itself."""
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def said(span: ReadableSpan) -> dict[str, object]:
    """Its attributes."""
    return dict(span.attributes or {})
