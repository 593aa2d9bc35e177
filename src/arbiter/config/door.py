"""The section ``door``: where the house listens."""

from __future__ import annotations

from pydantic import Field

from arbiter.config.section import Section

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8017


class DoorSettings(Section):
    """Where the door listens and whom it lets in."""

    host: str = Field(DEFAULT_HOST, description="Address to listen on.")
    port: int = Field(DEFAULT_PORT, ge=0, le=65535, description="Port to listen on; 0 picks one.")
    keys: tuple[str, ...] = Field(
        (), description="Keys that clients must send. Needed for any host but loopback."
    )
    allowed_hosts: tuple[str, ...] = Field(
        (), description="Further names that may stand in the Host header."
    )
    allowed_origins: tuple[str, ...] = Field(
        (),
        description="Web pages of other addresses that may use the house, such as "
        "http://localhost:3000. * is every page, and needs keys.",
    )
    max_body_mb: float = Field(16.0, gt=0, le=1024, description="Largest request body, in MB.")
    drain_s: float = Field(
        20.0, ge=0, description="How long running requests may go on when the house closes."
    )
    tell_after_s: float = Field(
        10.0,
        ge=0,
        description="A stream that waits so long begins with comments that say for what; 0: never.",
    )
