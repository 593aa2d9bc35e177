"""The control API's addresses about what was learned: taken out, taken in, forgotten, believed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field

from arbiter.gateway.control_base import WHO, ControlBody, Lines, Plain, Say, streamed, telling
from arbiter.gateway.paging import Wanted
from arbiter.knowledge.carrier import Carrier
from arbiter.knowledge.merge import Merge
from arbiter.knowledge.profiles import Profiles
from arbiter.refs import parse_name, parse_task, parse_version
from arbiter.registry.registry import Registry
from arbiter.swap.admission import Admission


class KnowledgeFile(Response):
    """A file of knowledge."""

    media_type = "application/x-ndjson"


class ImportKnowledge(ControlBody):
    """A file of knowledge to take in. prefer: whose tasks and rules stand where they differ."""

    path: str = Field(min_length=1, max_length=4096, description="The file, on this machine.")
    prefer: Literal["ours", "theirs"] = Field(
        "ours",
        description="Whose tasks and rules stand where both have one.",
    )


class ResetKnowledge(ControlBody):
    """Evidence to forget. really: else it is only counted. keep: write all to a file first."""

    task: str | None = Field(None, description="Only what was learned of this task.")
    version: str | None = Field(
        None, max_length=200, description="Only what was learned of this version."
    )
    really: bool = Field(False, description="Do it; else it is only counted.")
    keep: bool = Field(True, description="Write all to a file first.")


def knowledge_router(
    *,
    carrier: Carrier,
    profiles: Profiles,
    registry: Registry,
    admission: Admission,
    folder: Path,
) -> APIRouter:
    """The addresses. folder: where what is forgotten is kept."""
    router = APIRouter(tags=["knowledge"])

    @router.get("/knowledge")
    async def digests() -> Plain:
        """The digests of what was learned: two houses with the same ones know the same."""
        return asdict(await carrier.digests())

    @router.get("/knowledge/file", response_class=KnowledgeFile)
    async def export() -> KnowledgeFile:
        """All that was learned, as a file to carry elsewhere: JSON, one object a line."""
        return KnowledgeFile(await carrier.export())

    @router.get("/knowledge/sources")
    async def sources(page: Wanted) -> Plain:
        """How far each source of feedback is believed, and why."""
        found, after = page.of(profiles.trust(), key=lambda trust: f"{trust.caller} {trust.source}")
        return {"sources": [asdict(trust) for trust in found], "next": after}

    @router.post("/knowledge/import", response_class=Lines)
    async def take_in(body: ImportKnowledge) -> Lines:
        """Take in a file of knowledge that is on this machine."""

        async def work(say: Say) -> Plain:
            merge = await carrier.take_in(
                Path(body.path), who=WHO, prefer_theirs=body.prefer == "theirs"
            )
            for task in merge.tasks:
                await admission.calibrate_task(task, progress=telling(say))
            return merge_view(merge)

        return streamed(work)

    @router.post("/knowledge/reset")
    async def reset(body: ResetKnowledge) -> Plain:
        """Forget what was learned of a task or a version, or count what that would be."""
        task = "" if body.task is None else parse_task(body.task)
        version = "" if body.version is None else version_of(body.version, registry)
        found = await carrier.count(task=task, version=version)
        kept: Path | None = None
        if body.really and not found.is_nothing:
            kept = await carrier.export_dated(folder) if body.keep else None
            found = await carrier.forget(
                who=WHO, task=task, version=version, kept_in=None if kept is None else kept.name
            )
        return {
            "evidence": asdict(found),
            "forgotten": body.really,
            "kept_in": None if kept is None else str(kept),
        }

    return router


def version_of(text: str, registry: Registry) -> str:
    """A version by its digest, also one that nobody registered here, or by a name.

    Raises `UnknownModel`, `InvalidField`.
    """
    if text.startswith("sha256:"):
        return parse_version(text)
    return registry.resolve(parse_name(text)).version


def merge_view(merge: Merge) -> Plain:
    """What was taken in, and what was not."""
    return {
        "tasks": [task.name for task in merge.tasks],
        "rules": [rule.task for rule in merge.rules],
        "validations": len(merge.validations),
        "outcomes": len(merge.outcomes),
        "feedback": len(merge.feedback) + len(merge.restored),
        "falls": len(merge.falls),
        "known": merge.known,
        "apart": merge.apart,
        "conflicts": list(merge.conflicts),
    }
