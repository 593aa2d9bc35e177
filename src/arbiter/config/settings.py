"""All sections together, and how two such differ."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, field_validator

from arbiter.config.calibration import CalibrationSettings
from arbiter.config.discovery import DiscoverySettings
from arbiter.config.door import DoorSettings
from arbiter.config.log import LogSettings
from arbiter.config.metering import MeteringSettings
from arbiter.config.pool import PoolSettings
from arbiter.config.privacy import PrivacySettings
from arbiter.config.rollout import RolloutSettings
from arbiter.config.section import Section
from arbiter.config.selection import SelectionSettings
from arbiter.config.telemetry import TelemetrySettings


class Settings(Section):
    """Everything that can be set."""

    data_dir: Path = Field(
        default_factory=lambda: Path.home() / ".arbiter", description="Where everything is kept."
    )
    door: DoorSettings = DoorSettings()
    selection: SelectionSettings = SelectionSettings()
    pool: PoolSettings = PoolSettings()
    rollout: RolloutSettings = RolloutSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    privacy: PrivacySettings = PrivacySettings()
    metering: MeteringSettings = MeteringSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    log: LogSettings = LogSettings()
    discovery: DiscoverySettings = DiscoverySettings()
    aliases: dict[str, str] = Field(
        default_factory=lambda: {
            "fast": "gemma3:1b",
            "primary": "gemma3n:e2b",
            "quality": "gemma3n:e4b",
            "alternative": "gemma3:4b",
        },
        description="Aliases to set when their model is first found, unless they stand already.",
    )

    @field_validator("data_dir")
    @classmethod
    def _at_home(cls, value: Path) -> Path:
        try:
            return value.expanduser().absolute()
        except RuntimeError as error:
            raise ValueError(f"{value} names the home of nobody here") from error


def differences(before: Settings, after: Settings) -> tuple[str, ...]:
    """The names of the settings that are not the same, such as ``pool.slots``.

    >>> one = Settings(pool=PoolSettings(slots=2))
    >>> differences(one, Settings(pool=PoolSettings(slots=3)))
    ('pool.slots',)
    """
    found = []
    for name in Settings.model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if isinstance(old, BaseModel):
            fields = type(old).model_fields
            found += [f"{name}.{f}" for f in fields if getattr(old, f) != getattr(new, f)]
        elif old != new:
            found.append(name)
    return tuple(found)
