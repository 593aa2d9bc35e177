"""A program: the house as it is, with stand-ins for its workers. Prints where it listens.

Usage: python -m bench.echo_house DATA_DIR SLOTS. The worker then costs nearly nothing, and it is a
real child process on a real socket, so what is left to measure is the house.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys

from arbiter.app import open_house
from arbiter.cli.main import settle_memory
from arbiter.config import load_settings
from arbiter.engines.llama_cpp import LlamaCppEngine
from arbiter.gateway.serving import new_event_loop


async def _serve(data_dir: str, slots: int) -> None:
    settings = load_settings(
        environment={}, overrides={"data_dir": data_dir, "door.port": 0, "pool.slots": slots}
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with (
        open_house(
            settings,
            engines=lambda context: (LlamaCppEngine(context, worker="arbiter_worker.echo"),),
        ) as house,
        house.door() as address,
    ):
        settle_memory()  # as `arbiter up` does
        print(json.dumps({"url": address.url}), flush=True)
        await stop.wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_serve(sys.argv[1], int(sys.argv[2])))
