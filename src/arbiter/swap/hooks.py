"""Hooks: other programs that are told of every change of a rollout and asked before it goes on.

A hook is asked before the candidate gets more traffic and before it is promoted. It may block that,
or call the rollout off; it cannot let anything pass that the evidence or the plan forbids, because
it is asked only when they allow it. No answer in time, no connection and an answer that is none all
block, and say so. Nothing waits for a hook: while it is asked, a candidate that is worse is rolled
back all the same.

The addresses are those of the settings and no others; no request can name one. Redirects are not
followed and no proxy is used (`arbiter.engines.remote`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

import msgspec

from arbiter.clock import Clock
from arbiter.engines.deadlines import within
from arbiter.engines.remote import Remote
from arbiter.refs import RolloutId
from arbiter.swap.rollout import Phase, Rollout

LOG = logging.getLogger(__name__)

ASK_AGAIN_S = 30.0
"""How long a hook that blocked is left alone."""

_CLOSE_S = 3.0
"""How long a house that closes waits for what hooks are still to be told."""

_MOST_BYTES = 64 * 1024
_MOST_UNTOLD = 1_000
_MOST_REASON = 300


class Asks(StrEnum):
    """What a hook is asked for."""

    STEP = "step"
    PROMOTE = "promote"


class Answer(StrEnum):
    """What a hook may answer."""

    GO = "go"
    BLOCK = "block"
    ABORT = "abort"


class _Body(msgspec.Struct, frozen=True):
    answer: Answer
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The answer of all hooks together: the one that lets least pass, with its reason."""

    answer: Answer
    reason: str = ""


GO = Said(answer=Answer.GO)
_ASKING = Said(answer=Answer.BLOCK, reason="waiting for a hook to answer")


@dataclass(slots=True)
class _Question:
    """What is being asked for one rollout, and what was answered last."""

    asks: Asks
    to: float
    at: float
    task: asyncio.Task[Said]
    last: Said = _ASKING


