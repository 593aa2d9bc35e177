"""A request as spans: the request itself, and below it decide, queue, load and engine.

Names are those of the GenAI conventions (open-telemetry/semantic-conventions-genai,
``client-inference.md`` and ``client-embeddings.md``, in development when this was written);
what they have no word for begins with ``arbiter.``. What people ask and what is answered is only
recorded when ``telemetry.record_content`` says so, and never a picture or a sound.

Nothing here decides anything: a house with traces answers as one without.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opentelemetry.context import Context
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from arbiter.clock import Clock
from arbiter.engines.base import ServedRunner
from arbiter.engines.remote import CARRIED
from arbiter.errors import ArbiterError, InstanceLost
from arbiter.inference import (
    Ask,
    Auto,
    Chat,
    Completion,
    Decided,
    Embedding,
    Message,
    Named,
    Pinned,
    Work,
)
from arbiter.pool.lease import Lease
from arbiter.pool.reply import Served
from arbiter.tracing.places import host_and_port

PROVIDER = "arbiter"
SHORTEST_LOAD_S = 0.001
"""What takes less was no wait for a load."""

_DIGITS = 12
_PROPAGATOR = TraceContextTextMapPropagator()

Attributes = dict[str, AttributeValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """Begins the trace of each request."""

    tracer: Tracer
    clock: Clock
    record_content: bool = False

    def begin(self, ask: Ask) -> Trace:
        """A request has come, perhaps with the trace of whoever sent it."""
        return Trace(self, ask)


class Trace:
    """One request's spans. Its methods are called in the order in which they stand here."""

    __slots__ = ("_ask", "_begun", "_context", "_decide", "_epoch_ns", "_open", "_root", "_traces")

    def __init__(self, traces: Traces, ask: Ask) -> None:
        self._traces = traces
        self._ask = ask
        self._begun = traces.clock.monotonic()
        # one reading of the wall clock for all of a request: its spans cannot overtake each other
        self._epoch_ns = int(traces.clock.now().timestamp() * 1e6) * 1000
        parent = _PROPAGATOR.extract(dict(ask.trace)) if ask.trace else Context()
        self._root = traces.tracer.start_span(
            f"{operation(ask.work)} {asked_for(ask)}",
            context=parent,
            kind=SpanKind.SERVER,
            attributes=_asked(ask),
            start_time=self._epoch_ns,
        )
        self._context = set_span_in_context(self._root, parent)
        self._decide: Span | None = self._child("decide", self._begun)
        self._open: Span | None = None

    def named(self) -> dict[str, str]:
        """By which it is found again from a line of the log, in OpenTelemetry's words."""
        context = self._root.get_span_context()
        return {
            "trace_id": format_trace_id(context.trace_id),
            "span_id": format_span_id(context.span_id),
        }

    def decided(self, decided: Decided) -> None:
        """It is known who answers."""
        span, self._decide = self._decide, None
        if span is not None:
            span.set_attributes(
                {
                    "arbiter.reason": decided.reason,
                    "arbiter.probability": decided.probability,
                    "arbiter.considered": len(decided.scores),
                    "arbiter.dropped": len(decided.dropped),
                }
            )
            span.end(self._now())
        self._root.set_attributes(_told(decided))

    def asks(self, version: str) -> None:
        """It stands in line for a version, now or once more."""
        self.failed(InstanceLost())
        self._open = self._child("queue", self._traces.clock.monotonic())
        self._open.set_attribute("arbiter.version", version)

    def lent(self, lease: Lease) -> None:
        """It has a slot, and the engine is asked; a server elsewhere is told of the trace."""
        version, load_s = lease.instance.spec.version, lease.load_ms / 1000.0
        turn = lease.since - load_s
        if self._open is not None:
            self._open.end(self._at(turn))
        if load_s >= SHORTEST_LOAD_S:
            load = self._child("load", turn)
            load.set_attribute("arbiter.version", version)
            load.end(self._at(lease.since))
        self._open = self._child(
            "engine", lease.since, kind=SpanKind.CLIENT, attributes=_served(lease)
        )
        carried: dict[str, str] = {}
        _PROPAGATOR.inject(carried, set_span_in_context(self._open, self._context))
        CARRIED.set(carried)

    def begun(self) -> None:
        """The first piece is there; what is asked of a server from now on is no part of this."""
        CARRIED.set(None)

    def failed(self, error: BaseException) -> None:
        """What it waited for did not come."""
        CARRIED.set(None)
        if self._open is not None:
            _blame(self._open, error)
            self._open.end(self._now())
            self._open = None

    def refused(self, error: BaseException) -> None:
        """Nobody was decided on, so this is all of it."""
        if self._decide is not None:
            _blame(self._decide, error)
            self._decide.end(self._now())
        self._end("refused", error)

    def ended(
        self, decided: Decided, served: Served | None, status: str, error: ArbiterError | None
    ) -> None:
        """Nothing more comes. status: success, failure, cancelled or refused."""
        if error is not None:
            self.failed(error)
        elif self._open is not None:
            self._open.end(self._now())
        self._root.set_attributes(_told(decided))
        if served is not None:
            self._root.set_attributes(_spent(served))
            if self._traces.record_content and served.is_text:
                self._root.set_attribute("gen_ai.output.messages", _said(served))
        if self._traces.record_content:
            self._root.set_attributes(_content(self._ask.work))
        self._end(status, error)

    def _end(self, status: str, error: BaseException | None) -> None:
        self._root.set_attribute("arbiter.status", status)
        if error is not None:
            _blame(self._root, error)
        self._root.end(self._now())

    def _child(
        self,
        name: str,
        at: float,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes | None = None,
    ) -> Span:
        return self._traces.tracer.start_span(
            name, context=self._context, kind=kind, attributes=attributes, start_time=self._at(at)
        )

    def _at(self, monotonic: float) -> int:
        """A moment in nanoseconds since 1970."""
        return self._epoch_ns + int((monotonic - self._begun) * 1e9)

    def _now(self) -> int:
        return self._at(self._traces.clock.monotonic())


