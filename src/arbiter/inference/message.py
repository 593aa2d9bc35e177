"""One turn of a conversation, with its pictures and sounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from arbiter.inference.tools import ToolCall

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """A picture or a sound. format: ``png``, ``wav``, ...; data: the file, in base64.

    It is never an address: nothing is fetched for a client.
    """

    kind: Literal["image", "audio"]
    format: str
    data: str


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a conversation, as text.

    calls: the tools that an assistant's turn asked for. answers: for the role ``tool``, the id of
    the call whose result this is. name: for the role ``tool``, the tool's name where it is known.
    thought: what the assistant thought before it said this; some templates want it back. parts:
    texts and media in their order, where there are media; ``content`` has the texts alone.
    """

    role: Role
    content: str
    calls: tuple[ToolCall, ...] = ()
    answers: str | None = None
    name: str | None = None
    thought: str | None = None
    parts: tuple[str | Media, ...] = ()

    @property
    def media(self) -> tuple[Media, ...]:
        """The pictures and sounds, without the texts."""
        return tuple([part for part in self.parts if isinstance(part, Media)])
