"""The composition root: the only place that builds. It opens the house and closes it in reverse.

Nothing outside this room makes a database, an engine, a clock or dice. Each module builds what is
in the room that it is named for; `arbiter.app.building` puts them together.
"""

from __future__ import annotations

from arbiter.app.opening import open_at, open_house

__all__ = ["open_at", "open_house"]
