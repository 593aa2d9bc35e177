"""Arbiter: one door in front of every model that you run yourself.

    async with arbiter.open("data") as house:
        await house.add("model.gguf", "heron")
        answered = await house.ask("What is 2 + 2?", task="sum")
        print(answered.text, answered.reply.decided.reason)

`open` gives a `House`; its docstrings are the reference of the Python API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arbiter.app import open_at as open  # noqa: A004  # arbiter.open reads as what it is
    from arbiter.house import Answered, Embedded, House

__version__ = "0.1.0"
__all__ = ["Answered", "Embedded", "House", "__version__", "open"]


def __getattr__(name: str) -> Any:  # noqa: ANN401  # whatever the name stands for
    """Import the house only when it is used, so that ``import arbiter`` costs nothing."""
    if name in {"Answered", "Embedded", "House", "open"}:
        from arbiter import app, house  # noqa: PLC0415  # only when it is used, as said above

        return app.open_at if name == "open" else getattr(house, name)
    raise AttributeError(f"module 'arbiter' has no attribute {name!r}")
