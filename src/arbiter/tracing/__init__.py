"""Traces by OpenTelemetry, for whoever wants them: off unless an endpoint is set.

Only `arbiter.tracing.opening` and what it imports needs the extra ``otel``; a house without traces
imports none of it.
"""
