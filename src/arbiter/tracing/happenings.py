"""What happens to models, as spans: one for a rollout from its start to its end, one for a load.

Each event of a rollout is a short span below it, written at once, because a rollout may last for
days and its own span is only written at its end. A house that closes ends what is open: the
rollout goes on with the next house, in a span of its own, under the same ``arbiter.rollout``.
"""

from __future__ import annotations

from datetime import datetime

from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode, Tracer, set_span_in_context

from arbiter.clock import Clock
from arbiter.events import AS_MANY_AS_REQUESTS, Announcer, Event

CAPACITY = 8_192
OVER = frozenset(
    {"rollout.blocked", "rollout.aborted", "rollout.rolled_back", "rollout.undone"}
    | {"rollout.retired"}
)
"""The ends of a rollout. A promotion is none: it is watched."""

LOADED = frozenset({"instance.ready", "instance.failed", "instance.cold"})


class Happenings:
    """Writes events as spans."""

    def __init__(self, tracer: Tracer, announcer: Announcer, clock: Clock) -> None:
        self._tracer = tracer
        self._announcer = announcer
        self._clock = clock
        self._rollouts: dict[str, Span] = {}
        self._loads: dict[str, Span] = {}

    async def listen(self) -> None:
        """Take up every event, for ever."""
        with self._announcer.listening(capacity=CAPACITY) as listener:
            async for event in listener.stream():
                self.take(event)

    def take(self, event: Event) -> None:
        """Write one event."""
        if event.kind in AS_MANY_AS_REQUESTS:
            return
        if event.kind.startswith("rollout."):
            self._rollout(event)
        elif event.kind == "instance.loading" or (
            event.kind in LOADED and str(event.detail.get("version")) in self._loads
        ):
            self._load(event)
        else:
            self._moment(event, Context())

    def close(self) -> None:
        """End what is open."""
        now = _ns(self._clock.now())
        for span in (*self._rollouts.values(), *self._loads.values()):
            span.set_attribute("arbiter.open", True)
            span.end(now)
        self._rollouts.clear()
        self._loads.clear()

    def _rollout(self, event: Event) -> None:
        id_ = str(event.detail.get("rollout"))
        span = self._rollouts.get(id_)
        if span is None:
            span = self._rollouts[id_] = self._tracer.start_span(
                f"rollout {event.detail.get('alias')}",
                context=Context(),
                attributes={"arbiter.rollout": id_},
                start_time=_ns(event.at),
            )
        self._moment(event, set_span_in_context(span, Context()))
        if event.kind in OVER:
            span.set_attribute("arbiter.phase", event.kind.partition(".")[2])
            span.end(_ns(event.at))
            del self._rollouts[id_]

    def _load(self, event: Event) -> None:
        version = str(event.detail.get("version"))
        span = self._loads.pop(version, None)
        if event.kind == "instance.loading":
            self._loads[version] = span or self._tracer.start_span(
                "load",
                context=Context(),
                attributes={"arbiter.version": version},
                start_time=_ns(event.at),
            )
        elif span is not None:
            span.set_attribute("arbiter.state", event.kind.partition(".")[2])
            if event.kind == "instance.failed":
                span.set_status(Status(StatusCode.ERROR))
            span.end(_ns(event.at))

    def _moment(self, event: Event, context: Context) -> None:
        span = self._tracer.start_span(event.kind, context=context, start_time=_ns(event.at))
        for name, value in event.detail.items():
            if value is not None:
                span.set_attribute(f"arbiter.{name}", value)
        span.end(_ns(event.at))


def _ns(at: datetime) -> int:
    return int(at.timestamp() * 1e6) * 1000
