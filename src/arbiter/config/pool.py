"""The section ``pool``: what is loaded."""

from __future__ import annotations

from pydantic import Field, field_validator

from arbiter.config.section import Section, address

MOST_INSTANCES = 16
"""Of one version, on this machine."""


class PoolSettings(Section):
    """Loaded instances."""

    memory_mb: float | None = Field(
        None, gt=0, description="Memory for models; by default 70 % of what the machine has free."
    )
    context: int = Field(4096, ge=128, description="Largest context to load a model with, tokens.")
    slots: int = Field(4, ge=1, le=256, description="Requests that an instance serves at once.")
    threads: int | None = Field(None, ge=1, description="Threads of an instance; engine's default.")
    server_slots: int = Field(
        32, ge=1, le=4096, description="Requests sent at once to a model that a server offers."
    )
    queue: int = Field(256, ge=1, description="Requests that may wait for one version.")
    wait_s: float = Field(
        300.0, gt=0, description="Longest wait for a free slot, or for memory to load."
    )
    first_s: float | None = Field(
        None,
        gt=0,
        description="Longest silence before an answer begins, seconds; by default 600 of a server, "
        "300 of llama.cpp.",
    )
    next_s: float | None = Field(
        None,
        gt=0,
        description="Longest silence within an answer; by default 600 of Ollama, 120 of another "
        "server, 30 of llama.cpp. Never longer than first_s.",
    )
    whole_s: float | None = Field(
        None,
        gt=0,
        description="Longest time for an answer in one piece, and for the next piece of a stream "
        "that only keeps itself alive; by default 1800.",
    )
    drain_s: float = Field(
        600.0, gt=0, description="Call an unload off when answers still run after so many seconds."
    )
    turn_s: float = Field(
        30.0,
        gt=0,
        description="Once others have waited so long for its memory, a model in use ends its turn.",
    )
    stay_s: float = Field(
        10.0, ge=0, description="A model that was loaded and served nobody yet stays so long."
    )
    headroom_mb: float | None = Field(
        None, ge=0, description="Memory to leave to others; by default 5 % of the machine's."
    )
    look_s: float = Field(
        5.0,
        ge=0,
        description="Look this often at what others leave, what is pinned and who is stuck; "
        "0 does not look.",
    )
    probe_s: float = Field(
        300.0,
        ge=0,
        description="Probe a loaded model with a few tokens when nobody asked it for so long, and "
        "sooner when it fails; 0: never.",
    )
    probe_limit_s: float = Field(
        60.0, gt=0, description="A probe that has no whole answer by then has failed."
    )
    probe_on_battery: bool = Field(False, description="Whether to probe on battery too.")
    priorities: dict[str, int] = Field(
        default_factory=dict,
        description="By name: who has more leaves memory later. Without one a model has 0.",
    )
    instances: dict[str, int] = Field(
        default_factory=dict,
        description="By name: how often a model may be in memory at once, up to 16. One more is "
        "loaded when every slot is taken and there is room. Without one a model has 1.",
    )
    weights: dict[str, float] = Field(
        default_factory=dict,
        description="By a server's address: its share beside others with the same version; 0: only "
        "when no other can serve. Without one a server has 1.",
    )
    cache_bound: float = Field(
        2.0,
        ge=0,
        description="A conversation goes back to the instance whose cache holds it, unless that "
        "one has so many requests more than the least busy one.",
    )
    slow_start_s: float = Field(
        10.0,
        ge=0,
        description="An instance that is new, or well again, gets its share little by little for "
        "so long, or for 16 requests; 0: at once.",
    )
    helpers: tuple[str, ...] = Field(
        (),
        description="Names of models that only help others, such as a judge: no model that people "
        "use leaves memory for them.",
    )
    retry_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Of the requests of the last 10 s so many may be tried again, of all together.",
    )
    retry_floor: int = Field(
        32, ge=0, description="So many may be tried again in 10 s in any case."
    )

    @field_validator("instances")
    @classmethod
    def _few(cls, value: dict[str, int]) -> dict[str, int]:
        if not all(1 <= count <= MOST_INSTANCES for count in value.values()):
            raise ValueError(f"a model has 1 to {MOST_INSTANCES} instances")
        return value

    @field_validator("weights")
    @classmethod
    def _servers(cls, value: dict[str, float]) -> dict[str, float]:
        if not all(0 <= weight <= 1000 for weight in value.values()):
            raise ValueError("a weight is a number from 0 to 1000")
        return {address(url): weight for url, weight in value.items()}
