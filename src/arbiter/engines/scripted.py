"""An engine without a model: deterministic, in this process, for tests, demonstrations and docs.

It keeps the order of the real thing: a slot is waited for, an unload ends only when its "process"
has ended, nothing is generated after that, and a stream that dies says so as a real one does. It
passes the same contract suite as the real engines.

`engine` runs script files (see `arbiter.engines.script`). A test builds a `Scripted` instead and
hands in the steps of each answer, with the events that hold it up.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from arbiter.cost import Footprint
from arbiter.engines.base import Availability, Engine, EngineContext, LoadSpec, Runner
from arbiter.engines.endings import is_out_of_memory
from arbiter.engines.openai_refusal import MORE_ROOM
from arbiter.engines.script import Script, read_script
from arbiter.errors import (
    InstanceLost,
    LoadFailed,
    ModelFileError,
    OutOfMemory,
    PromptTooLong,
    StreamCut,
)
from arbiter.inference import (
    Called,
    Chat,
    Chunk,
    Completion,
    Delta,
    Embedding,
    Finish,
    FinishReason,
    Generation,
    Thought,
    Usage,
    Vectors,
)

_WORD: Final = re.compile(r"\s*\S+|\s+")
_DIMENSIONS: Final = 16
_ANSWERED: Final = frozenset({"user", "tool"})


@dataclass(frozen=True, slots=True)
class Say:
    """Words of the answer: each is a token."""

    text: str


@dataclass(frozen=True, slots=True)
class Think:
    """Words that are no part of the answer: each is a token."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A tool to call. arguments: JSON; its words are tokens."""

    name: str
    arguments: str = "{}"


@dataclass(frozen=True, slots=True)
class Hold:
    """Wait for this before going on. A hang-up, an unload and a death end the wait too."""

    until: asyncio.Event


@dataclass(frozen=True, slots=True)
class Die:
    """The whole instance dies here, as a process would, with these last words."""

    words: str = "killed"


Step = Say | Think | Call | Hold | Die
Reply = Callable[[Generation], Iterable[Step]]


def engine(context: EngineContext) -> Engine:
    """The entry point."""
    del context  # it needs neither time nor a folder
    return Scripted()


class Scripted:
    """The engine. Without a `reply` it reads what to say from the version's file.

    reply: the steps of every answer. load_gate: a load waits for it. exit_gate: an unload's
    process ends only then. fail_load: why loads fail, for as long as it is set. holds: what a
    loaded version is to be taken to hold in memory. loads, runners:
    what was asked of it, in order.
    """

    def __init__(
        self,
        *,
        name: str = "scripted",
        features: frozenset[str] = frozenset(),
        formats: frozenset[str] = frozenset({"script"}),
        reply: Reply | None = None,
        load_gate: asyncio.Event | None = None,
        exit_gate: asyncio.Event | None = None,
        fail_load: str | None = None,
        holds: Callable[[LoadSpec], Footprint | None] = lambda _: None,
    ) -> None:
        self.name = name
        self.features = features
        self.formats = formats
        self.reply = reply
        self.load_gate = load_gate
        self.exit_gate = exit_gate
        self.fail_load = fail_load
        self.holds = holds
        self.loads: list[LoadSpec] = []
        self.runners: list[ScriptedRunner] = []

    def availability(self) -> Availability:
        """It can run anywhere."""
        return Availability(available=True, reason="built in")

    async def load(self, spec: LoadSpec) -> Runner:
        """Load a script. Raises `LoadFailed`."""
        self.loads.append(spec)
        if self.load_gate is not None:
            await self.load_gate.wait()
        script = None
        fail = self.fail_load
        if self.reply is None:
            try:
                script = await asyncio.to_thread(read_script, spec.path)
            except ModelFileError as error:
                raise LoadFailed(f"The model could not be loaded: {error.message}") from error
            fail = fail or script.fail_load
        if fail:
            kind = OutOfMemory if is_out_of_memory(fail, None) else LoadFailed
            raise kind(f"The model could not be loaded: {fail}")
        reply = self.reply if script is None else _by_script(script)
        weight = 1 if script is None else script.tokens_per_reply_word
        if reply is None:
            raise LoadFailed("There is neither a script nor a reply.")
        runner = ScriptedRunner(spec, reply=reply, tokens_per_word=weight, exit_gate=self.exit_gate)
        runner.reported = self.holds(spec)
        self.runners.append(runner)
        return runner


