"""What every list of a command has in common: asked for whole, told as a table or as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from arbiter.cli.client import Client
from arbiter.cli.output import items, show_json, show_table

Row = Callable[[dict[str, Any]], Sequence[str]]
"""An item's cells, in the order of the columns."""


async def show_list(
    client: Client,
    path: str,
    what: str,
    columns: Sequence[str],
    row: Row,
    *,
    empty: str,
    as_json: bool,
    most: int | None = None,
) -> dict[str, Any]:
    """Show what is listed at an address, and give it back.

    what: the field of the answer that holds the items. most: how many are wanted. empty: what to
    say when there are none.
    """
    found = await client.listed(path, what, most=most)
    if as_json:
        show_json(found)
    else:
        show_table(columns, [row(one) for one in items(found[what])], empty=empty)
    return found