def operation(work: Work) -> str:
    """The conventions' word for what is asked.

    >>> operation(Completion(prompt="Once"))
    'text_completion'
    """
    match work:
        case Chat():
            return "chat"
        case Completion():
            return "text_completion"
        case Embedding():
            return "embeddings"


def asked_for(ask: Ask) -> str:
    """Whom a request names, as a client would write it."""
    match ask.target:
        case Named(name=name):
            return name
        case Pinned(name=name, digest_prefix=prefix):
            return f"{name}@{prefix[:_DIGITS]}"
        case Auto():
            return "auto" if ask.task is None else f"task:{ask.task}"


def _asked(ask: Ask) -> Attributes:
    """What is known when a request comes, so that a sampler can go by it."""
    found: Attributes = {
        "gen_ai.operation.name": operation(ask.work),
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": asked_for(ask),
    }
    if ask.rehearsal:
        found["arbiter.rehearsal"] = True
    if ask.sent_as is not None:
        found["arbiter.client_request_id"] = ask.sent_as
    if isinstance(ask.work, Embedding):
        if ask.work.dimensions is not None:
            found["gen_ai.embeddings.dimension.count"] = ask.work.dimensions
        return found
    if ask.stream:
        found["gen_ai.request.stream"] = True
    if isinstance(ask.work, Chat) and ask.work.shape is not None:
        found["gen_ai.output.type"] = "json"
    sampling = ask.sampling
    said: Mapping[str, float | None] = {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "seed": sampling.seed,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
    }
    found.update(
        {f"gen_ai.request.{name}": value for name, value in said.items() if value is not None}
    )
    return found


def _told(decided: Decided) -> Attributes:
    found: Attributes = {
        "gen_ai.response.id": decided.decision,
        "gen_ai.response.model": decided.alias,
        "arbiter.decision": decided.decision,
        "arbiter.task": decided.task,
        "arbiter.alias": decided.alias,
        "arbiter.version": decided.version,
        "arbiter.arm": decided.arm.value,
    }
    if decided.rollout is not None:
        found["arbiter.rollout"] = decided.rollout
    return found


def _served(lease: Lease) -> Attributes:
    instance, runner = lease.instance, lease.runner
    found: Attributes = {
        "arbiter.version": instance.spec.version,
        "arbiter.engine": instance.engine.name,
    }
    if isinstance(runner, ServedRunner):
        host, port = host_and_port(runner.place.url)
        found["server.address"] = host
        if port is not None:
            found["server.port"] = port
    return found


def _spent(served: Served) -> Attributes:
    receipt = served.receipt
    cpu = receipt.cpu_ms
    known: Mapping[str, float | None] = {
        "gen_ai.usage.input_tokens": receipt.usage.prompt_tokens,
        "gen_ai.usage.output_tokens": receipt.usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": receipt.usage.cached_tokens,
        "gen_ai.response.time_to_first_chunk": (
            None if receipt.ttft_ms is None else receipt.ttft_ms / 1000.0
        ),
        "arbiter.wait_ms": receipt.wait_ms,
        "arbiter.cpu_ms": None if cpu is None else cpu.value,
    }
    found: Attributes = {name: value for name, value in known.items() if value is not None}
    if served.reason is not None:
        found["gen_ai.response.finish_reasons"] = [served.reason.value]
    return found


def _content(work: Work) -> Attributes:
    """What was asked, as the conventions' JSON; of pictures and sounds only that there is one."""
    match work:
        case Chat(messages=messages):
            return {"gen_ai.input.messages": _messages(messages)}
        case Completion(prompt=prompt):
            return {"gen_ai.input.messages": _messages([Message(role="user", content=prompt)])}
        case Embedding():
            return {}


def _messages(messages: Sequence[Message]) -> str:
    return json.dumps(
        [
            {
                "role": one.role,
                "parts": [
                    {"type": "text", "content": one.content},
                    *({"type": media.kind} for media in one.media),
                    *(
                        {
                            "type": "tool_call",
                            "id": call.id,
                            "name": call.name,
                            "arguments": call.arguments,
                        }
                        for call in one.calls
                    ),
                ],
            }
            for one in messages
        ]
    )


def _said(served: Served) -> str:
    reason = "" if served.reason is None else served.reason.value
    part = {"type": "text", "content": "".join(served.text)}
    return json.dumps([{"role": "assistant", "parts": [part], "finish_reason": reason}])


def _blame(span: Span, error: BaseException) -> None:
    """Say what class of error it was, and never in its words: they may quote a prompt."""
    if not isinstance(error, ArbiterError):
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(Status(StatusCode.ERROR))
        return
    span.set_attribute("error.type", error.code)
    if not error.ours or error.status >= 500:
        span.set_status(Status(StatusCode.ERROR))
