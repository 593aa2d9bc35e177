"""The control API's addresses about models: registered, shown, checked, forgotten."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from fastapi import APIRouter
from pydantic import Field

from arbiter.addresses import is_address, parse_address
from arbiter.errors import InvalidField
from arbiter.gateway import views
from arbiter.gateway.control_base import WHO, ControlBody, Lines, Plain, Say, streamed, telling
from arbiter.gateway.paging import Wanted
from arbiter.knowledge.learning import Learning
from arbiter.knowledge.profiles import Profiles
from arbiter.pool.pool import Pool, loadable
from arbiter.refs import VersionId, parse_name, short
from arbiter.registry.artifact import TEMPLATE_OPTION
from arbiter.registry.checking import Checked, check_files
from arbiter.registry.provenance import Claim, Provenance
from arbiter.registry.registry import Registry, Version
from arbiter.swap.admission import Admission
from arbiter.swap.adoption import Adoption
from arbiter.swap.examining import Examination, Examining


class ClaimBody(ControlBody):
    """What you claim of a model's making: it is kept in the ledger as your word."""

    trained_on: tuple[str, ...] = Field((), description="Data that it was trained on.")
    base: str | None = Field(None, description="The model that it was made from.")
    licence: str | None = Field(None, description="Its licence.")
    specializations: tuple[str, ...] = Field((), description="What it is made for.")
    trainer: str | None = Field(None, description="Who trained it.")
    script_commit: str | None = Field(None, description="The commit of the script that trained it.")

    def claim(self) -> Claim:
        """As the house's own value. Raises `InvalidField`."""
        return Claim(**self.model_dump())


class AddModel(ControlBody):
    """A model to register: a file, or a server's model as ``http://HOST:PORT#MODEL``."""

    path: str = Field(
        min_length=1,
        max_length=4096,
        description="A file of this machine, or http://HOST:PORT#MODEL.",
    )
    name: str = Field(description="The name to ask for it by.")
    predecessor: str | None = Field(None, description="The model that it is a newer version of.")
    chat_template: str | None = Field(
        None, max_length=200_000, description="A template in place of the file's own."
    )
    aliases: tuple[str, ...] = Field((), description="Further names for it.")
    calibrate: bool = Field(
        True, description="Whether the graded cases of every task are run with it."
    )
    claim: ClaimBody = Field(ClaimBody(), description="What you know of its making.")

    def served(self) -> tuple[str, str]:
        """The server and the model there, when it is no file that is to be registered.

        Raises `InvalidField` for an address without a model, or with a template of its own.
        """
        if not is_address(self.path):
            return "", ""
        address, _, model = self.path.partition("#")
        url = parse_address(address)
        if not model:
            raise InvalidField(
                f"{url} names a server, not a model.",
                hint="Write it as http://127.0.0.1:11434#gemma3:1b, or see what is there: "
                "arbiter models discover.",
                param="path",
            )
        if self.chat_template is not None:
            raise InvalidField(
                "A model that a server runs has its server's chat template.",
                hint="Set it there, or register the model's file.",
                param="chat_template",
            )
        return url, model

    def options(self) -> dict[str, str]:
        """What changes the model's output, by the names that the registry knows."""
        return {} if self.chat_template is None else {TEMPLATE_OPTION: self.chat_template}


class VerifyModels(ControlBody):
    """Which models' files to read again. names: all that are registered when empty."""

    names: tuple[str, ...] = Field((), description="Their names; none: all that are registered.")


