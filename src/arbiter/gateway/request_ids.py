"""By which ids a request is found again: the house's, which every answer has, and its sender's own.

The house's is the decision, so that what a client shows of an answer is what `arbiter why` and
feedback take. Where nothing was decided it is an id of its own, which stands in the log.

A sender's own is never taken for ours: two senders may say the same, and one of them could then be
told of the other's request, or be judged by its feedback. It goes into the log and the trace.
"""

from __future__ import annotations

import re

from arbiter.gateway.security import Head

X_REQUEST_ID = b"x-request-id"
"""Where OpenAI's clients look for it."""

REQUEST_ID = b"request-id"
"""Where Anthropic's do."""

_SENT = (b"x-client-request-id", b"x-request-id")
"""The first is meant by whoever wrote the program; the other a proxy may have put in."""

_PLAIN = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")


def id_header_at(path: str) -> bytes:
    """The header in which the clients of an address look for the id.

    >>> id_header_at("/v1/messages"), id_header_at("/v1/models")
    (b'request-id', b'x-request-id')
    """
    return REQUEST_ID if path.startswith("/v1/messages") else X_REQUEST_ID


def client_id(head: Head) -> str | None:
    """What the sender calls the request; None where it says nothing, or nothing plain.

    It is no reason to refuse anything: a proxy may have put it in.

    >>> head = Head({b"x-request-id": b"job-7"})
    >>> head.doubled = set()
    >>> client_id(head)
    'job-7'
    """
    for name in _SENT:
        said = head.get(name)
        if said is not None and _PLAIN.fullmatch(said) and name not in head.doubled:
            return said.decode("ascii")
    return None
