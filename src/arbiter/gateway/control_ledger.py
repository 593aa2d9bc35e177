"""The control API's addresses about the ledger: look at it, and check it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query

from arbiter.gateway.control_base import Plain
from arbiter.gateway.paging import Wanted
from arbiter.ledger import Entry, Ledger, Verdict, parse_head


def ledger_router(ledger: Ledger) -> APIRouter:
    """The addresses."""
    router = APIRouter(tags=["ledger"])

    @router.get("/ledger")
    async def list_entries(
        page: Wanted,
        kind: Annotated[str | None, Query(max_length=100)] = None,
    ) -> Plain:
        """What was done to models, by whom and when."""
        found = await ledger.list(kind=kind, limit=page.limit + 1, before=page.number())
        entries, after = page.cut([*found], key=lambda entry: str(entry.seq))
        head = await ledger.head()
        return {
            "entries": [entry_view(entry) for entry in entries],
            "head": None if head is None else {"seq": head.seq, "hash": head.hash},
            "next": after,
        }

    @router.get("/ledger/verify")
    async def verify(head: Annotated[str | None, Query(max_length=200)] = None) -> Plain:
        """Check the chain of the record: whether anything in it was changed since."""
        return verdict_view(await ledger.verify(*([] if head is None else [parse_head(head)])))

    return router


def entry_view(entry: Entry) -> Plain:
    """An entry with its body as JSON, or as the text that somebody put in its place."""
    try:
        body = entry.plain()
    except (ValueError, RecursionError):
        body = entry.body
    return {**asdict(entry), "body": body}


def verdict_view(verdict: Verdict) -> Plain:
    """What became of checking the chain."""
    bad = verdict.bad
    return {
        "good": verdict.good,
        "head": verdict.head,
        "bad": None
        if bad is None
        else {"seq": bad.seq, "fault": bad.fault.value, "sentence": bad.sentence},
    }
