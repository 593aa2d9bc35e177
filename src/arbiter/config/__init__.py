"""Settings: a TOML file, the environment, the command line; the later wins.

Parsed with pydantic here, at the edge; every mistake names the field and what is allowed. Each
section is a module.
"""

from __future__ import annotations

from arbiter.config.calibration import CalibrationSettings
from arbiter.config.discovery import DiscoverySettings
from arbiter.config.door import DEFAULT_HOST, DEFAULT_PORT, DoorSettings
from arbiter.config.log import LogSettings
from arbiter.config.metering import MeteringSettings
from arbiter.config.pool import MOST_INSTANCES, PoolSettings
from arbiter.config.privacy import PrivacySettings
from arbiter.config.reading import ENVIRONMENT, load_settings
from arbiter.config.rollout import RolloutSettings
from arbiter.config.selection import SelectionSettings
from arbiter.config.settings import Settings, differences
from arbiter.config.telemetry import TelemetrySettings

__all__ = [
    "DEFAULT_HOST",
    "DEFAULT_PORT",
    "ENVIRONMENT",
    "MOST_INSTANCES",
    "CalibrationSettings",
    "DiscoverySettings",
    "DoorSettings",
    "LogSettings",
    "MeteringSettings",
    "PoolSettings",
    "PrivacySettings",
    "RolloutSettings",
    "SelectionSettings",
    "Settings",
    "TelemetrySettings",
    "differences",
    "load_settings",
]