class Hook:
    """One address."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.netloc
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._remote = Remote(f"{parts.scheme}://{parts.netloc}", keep=False)

    async def send(self, body: bytes, *, silence_s: float) -> tuple[int, bytes]:
        """Send it, and have status and body. Raises `OSError`, `TimeoutError`, `ValueError`."""
        with await self._remote.ask("POST", self._path, body, silence_s=silence_s) as stream:
            return stream.status, await stream.receive_all(most=_MOST_BYTES)

    async def close(self) -> None:
        """Close its connections."""
        await self._remote.close()


class Hooks:
    """Every hook of this house."""

    def __init__(self, urls: Sequence[str], *, timeout_s: float, clock: Clock) -> None:
        self._hooks = tuple(Hook(url) for url in urls)
        self._timeout_s = timeout_s
        self._clock = clock
        self._questions: dict[RolloutId, _Question] = {}
        self._untold: deque[bytes] = deque(maxlen=_MOST_UNTOLD)
        self._telling: asyncio.Task[None] | None = None

    async def ask(self, rollout: Rollout, asks: Asks, *, to: float) -> Said:
        """What the hooks say to this; every one is asked, and has `timeout_s` for its answer.

        to: the share of new conversations that the candidate would get.
        """
        body = _told(rollout, kind=f"rollout.{asks.value}?", asks=asks, to=to)
        said = await asyncio.gather(*[self._ask(hook, body) for hook in self._hooks])
        for answer in (Answer.ABORT, Answer.BLOCK):
            for one in said:
                if one.answer is answer:
                    return one
        return GO

    async def _ask(self, hook: Hook, body: bytes) -> Said:
        try:
            sent = hook.send(body, silence_s=self._timeout_s)
            answered = _read(*await within(self._clock, self._timeout_s, sent))
        except TimeoutError:
            why = f"it did not answer within {self._timeout_s:g} s"
        except OSError as error:
            why = f"it cannot be reached: {error.strerror or type(error).__name__}"
        except (ValueError, msgspec.DecodeError) as error:
            why = f"its answer is none: {str(error)[:_MOST_REASON]}"
        else:
            reason = "".join(c for c in answered.reason if c.isprintable())[:_MOST_REASON]
            return Said(
                answer=answered.answer,
                reason=f"the hook at {hook.host} says {answered.answer.value}"
                + (f": {reason}" if reason else ""),
            )
        return Said(answer=Answer.BLOCK, reason=f"the hook at {hook.host} blocks: {why}")

    def permit(self, before: Rollout, after: Rollout) -> Said:
        """Whether this change may be made now. Never waits: an answer that is not there blocks.

        Only more traffic and a promotion are asked for; everything else goes.
        """
        asks = _asks(before, after)
        if asks is None or not self._hooks:
            self._drop(before.id)
            return GO
        question = self._questions.get(before.id)
        if question is None or (question.asks, question.to) != (asks, _share(after)):
            self._drop(before.id)
            question = self._questions[before.id] = self._asked(before, asks, _share(after))
        if question.task.done():
            question.last = question.task.result()
            since = self._clock.monotonic() - question.at
            if question.last.answer is Answer.BLOCK and since >= ASK_AGAIN_S:
                last = question.last
                self._questions[before.id] = self._asked(before, asks, _share(after))
                self._questions[before.id].last = last
        return question.last

    def _asked(self, rollout: Rollout, asks: Asks, to: float) -> _Question:
        return _Question(
            asks=asks,
            to=to,
            at=self._clock.monotonic(),
            task=asyncio.create_task(self.ask(rollout, asks, to=to), name=f"hooks {rollout.id}"),
        )

    def _drop(self, rollout: RolloutId) -> None:
        """An answer is about the moment that it was asked for, and none about a later one."""
        question = self._questions.pop(rollout, None)
        if question is not None:
            question.task.cancel()

    def tell(self, rollout: Rollout, what: str) -> None:
        """Tell every hook of a change that is written down, in the order of the changes."""
        if not self._hooks:
            return
        self._untold.append(_told(rollout, kind=f"rollout.{what}", asks=None))
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell(), name="hooks are told")

    async def _tell(self) -> None:
        while self._untold:
            body = self._untold.popleft()
            await asyncio.gather(*[self._tell_one(hook, body) for hook in self._hooks])

    async def _tell_one(self, hook: Hook, body: bytes) -> None:
        try:
            await within(self._clock, self._timeout_s, hook.send(body, silence_s=self._timeout_s))
        except (OSError, TimeoutError, ValueError) as error:
            LOG.warning(
                "the hook at %s was not told: %s", hook.host, str(error) or "no answer in time"
            )

    async def close(self) -> None:
        """Ask nothing any more; what is to be told is told first, if that takes no time."""
        for rollout in tuple(self._questions):
            self._drop(rollout)
        telling = self._telling
        if telling is not None and not telling.done():
            await asyncio.wait({telling}, timeout=min(self._timeout_s, _CLOSE_S))
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
        for hook in self._hooks:
            await hook.close()


def _read(status: int, body: bytes) -> _Body:
    if status != 200:
        raise ValueError(f"it has status {status}")
    return msgspec.json.decode(body, type=_Body)


def _asks(before: Rollout, after: Rollout) -> Asks | None:
    if after.phase is Phase.PROMOTED is not before.phase:
        return Asks.PROMOTE
    return Asks.STEP if after.weight > before.weight else None


def _share(after: Rollout) -> float:
    """What a candidate gets of new conversations then."""
    return 1.0 if after.phase is Phase.PROMOTED else after.weight


def _told(rollout: Rollout, *, kind: str, asks: Asks | None, to: float | None = None) -> bytes:
    return msgspec.json.encode(
        {
            "arbiter_hook": 1,
            "kind": kind,
            "asks": None if asks is None else asks.value,
            "to": to,
            "rollout": rollout.id,
            "alias": rollout.alias,
            "stable": rollout.stable,
            "candidate": rollout.candidate,
            "plan": rollout.plan.digest,
            "phase": rollout.phase.value,
            "step": rollout.index,
            "weight": rollout.weight,
            "reason": rollout.reason,
        }
    )
