"""A database that is closed, and one that is killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from tests.contract.database_files import kept, rule, tasks

from arbiter.errors import StorageError
from arbiter.storage.sqlite import open_sqlite


async def test_closing_twice_is_closing_once(path: Path) -> None:
    database = await open_sqlite(path)
    await asyncio.gather(database.close(), database.close())
    await database.close()
    assert kept(path) == []


async def test_a_close_that_is_cancelled_still_closes(path: Path) -> None:
    # The next close waited for ever, and the connections stayed open.
    database = await open_sqlite(path)
    closing = asyncio.create_task(database.close())
    await asyncio.wait({closing}, timeout=0)
    closing.cancel()
    await asyncio.wait({closing})
    await database.close()
    with pytest.raises(StorageError):
        await database.read("list_rules")


async def test_a_closed_database_refuses_writes(path: Path) -> None:
    database = await open_sqlite(path)
    await database.close()
    with pytest.raises(StorageError, match="closed"):
        await database.write(rule("one"))


async def test_a_closed_database_drops_and_says_so(path: Path) -> None:
    database = await open_sqlite(path)
    await database.close()
    told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    assert not database.enqueue(rule("one"), then=told.set_result)
    assert not await told
    assert database.dropped == 1


# -- killed in the middle

WRITES_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from arbiter.storage.database import Statement
from arbiter.storage.sqlite import open_sqlite

async def main():
    database = await open_sqlite(Path(sys.argv[1]))
    number = 0
    while True:
        for _ in range(3):
            number += 1
            said = (f"{number:09}", "primary", None, "[]", "", "")
            row = Statement(query="add_rule", parameters=said)
            last = database.enqueue(row) if number % 3 else await database.write(row)
        print(number, flush=True)

asyncio.run(main())
"""


async def test_a_kill_loses_nothing_that_was_acknowledged_and_leaves_no_hole(path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITES_FOR_EVER, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    for _ in range(40):
        await child.stdout.readline()
    child.kill()
    rest = await child.stdout.read()
    await child.wait()
    acknowledged = max([120, *(int(line) for line in rest.split(b"\n")[:-1])])
    again = await open_sqlite(path)
    found = await tasks(again)
    await again.close()
    assert len(found) >= acknowledged
    assert found == [f"{number:09}" for number in range(1, len(found) + 1)]
