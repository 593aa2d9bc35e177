"""The control API's addresses about models that are there already: look, and take one in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from fastapi import APIRouter
from pydantic import Field

from arbiter.addresses import parse_address
from arbiter.engines.base import PullStep
from arbiter.gateway.control_base import ControlBody, Lines, Plain, Say, streamed
from arbiter.refs import legible
from arbiter.registry.registry import Registry
from arbiter.swap.adoption import Adopted
from arbiter.swap.found_files import shown_as
from arbiter.swap.pulling import Pulling
from arbiter.swap.scouting import Report, Scout


class Discover(ControlBody):
    """Look for models."""

    register_found: Literal["all", "servers", "none"] | None = Field(
        None, description="What of it to register; by default what the settings say."
    )


class Pull(ControlBody):
    """Have a server fetch newer content for a name. url: which server, when several could."""

    model: str = Field(
        min_length=1, max_length=256, description="A registered name, or a name at the server."
    )
    url: str | None = Field(
        None, max_length=2048, description="The server's address, when several could."
    )


def discovery_router(scout: Scout, pulling: Pulling, registry: Registry) -> APIRouter:
    """The addresses."""
    router = APIRouter(tags=["models"])

    @router.post("/discover")
    async def discover(body: Discover) -> Plain:
        """Look for models at this machine's usual places and at the servers of the settings."""
        return report_view(await scout.look(register=body.register_found), registry)

    @router.post("/pull", response_class=Lines)
    async def pull(body: Pull) -> Lines:
        """Have a server fetch newer content for a name; the present content stays there."""
        url = None if body.url is None else parse_address(body.url)

        async def work(say: Say) -> Plain:
            pulled = await pulling.pull(body.model, url=url, tell=_telling(say))
            return {
                "url": pulled.url,
                "model": pulled.model,
                "new": pulled.is_new,
                "kept_as": pulled.kept_as,
                "models": [_adopted_view(one, registry) for one in pulled.adopted],
            }

        return streamed(work)

    return router


def _telling(say: Say) -> Callable[[PullStep], None]:
    def tell(step: PullStep) -> None:
        said = {"status": step.status, "completed": step.completed, "total": step.total}
        say({"progress": said})

    return tell


def report_view(report: Report, registry: Registry) -> Plain:
    """What was looked at, and what became of each model that was found there."""
    servers = []
    for sighting in report.survey.servers:
        site = sighting.site
        url = sighting.address.url if site is None else site.url
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
        files = {shown_as(file) for file in found.files}
        folders.append(
            {
                "path": legible(str(found.folder.path), most=1000),
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
