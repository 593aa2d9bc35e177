"""Swaps: who drives them, and who validates."""

from __future__ import annotations

import os
from random import SystemRandom

from arbiter.app.ground import Ground
from arbiter.app.knowledge import Known
from arbiter.dispatch.dispatch import Dispatch
from arbiter.pool.pool import Pool, loadable
from arbiter.registry.registry import Registry
from arbiter.swap.controller import Controller
from arbiter.swap.hooks import Hooks
from arbiter.swap.lease import Leases
from arbiter.swap.validation import Validator


def build_controller(ground: Ground, *, registry: Registry, known: Known, pool: Pool) -> Controller:
    """Who drives rollouts. Nothing is driven yet."""
    return Controller(
        registry=registry,
        tasks=known.tasks,
        pool=pool,
        database=ground.database,
        clock=ground.clock,
        dice=ground.dice,
        announcer=ground.announcer,
        knowledge=known.digest,
        leases=Leases(
            holder=f"{os.getpid()}-{SystemRandom().getrandbits(64):016x}",
            # the data directory is locked: whoever drove a rollout of it before is gone
            is_sole=True,
            database=ground.database,
            clock=ground.clock,
        ),
        crash=ground.crash,
    )


def build_validator(
    ground: Ground, *, registry: Registry, known: Known, pool: Pool, dispatch: Dispatch
) -> Validator:
    """Who runs graded cases, by the same journey as any request."""
    return Validator(
        answer=dispatch,
        warm=lambda version: pool.warm(loadable(registry.version(version))),
        database=ground.database,
        learning=known.learning,
        clock=ground.clock,
        capabilities=lambda version: registry.version(version).artifact.capabilities,
        cases_per_task=ground.settings.rollout.calibration_cases,
        presence=ground.presence,
    )


def build_hooks(ground: Ground) -> Hooks:
    """Who tells others of rollouts."""
    rollout = ground.settings.rollout
    return Hooks(rollout.hooks, timeout_s=rollout.hook_timeout_s, clock=ground.clock)
