"""Who finds models, and what becomes of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from arbiter.app.ground import Ground
from arbiter.house import own_addresses
from arbiter.pool.pool import Pool
from arbiter.registry.discovery import Discovery
from arbiter.registry.registry import Registry
from arbiter.swap.adoption import Adoption
from arbiter.swap.controller import Controller
from arbiter.swap.found_files import FoundFiles
from arbiter.swap.intake import Intake
from arbiter.swap.pulling import Pulling
from arbiter.swap.scouting import Scout


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """From a look at a server to a registered version."""

    intake: Intake
    adoption: Adoption
    scout: Scout
    pulling: Pulling


def build_discovery(
    ground: Ground, *, registry: Registry, pool: Pool, controller: Controller
) -> Finding:
    """Build them. Nobody looks yet."""
    settings, clock = ground.settings, ground.clock
    discovery = Discovery(
        engines=ground.engines,
        settings=settings.discovery,
        clock=clock,
        home=Path.home(),
        environment=os.environ,
        places=registry.places,
        own=own_addresses(settings.door.host, settings.door.port),
    )
    intake = Intake(
        registry=registry,
        controller=controller,
        pool=pool,
        aliases=settings.aliases,
        clock=clock,
        announcer=ground.announcer,
    )
    adoption = Adoption(
        discovery=discovery,
        registry=registry,
        intake=intake,
        pool=pool,
        options=settings.discovery.options,
    )
    return Finding(
        intake=intake,
        adoption=adoption,
        scout=Scout(
            discovery=discovery,
            adoption=adoption,
            files=FoundFiles(registry=registry, intake=intake),
            settings=settings.discovery,
            clock=clock,
        ),
        pulling=Pulling(discovery=discovery, registry=registry, adoption=adoption, clock=clock),
    )
