"""What every worker does around its engine: be told what to load, stay private, go with its parent.

A worker reads one line of JSON from standard input and answers with one on standard output. The
key that its clients must send comes in that line, so that it stands in no argument list, no
environment and no log. Standard input then stays open for as long as the parent lives; its end
is the order to leave.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

_PR_SET_PDEATHSIG: Final = 1
_LONGEST_CONFIG: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What the parent wants loaded.

    context: tokens for one request. socket: the path to listen on, or None for a free loopback
    port. threads, gpu_layers: None leaves it to the engine. chat_template: in the place of the
    file's own. embeddings: the model makes vectors and writes nothing.
    """

    model: str
    context: int
    slots: int
    key: str
    socket: str | None = None
    threads: int | None = None
    gpu_layers: int | None = None
    chat_template: str | None = None
    embeddings: bool = False

    def __repr__(self) -> str:
        """Without the key: a traceback may print this."""
        return f"Configuration(model={self.model!r}, context={self.context}, slots={self.slots})"


def read_configuration() -> Configuration:
    """The one line that the parent writes. Raises `ValueError` when it is not what was agreed."""
    line = sys.stdin.buffer.readline(_LONGEST_CONFIG)
    try:
        configuration = Configuration(**json.loads(line))
    except (ValueError, TypeError):
        # the error itself may quote the line, and the key is in it
        raise ValueError("the configuration is not what was agreed") from None
    if not configuration.key or configuration.context < 1 or configuration.slots < 1:
        raise ValueError("the configuration has no key, no context or no slots")
    return configuration


def claim_stdout() -> Callable[[Mapping[str, object]], None]:
    """Keep standard output for one line of JSON; everything else that prints goes to the log.

    Native libraries write to descriptor 1 without asking Python, so the descriptor itself moves.
    """
    mine = os.dup(1)
    os.dup2(2, 1)

    def announce(message: Mapping[str, object]) -> None:
        os.write(mine, json.dumps(message).encode() + b"\n")
        os.close(mine)

    return announce


def become_private() -> None:
    """Let nobody else read what this process holds, and let it be the first to go in a shortage."""
    os.umask(0o177)
    if sys.platform != "win32":
        import resource  # noqa: PLC0415  # there is none on Windows

        # a core dump would hold the weights, the prompts and the key
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        # when memory runs out, the kernel should end a model rather than the house
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    # the parent may die while a load holds the interpreter, when nobody here can notice
    when_parent_dies(signal.SIGKILL)


def when_parent_dies(what: signal.Signals) -> None:
    """Have this signal sent here when the parent is gone. Linux only: elsewhere input just ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, what, 0, 0, 0)


def heed_orders_to_leave(cleanup: Callable[[], None]) -> Callable[[], NoReturn]:
    """From now on, clean up before leaving when told to. Returns the way to leave.

    To be called before the worker announces itself: whoever started it may die right after.
    """

    def leave(*_: object) -> NoReturn:
        cleanup()
        # a native server's destructors may wait for clients; whoever is here was told to go
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    when_parent_dies(signal.SIGTERM)
    return leave


def wait_for_the_end() -> None:
    """Return when standard input ends: the parent has closed it, or is no more."""
    while os.read(0, 4096):
        pass


def remove_socket(path: str | None) -> None:
    """Take the socket away, with the folder that was made for it."""
    if path is not None:
        with suppress(OSError):
            Path(path).unlink()
            Path(path).parent.rmdir()