class ScriptedRunner:
    """A loaded script, and a witness of what was done to it.

    in_flight, most_in_flight: answers that run now, and the most that ever ran at once. called:
    tool calls that it made.
    unloaded_while_serving, generated_after_unload: what nobody may ever do.
    """

    def __init__(
        self,
        spec: LoadSpec,
        *,
        reply: Reply,
        tokens_per_word: int = 1,
        exit_gate: asyncio.Event | None = None,
    ) -> None:
        self.spec = spec
        self.in_flight = 0
        self.most_in_flight = 0
        self.called = 0
        self.unloads = 0
        self.unloaded_while_serving = False
        self.generated_after_unload = False
        self.is_well = True
        self.reported: Footprint | None = None
        """What it is to be taken to hold; None: nobody says."""
        self._reply = reply
        self._tokens_per_word = tokens_per_word
        self._exit_gate = exit_gate
        self._slots = asyncio.Semaphore(spec.slots)
        self._over = asyncio.Event()
        self._lost = asyncio.Event()
        self._words = ""
        self._stopping: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """It has no process of its own."""
        return None

    async def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
        """Answer, piece by piece. See `arbiter.engines.base.Runner`."""
        if self._stopping is not None:
            self.generated_after_unload = True
        self._refuse_when_over()
        prompt_tokens = sum(len(_WORD.findall(text)) for text in _texts(request.work))
        if prompt_tokens > self.spec.context:
            raise PromptTooLong(
                f"The prompt has {prompt_tokens} tokens, and this model is loaded with room for "
                f"{self.spec.context}.",
                hint=MORE_ROOM,
                param="messages" if isinstance(request.work, Chat) else "prompt",
                tokens=prompt_tokens,
                room=self.spec.context,
            )
        async with self._slots:
            self._refuse_when_over()
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            try:
                async with aclosing(self._chunks(request, prompt_tokens)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            finally:
                self.in_flight -= 1

    async def embed(self, request: Embedding) -> tuple[Vectors, Finish]:
        """A vector for each input: the sum of its words' own directions, of length 1."""
        self._refuse_when_over()
        counts = [len(_WORD.findall(text)) for text in request.inputs]
        if max(counts, default=0) > self.spec.context:
            raise PromptTooLong(
                f"A text has {max(counts)} tokens, and this model is loaded with room for "
                f"{self.spec.context}.",
                hint="Send shorter texts, or load the model with a larger context.",
                param="input",
                tokens=max(counts),
                room=self.spec.context,
            )
        async with self._slots:
            self._refuse_when_over()
            size = request.dimensions or _DIMENSIONS
            vectors = tuple(_vector(text, size) for text in request.inputs)
        usage = Usage(prompt_tokens=sum(counts), completion_tokens=0)
        return Vectors(vectors=vectors), Finish(reason=FinishReason.STOP, usage=usage)

    async def is_healthy(self) -> bool:
        """Whether it answers now; a test may set `is_well`."""
        return self.is_well and not self._over.is_set()

    async def wait_lost(self) -> str:
        """Return when `die` was called, or a script died; never after `unload`."""
        await self._lost.wait()
        return self._words

    def die(self, words: str = "killed") -> None:
        """Be gone without having been asked to."""
        if not self._over.is_set():
            self._words = words
            self._over.set()
            self._lost.set()

    async def unload(self) -> None:
        """Stop, and return when the process has ended. Idempotent."""
        self.unloads += 1
        if self._stopping is None:
            self.unloaded_while_serving |= self.in_flight > 0
            self._stopping = asyncio.create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        self._over.set()
        if self._exit_gate is not None and not self._lost.is_set():
            await self._exit_gate.wait()

    def _refuse_when_over(self) -> None:
        if self._over.is_set():
            raise InstanceLost("This model was unloaded.")

    async def _chunks(self, request: Generation, prompt_tokens: int) -> AsyncGenerator[Chunk, None]:
        writer = _Writer(request, self._tokens_per_word)
        begun, calls = False, 0
        for step in self._reply(request):
            if isinstance(step, Call | Think):
                begun = True
                for piece in self._aside(step, writer, calls):
                    yield piece
                calls += isinstance(step, Call)
            elif isinstance(step, Say):
                for text in writer.write(step.text):
                    if request.stream and text:
                        begun = True
                        yield Delta(text=text)
                    await asyncio.sleep(0)  # noqa: TID251  # let others run, as a real engine would
                    if self._over.is_set():
                        raise StreamCut if begun else InstanceLost
            else:
                await self._interrupt(step, begun=begun)
            if writer.reason is not None:
                break
        rest = writer.rest() if request.stream else writer.said
        if rest:
            yield Delta(text=rest)
        yield Finish(
            reason=writer.reason or (FinishReason.TOOL_CALLS if calls else FinishReason.STOP),
            usage=Usage(
                prompt_tokens=prompt_tokens, completion_tokens=writer.tokens, cached_tokens=0
            ),
        )

    def _aside(self, step: Call | Think, writer: _Writer, index: int) -> Iterator[Called | Thought]:
        """What comes beside the text."""
        if isinstance(step, Think):
            return writer.think(step)
        self.called += 1
        return writer.call(step, index=index, id_=f"call_{self.called}")

    async def _interrupt(self, step: Hold | Die, *, begun: bool) -> None:
        if isinstance(step, Die):
            self.die(step.words)
        else:
            waits = [asyncio.create_task(e.wait()) for e in (step.until, self._over)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        if self._over.is_set():
            raise StreamCut if begun else InstanceLost


class _Writer:
    """Cuts text into tokens, and stops where the request says so, as engines do.

    Text that may turn out to be the beginning of a stop string is held back until it is known.
    """

    def __init__(self, request: Generation, tokens_per_word: int) -> None:
        self.tokens = 0
        self.reason: FinishReason | None = None
        self.said = ""
        self._sent = 0
        self._stops = request.sampling.stop
        self._most = request.sampling.max_tokens
        self._per_word = tokens_per_word

    def write(self, text: str) -> Iterator[str]:
        """The parts of a text that may be sent now."""
        for match in _WORD.finditer(text):
            if self._most is not None and self.tokens + self._per_word > self._most:
                self.reason = FinishReason.LENGTH
                return
            self.tokens += self._per_word
            self.said += match.group()
            found = [at for stop in self._stops if (at := self.said.find(stop)) >= 0]
            if found:
                self.said = self.said[: min(found)]
                self.reason = FinishReason.STOP
                yield self.rest()
                return
            yield self._send(len(self.said) - self._held_back())

    def call(self, call: Call, *, index: int, id_: str) -> Iterator[Called]:
        """A tool call as engines send it: who is called, then with what."""
        self.tokens += self._per_word
        yield Called(index=index, id=id_, name=call.name)
        for match in _WORD.finditer(call.arguments):
            self.tokens += self._per_word
            yield Called(index=index, arguments=match.group())

    def think(self, thought: Think) -> Iterator[Thought]:
        """A thought, word by word."""
        for match in _WORD.finditer(thought.text):
            self.tokens += self._per_word
            yield Thought(text=match.group())

    def rest(self) -> str:
        """What was held back."""
        return self._send(len(self.said))

    def _send(self, upto: int) -> str:
        part, self._sent = self.said[self._sent : upto], max(self._sent, upto)
        return part

    def _held_back(self) -> int:
        return max(
            (
                size
                for stop in self._stops
                for size in range(1, len(stop))
                if self.said.endswith(stop[:size])
            ),
            default=0,
        )


def _texts(work: Chat | Completion, roles: frozenset[str] | None = None) -> list[str]:
    """What was said, by everybody or in these roles; a text to complete is the user's."""
    if isinstance(work, Completion):
        return [work.prompt]
    return [m.content for m in work.messages if roles is None or m.role in roles]


def _offered(work: Chat | Completion) -> frozenset[str]:
    """The tools that may be called."""
    if isinstance(work, Completion) or work.tools is None or work.tools.choice == "none":
        return frozenset()
    names = frozenset([tool.name for tool in work.tools.offered])
    return names if work.tools.named is None else names & {work.tools.named}


def _vector(text: str, size: int) -> tuple[float, ...]:
    """A direction that depends on the words alone, so that texts which share words are near."""
    sums = [0.0] * min(size, _DIMENSIONS)
    for word in text.lower().split():
        for place, byte in enumerate(hashlib.sha256(word.encode()).digest()[: len(sums)]):
            sums[place] += byte - 127.5
    length = math.hypot(*sums)
    return tuple(one / length if length else 0.0 for one in sums)


def _by_script(script: Script) -> Reply:
    def reply(request: Generation) -> Iterator[Step]:
        asked = _texts(request.work, _ANSWERED)
        line = script.answer(asked[-1] if asked else "", tools=_offered(request.work))
        thinks = not isinstance(request.work, Chat) or request.work.effort != "none"
        if line.think and thinks:
            yield Think(line.think)
        if line.call is not None:
            yield Call(*line.call)
            return
        if line.die_after_tokens is None:
            yield Say(line.text)
            return
        words = _WORD.findall(line.text)
        yield Say("".join(words[: line.die_after_tokens]))
        yield Die(f"{script.name} died, as its script says")

    return reply
