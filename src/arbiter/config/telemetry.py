"""The section ``telemetry``: where it sends traces."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from arbiter.config.section import Section

WEB = frozenset({"http", "https"})
"""How the address of a collector begins."""


class TelemetrySettings(Section):
    """Traces, for OpenTelemetry. Nothing is written or sent unless an endpoint is set."""

    otlp_endpoint: str | None = Field(
        None,
        description="Address of an OTLP collector, to which traces are sent, such as "
        "http://127.0.0.1:4318; /v1/traces is put behind it.",
    )
    otlp_traces_endpoint: str | None = Field(
        None, description="The whole address for traces, taken as it is and in place of the other."
    )
    record_content: bool = Field(
        False, description="Whether traces hold what was asked and answered."
    )
    disabled: bool = Field(False, description="Write no traces, whatever endpoint is set.")

    @field_validator("otlp_endpoint", "otlp_traces_endpoint")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).scheme not in WEB:
            raise ValueError("it begins with http:// or https://")
        return value

    @property
    def traces_url(self) -> str | None:
        """Where traces are sent; None: nowhere.

        >>> TelemetrySettings(otlp_endpoint="http://127.0.0.1:4318/").traces_url
        'http://127.0.0.1:4318/v1/traces'
        """
        if self.disabled:
            return None
        if self.otlp_traces_endpoint is not None:
            return self.otlp_traces_endpoint
        base = self.otlp_endpoint
        return None if base is None else f"{base.rstrip('/')}/v1/traces"
