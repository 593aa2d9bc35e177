"""The models of an open house as a client that looks after models itself sees them.

It is thin: the registry, the pool and the rooms of a pull do the work. Nothing here knows a wire
format.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from arbiter.engines.base import PullStep
from arbiter.errors import UnknownModel
from arbiter.gateway.openai import read_target
from arbiter.gateway.rooms import LoadedModel, ModelFacts
from arbiter.inference import Auto, Pinned
from arbiter.pool.instance import State
from arbiter.pool.pool import Pool, loadable
from arbiter.refs import parse_name
from arbiter.registry.registry import Registry, Version
from arbiter.swap.admission import Admission
from arbiter.swap.pulling import Pulling

AUTO = "auto"


class HouseShelf:
    """The models of a house (`arbiter.gateway.rooms.Shelf`).

    capabilities: what a version can do with the engine that runs it here.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        pool: Pool,
        pulling: Pulling,
        admission: Admission,
        capabilities: Callable[[Version], frozenset[str]],
    ) -> None:
        self._registry = registry
        self._pool = pool
        self._pulling = pulling
        self._admission = admission
        self._capabilities = capabilities

    def all(self) -> Sequence[ModelFacts]:
        """Every name, ``auto`` first."""
        named = [
            self._facts(name.name, self._registry.version(name.version))
            for name in self._registry.names()
        ]
        return [_auto(named), *named]

    def find(self, model: str) -> ModelFacts:
        """What is known of a name. Raises `UnknownModel`."""
        version = self._version(model)
        if version is None:
            return self.all()[0]
        name = model.partition("@")[0]
        return self._facts(self._registry.meant(parse_name(name)), version)

    def loaded(self) -> Sequence[LoadedModel]:
        """What is in memory now, each by all of its names."""
        found = []
        for view in self._pool.views():
            if view.state is not State.READY:
                continue
            version = self._registry.version(view.version)
            wanted = loadable(version)
            found += [
                LoadedModel(
                    facts=self._facts(name, version),
                    memory_bytes=view.measured_bytes,
                    context=self._pool.room_in(wanted),
                    accelerator_bytes=sum(view.accelerator_bytes.values()),
                )
                for name in self._registry.names_of(view.version)
            ]
        return found

    async def load(self, model: str) -> None:
        """Have a model in memory; for ``auto`` nothing is loaded before it is asked something."""
        version = self._version(model)
        if version is not None:
            await self._pool.warm(loadable(version), by_person=True)

    async def unload(self, model: str) -> None:
        """Let a model go, unless somebody is using it. Raises `UnknownModel`."""
        version = self._version(model)
        if version is not None:
            await self._pool.let_go(version.version, reason="a client asked for it")

    async def pull(self, model: str, tell: Callable[[PullStep], None]) -> None:
        """Have the server that offers a model fetch it, and take it in."""
        await self._pulling.pull(model, url=None, tell=tell)

    async def remove(self, model: str) -> None:
        """Forget a name. Raises `UnknownModel`, `StillInUse`."""
        await self._admission.remove_model(self._registry.meant(parse_name(model)), who="api")

    def _version(self, model: str) -> Version | None:
        """The version that is meant; None when the house is to pick one."""
        target, _ = read_target(model)
        if isinstance(target, Auto):
            if model != AUTO:
                raise UnknownModel(f"{model!r:.130} is a task and no model.", param="model")
            return None
        if isinstance(target, Pinned):
            return self._registry.pinned(target.name, target.digest_prefix)
        return self._registry.resolve(target.name)

    def _facts(self, name: str, version: Version) -> ModelFacts:
        artifact = version.artifact
        return ModelFacts(
            name=name,
            version=version.version,
            registered_at=datetime.fromisoformat(version.registered_at),
            size_bytes=artifact.size_bytes,
            format=artifact.format,
            architecture=artifact.architecture or "",
            parameters=artifact.parameters,
            quantization=artifact.quantization or "",
            context_length=artifact.context_length,
            capabilities=tuple(sorted(self._capabilities(version))),
            licence=artifact.licence or "",
        )


def _auto(named: Sequence[ModelFacts]) -> ModelFacts:
    """The house's own choice: what any of its models can do, it can do."""
    able = frozenset[str]().union(*[one.capabilities for one in named])
    return ModelFacts(name=AUTO, version="", format="arbiter", capabilities=tuple(sorted(able)))
