"""What is asked and what is answered, in the house's own types.

The gateway turns wire formats into these, engines turn these into theirs. This room knows no wire
format, no engine and no model.

What every request makes anew is a struct of msgspec: as frozen and as keyword-only as a frozen
dataclass, which costs ten times as much to make. `msgspec.structs.replace` changes one.
"""

from __future__ import annotations

from arbiter.inference.ask import Ask, Auto, Named, Pinned, Target
from arbiter.inference.capabilities import lacking, needed
from arbiter.inference.chunks import (
    Called,
    Chunk,
    Delta,
    Finish,
    FinishReason,
    Odds,
    Piece,
    Thought,
    Vectors,
    calls_of,
    text_of,
    thought_of,
)
from arbiter.inference.decided import Arm, Considered, Decided, Dropped
from arbiter.inference.generation import Generation
from arbiter.inference.limits import GPU, NO_LIMITS, PLACEMENT, Limits
from arbiter.inference.message import Media, Message, Role
from arbiter.inference.reply import Answer, Awaited, Reply
from arbiter.inference.sampling import Sampling
from arbiter.inference.tools import Tool, ToolCall, Tools
from arbiter.inference.usage import Timings, Usage
from arbiter.inference.work import Chat, Completion, Effort, Embedding, Shape, Work, prompt_chars

__all__ = [
    "GPU",
    "NO_LIMITS",
    "PLACEMENT",
    "Answer",
    "Arm",
    "Ask",
    "Auto",
    "Awaited",
    "Called",
    "Chat",
    "Chunk",
    "Completion",
    "Considered",
    "Decided",
    "Delta",
    "Dropped",
    "Effort",
    "Embedding",
    "Finish",
    "FinishReason",
    "Generation",
    "Limits",
    "Media",
    "Message",
    "Named",
    "Odds",
    "Piece",
    "Pinned",
    "Reply",
    "Role",
    "Sampling",
    "Shape",
    "Target",
    "Thought",
    "Timings",
    "Tool",
    "ToolCall",
    "Tools",
    "Usage",
    "Vectors",
    "Work",
    "calls_of",
    "lacking",
    "needed",
    "prompt_chars",
    "text_of",
    "thought_of",
]
