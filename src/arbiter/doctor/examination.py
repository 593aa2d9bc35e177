"""The whole of it: look at everything, and say what it means."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import apsw

from arbiter.clock import Clock
from arbiter.config import Settings
from arbiter.doctor.facts import (
    Facts,
    ahead_of,
    installed,
    lacking,
    look_at_config,
    look_at_engines,
    look_at_folder,
    look_at_port,
    look_at_servers,
    names_in,
    strays,
)
from arbiter.doctor.findings import Finding, examine, read_known_bad
from arbiter.doctor.instances import complaints
from arbiter.doctor.meters import Meters, look_at_meters
from arbiter.engines.base import EngineContext, installed_engines
from arbiter.hardware.found import find_hardware
from arbiter.hardware.powercap import Domain
from arbiter.metering.process import ProcessReader


async def examined(
    settings: Settings,
    clock: Clock,
    *,
    door: str | None,
    paranoid: bool,
    instances: Mapping[str, object] | None = None,
    config: Path | None = None,
) -> tuple[Finding, ...]:
    """Every finding about this machine and this data directory.

    door: the address of the house of this data directory that runs; None: none does. paranoid: look
    for code that runs when Python starts, too. config: the file that the settings come from.
    instances: what the running house tells of the models that it has loaded. Nothing is changed,
    and nobody is asked but this machine and the servers that the settings name.
    """
    known = read_known_bad((files("arbiter.doctor") / "known_bad.toml").read_text("utf-8"))
    now = clock.now()
    with tempfile.TemporaryDirectory(prefix="arbiter-doctor-") as folder:
        context = EngineContext(clock=clock, run_dir=Path(folder), keys=settings.discovery.keys)
        engines = await asyncio.to_thread(installed_engines, context)
        servers = await look_at_servers(
            engines, settings.discovery.servers, usual=settings.discovery.usual
        )
        packages = await asyncio.to_thread(installed)
        facts = Facts(
            data_dir=await asyncio.to_thread(look_at_folder, settings.data_dir),
            port=look_at_port(settings.door.host, settings.door.port, house=door),
            sqlite=apsw.sqlite_lib_version(),
            packages=packages,
            engines=await asyncio.to_thread(look_at_engines, engines),
            servers=servers,
            strays=await asyncio.to_thread(strays) if paranoid else None,
            complaints=complaints(instances or {}),
            config=None if config is None else look_at_config(config, settings),
            names=await asyncio.to_thread(names_in, settings.data_dir),
            lacks=lacking(settings, packages),
            ahead_s=await asyncio.to_thread(ahead_of, settings.data_dir, now),
            meters=await asyncio.to_thread(_meters, settings.metering.rapl),
        )
    return examine(facts, known, today=now.date())


def _meters(domain: Domain) -> Meters:
    return look_at_meters(find_hardware(domain=domain), ProcessReader())
