"""The control API's addresses about models that are there already: look, and take one in."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from arbiter.registry.registry import Registry
from arbiter.swap.adoption import Adopted, Adoption, Report

Plain = dict[str, object]


class Discover(BaseModel):
    """Look for models. register: what to register; by default what the settings say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    register_found: Literal["all", "servers", "none"] | None = None


def discovery_router(adoption: Adoption, registry: Registry) -> APIRouter:
    """The addresses."""
    router = APIRouter(tags=["models"])

    @router.post("/discover")
    async def discover(body: Discover) -> Plain:
        return report_view(await adoption.look(register=body.register_found), registry)

    return router


def report_view(report: Report, registry: Registry) -> Plain:
    """What was looked at, and what became of each model that was found there."""
    servers = []
    for sighting in report.survey.servers:
        url, site = sighting.address.url, sighting.site
        servers.append(
            {
                "url": url,
                "label": sighting.address.label,
                "named": sighting.address.is_named,
                "kind": None if site is None else site.kind,
                "version": None if site is None else site.version,
                "trouble": sighting.trouble if site is None else " ".join(site.trouble) or None,
                "models": [_adopted_view(a, registry) for a in report.adopted if a.where == url],
            }
        )
    folders = []
    for found in report.survey.folders:
        files = {(str(file.path.parent), file.path.name) for file in found.files}
        folders.append(
            {
                "path": str(found.folder.path),
                "label": found.folder.label,
                "named": found.folder.is_named,
                "trouble": found.trouble,
                "models": [
                    _adopted_view(a, registry)
                    for a in report.adopted
                    if (a.where, a.model) in files
                ],
            }
        )
    return {"servers": servers, "folders": folders}


def _adopted_view(one: Adopted, registry: Registry) -> Plain:
    return {
        "model": one.model,
        "what": one.what,
        "version": one.version,
        "names": [] if one.version is None else list(registry.names_of(one.version)),
        "why": one.why or None,
    }
