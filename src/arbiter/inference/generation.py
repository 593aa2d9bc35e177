"""What an engine is asked to write."""

from __future__ import annotations

import msgspec

from arbiter.inference.sampling import Sampling
from arbiter.inference.work import Chat, Completion


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is asked to write. `stream` False lets it answer in one piece.

    counts: only how many tokens the prompt has is wanted.
    """

    work: Chat | Completion
    sampling: Sampling = Sampling()
    stream: bool = True
    counts: bool = False
