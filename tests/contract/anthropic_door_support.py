"""What the tests of the Anthropic door share: its client, and what a request becomes."""

from __future__ import annotations

import json
from typing import Any

MESSAGES: Any = [{"role": "user", "content": "hi"}]
PATH = "/v1/messages"
COUNT = "/v1/messages/count_tokens"

TOOL: Any = {"name": "clock", "description": "the time", "input_schema": {"type": "object"}}


def body(**fields: object) -> bytes:
    return json.dumps({"model": "tiny", "messages": MESSAGES, "max_tokens": 9, **fields}).encode()
