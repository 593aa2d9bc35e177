"""The clients of the proof that no stream is lost: who is seen to be served, and who is not."""

from __future__ import annotations

import asyncio

import aiohttp
from tests.standins.bad_servers import OPENAI, Act, bad_server, reply

from arbiter.demo.lessons import Item
from arbiter.demo.streams import Crowd, End
from arbiter.refs import VersionId

SERVED, ABSENT = VersionId("sha256:" + "a" * 64), VersionId("sha256:" + "b" * 64)
AT_ONCE = Act(
    pieces=(
        reply(
            OPENAI.piece("seven") + OPENAI.end(),
            kind="text/event-stream",
            more=f"x-arbiter-version: {SERVED}\r\n",
        ),
    )
)


async def test_an_answer_that_is_over_before_anybody_looks_is_one_all_the_same() -> None:
    # under load and coverage every answer was over before anybody looked, and the proof gave up
    item = Item(task="sum", prompt="3 + 4", expected="seven", shape="plain")
    async with aiohttp.ClientSession() as session, bad_server(OPENAI, "m", AT_ONCE) as server:
        crowd = Crowd(session, server.url, {SERVED: {item.prompt: "seven"}})
        asking = asyncio.create_task(crowd.ask_on("m", [item]))
        assert await crowd.until_on(SERVED, most=100)
        assert not await crowd.until_on(ABSENT, most=10)
        crowd.going = False
        await asking
    assert set(crowd.ends) == {End.WHOLE}
