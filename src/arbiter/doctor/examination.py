"""The whole of it: look at everything, and say what it means."""

from __future__ import annotations

import asyncio
import tempfile
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
from arbiter.engines.base import EngineContext, installed_engines


async def examined(
    settings: Settings,
    clock: Clock,
    *,
    is_running: bool,
    paranoid: bool,
    config: Path | None = None,
) -> tuple[Finding, ...]:
    """Every finding about this machine and this data directory.

    is_running: whether a house of this data directory runs. paranoid: look for code that runs when
    Python starts, too. config: the file that the settings come from. Nothing is changed, and nobody
    is asked but this machine and the servers that the settings name.
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
            port=look_at_port(settings.door.host, settings.door.port, house=is_running),
            sqlite=apsw.sqlite_lib_version(),
            packages=packages,
            engines=await asyncio.to_thread(look_at_engines, engines),
            servers=servers,
            strays=await asyncio.to_thread(strays) if paranoid else None,
            config=None if config is None else look_at_config(config, settings),
            names=await asyncio.to_thread(names_in, settings.data_dir),
            lacks=lacking(settings, packages),
            ahead_s=await asyncio.to_thread(ahead_of, settings.data_dir, now),
        )
    return examine(facts, known, today=now.date())