def models_router(
    *,
    registry: Registry,
    admission: Admission,
    adoption: Adoption,
    pool: Pool,
    learning: Learning,
    examining: Examining,
) -> APIRouter:
    """The addresses."""
    router = APIRouter(tags=["models"])

    @router.get("/models")
    async def list_models(page: Wanted) -> Plain:
        """Every registered version, with its names."""
        found, after = page.of(registry.versions(), key=lambda v: f"{v.registered_at} {v.version}")
        return {"models": [views.version_view(v, registry) for v in found], "next": after}

    @router.post("/models", response_class=Lines)
    async def add_model(body: AddModel) -> Lines:
        """Register a file, or a server's model, and run the graded cases of every task."""
        name = parse_name(body.name)
        before = None if body.predecessor is None else parse_name(body.predecessor)
        url, model = body.served()
        if model:
            version = await adoption.add(
                url, model, name, predecessor=before, claim=body.claim.claim(), who=WHO
            )
        else:
            version = await admission.register(
                Path(body.path),
                name,
                predecessor=before,
                options=body.options(),
                claim=body.claim.claim(),
                who=WHO,
            )
        for alias in body.aliases:
            await admission.set_alias(parse_name(alias, what="alias"), name, who=WHO)

        async def work(say: Say) -> Plain:
            if body.calibrate and pool.unavailable(version.artifact.format) is None:
                await admission.calibrate(version, name, progress=telling(say))
            return {
                **views.version_view(registry.version(version.version), registry),
                "unavailable": pool.unavailable(version.artifact.format),
                "profiles": _profiles(version.version, learning.profiles),
            }

        return streamed(work)

    @router.get("/models/{name:path}")
    async def show_model(name: str) -> Plain:
        """All that is known of a model: its file, its making, how it does at each task."""
        version = registry.resolve(parse_name(name))
        need, measured = pool.predicted_bytes(loadable(version))
        return {
            **views.version_view(version, registry),
            "provenance": provenance_view(await registry.provenance(version.version)),
            "memory": {"bytes": need, "method": _method(version, measured=measured)},
            "unavailable": pool.unavailable(version.artifact.format),
            "profiles": _profiles(version.version, learning.profiles),
            "speed": views.speed_view(learning.profiles.speeds.overall(version.version)),
            "falls": [
                {"task": fall.task, "since": fall.since}
                for fall in learning.falls_of(version.version)
            ],
            "examined": _examined(examining.of(version.version)),
        }

    @router.delete("/models/{name:path}")
    async def remove_model(name: str) -> Plain:
        """Forget a name. The file stays, and so does what was learned."""
        found = registry.meant(parse_name(name))
        has_file = registry.resolve(found).artifact.identity is not None
        await admission.remove_model(found, who=WHO)
        return {"removed": found, "has_file": has_file}

    _verify_route(router, registry)
    return router


def _examined(one: Examination | None) -> Plain | None:
    """The latest time that its cases were run again."""
    return None if one is None else {**asdict(one), "told": one.told}


def _profiles(version: VersionId, profiles: Profiles) -> Plain:
    return views.profiles_view(version, profiles.tasks_of(version), profiles.speeds)


def _method(version: Version, *, measured: bool) -> str:
    if not measured:
        return "estimated"
    return "measured" if version.artifact.identity is not None else "reported by its server"


def _verify_route(router: APIRouter, registry: Registry) -> None:
    @router.post("/models/verify", response_class=Lines)
    async def verify_models(body: VerifyModels) -> Lines:
        """Read the files of models again, and say which are not what they were."""
        chosen = [registry.resolve(parse_name(name)) for name in body.names]
        versions = {v.version: v for v in chosen or registry.versions()}

        async def work(say: Say) -> Plain:
            def progress(path: str, done: int, total: int) -> None:
                say({"progress": {"file": path, "done": done, "total": total}})

            checked = await check_files(tuple(versions.values()), progress=progress)
            return {"models": [checked_view(one, registry) for one in checked]}

        return streamed(work)


def checked_view(checked: Checked, registry: Registry) -> Plain:
    """A version whose file was read again, or that has none here."""
    return {
        "version": checked.version,
        "short": short(checked.version),
        "names": list(registry.names_of(checked.version)),
        "path": checked.path,
        "known_by": checked.known_by,
        "fault": checked.fault,
    }


def provenance_view(provenance: Provenance) -> Plain:
    """What people claim, and what was read, apart."""
    return {
        "claimed": [asdict(one) for one in provenance.claimed],
        "read": dict(provenance.read),
        "read_from": provenance.read_from,
    }
