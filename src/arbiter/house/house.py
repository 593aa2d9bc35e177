"""An open house: what a program, the door and the command line do, through the same rooms.

This is the Python API. It builds nothing; `arbiter.app` does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from arbiter.errors import InvalidField
from arbiter.gateway.control_rooms import ControlRooms
from arbiter.gateway.rooms import ModelCard
from arbiter.gateway.security import Key
from arbiter.gateway.serving import Address
from arbiter.hardware.machine import Snapshot
from arbiter.house.answers import Answered, Embedded
from arbiter.house.cards import cards_of
from arbiter.house.controls import controls_of
from arbiter.house.front import listening
from arbiter.house.receipts import receipt_for
from arbiter.house.rooms import HouseRooms
from arbiter.house.showing import machine_of, readiness, watched_of
from arbiter.house.work import texts_of, work_of
from arbiter.inference import (
    Ask,
    Auto,
    Embedding,
    Limits,
    Message,
    Named,
    Reply,
    Sampling,
    Target,
    Vectors,
    Work,
    calls_of,
    text_of,
    thought_of,
)
from arbiter.knowledge.merge import Merge
from arbiter.knowledge.outcome import Feedback, Record
from arbiter.knowledge.receipt import Receipt
from arbiter.knowledge.rules import knowledge_digest
from arbiter.refs import GENERAL, DecisionId, parse_name, parse_task
from arbiter.registry.provenance import Claim
from arbiter.registry.registry import Version
from arbiter.selection.contender import Choice
from arbiter.swap.findings import Compatibility
from arbiter.swap.looking import RolloutView
from arbiter.swap.records import Stored
from arbiter.swap.validation import Progress, no_progress
from arbiter.telemetry import Watched


@dataclass(frozen=True, slots=True, kw_only=True)
class House(HouseRooms):
    """An open house. `arbiter.open` gives one; everything in it lives as long as its context.

    The doors and the command line do what they do through the same rooms.
    """

    def select(self, task: str = GENERAL, *, limits: Limits = Limits()) -> Choice:
        """Whom `auto` would pick for a task now, and why. Nothing is run.

        Raises `UnknownTask`, `NothingCapable` that lists every version with its reason.
        """
        return self.dispatch.choose(parse_task(task), limits)

    @asynccontextmanager
    async def stream(
        self,
        prompt: str | Sequence[Message] | Work,
        *,
        model: str = "auto",
        task: str | None = None,
        sampling: Sampling = Sampling(),
        limits: Limits = Limits(),
        conversation: str | None = None,
        expected: str | None = None,
        whole: bool = False,
    ) -> AsyncIterator[Reply]:
        """Ask, and have the answer piece by piece: ``async for chunk in reply.chunks()``.

        prompt: a text, messages, or a `Work`: a `Chat` with tools or with a shape for the answer,
        a `Completion`, an `Embedding`. model: ``auto``, or a registered name or alias.
        conversation: what a rollout sticks to; by default the prompt. expected: the known right
        answer, given before the answer is seen, so that it counts as evidence. Raises any
        `ArbiterError` before the first piece, `StreamCut` after it.
        """
        work = work_of(prompt)
        target: Target = Auto() if model == "auto" else Named(name=parse_name(model, what="model"))
        ask = Ask(
            target=target,
            work=work,
            sampling=sampling,
            stream=not whole,
            task=None if task is None else parse_task(task),
            limits=limits,
            conversation=conversation or "\0".join(texts_of(work)),
            expected=expected,
            caller="python",
        )
        async with self.dispatch.answer(ask) as reply:
            yield reply

    async def ask(
        self,
        prompt: str | Sequence[Message] | Work,
        *,
        model: str = "auto",
        task: str | None = None,
        sampling: Sampling = Sampling(),
        limits: Limits = Limits(),
        conversation: str | None = None,
        expected: str | None = None,
    ) -> Answered:
        """Ask, and have the whole answer. The arguments and errors are those of `stream`."""
        async with self.stream(
            prompt,
            model=model,
            task=task,
            sampling=sampling,
            limits=limits,
            conversation=conversation,
            expected=expected,
            whole=True,
        ) as reply:
            chunks = [chunk async for chunk in reply.chunks()]
        return Answered(
            text=text_of(chunks),
            reply=reply,
            calls=calls_of(chunks),
            thought=thought_of(chunks),
        )

    async def embed(
        self,
        texts: str | Sequence[str],
        *,
        model: str = "auto",
        task: str | None = None,
        limits: Limits = Limits(),
        dimensions: int | None = None,
    ) -> Embedded:
        """A vector for each text. ``auto`` picks among the models that make vectors.

        dimensions: a shorter vector than the model's own, where its engine can make one.
        Raises any `ArbiterError`, such as `CannotDo` for a named model that makes none.
        """
        inputs = (texts,) if isinstance(texts, str) else tuple(texts)
        if not all(inputs) or not inputs:
            raise InvalidField("An empty text has no vector.", param="texts")
        work = Embedding(inputs=inputs, dimensions=dimensions)
        async with self.stream(work, model=model, task=task, limits=limits, whole=True) as reply:
            made = [chunk async for chunk in reply.chunks() if isinstance(chunk, Vectors)]
        return Embedded(vectors=tuple([v for one in made for v in one.vectors]), reply=reply)

    async def add(
        self,
        path: str | Path,
        name: str,
        *,
        predecessor: str | None = None,
        claim: Claim | None = None,
        progress: Progress = no_progress,
    ) -> Version:
        """Register a model file under a name and run its graded cases.

        claim: what you say of its making; it is kept in the ledger as your word.
        Raises `ModelFileError`, `NameTaken`, and `LoadFailed` when it cannot be run.
        """
        model = parse_name(name)
        version = await self.admission.register(
            Path(path),
            model,
            predecessor=None if predecessor is None else parse_name(predecessor),
            claim=claim,
            who="python",
        )
        await self.admission.calibrate(version, model, progress=progress)
        return version

    async def swap(self, alias: str, model: str, *, why: str = "", **changes: object) -> Stored:
        """Begin to replace what an alias points at by a model; returns at once.

        why: the reason, for the log and the ledger. changes: fields of the plan, such as
        ``soak_s``. `rollout` shows how it goes.
        Raises `RolloutActive`, `UnknownModel`, `InvalidField`.
        """
        plan = self.control().plan(**changes)
        return await self.controller.start(
            parse_name(alias, what="alias"),
            parse_name(model, what="model"),
            plan,
            who="python",
            why=why,
        )

    async def check(
        self, alias: str, model: str, *, progress: Progress = no_progress, **changes: object
    ) -> Compatibility:
        """What validation says of a model in the place of what an alias points at; nothing moves.

        changes: fields of the plan that a swap would have. Runs the graded cases that were not run
        on either before. Raises `UnknownModel`, `InvalidField`, `ServerGone`.
        """
        plan = self.control().plan(**changes)
        return await self.controller.check(
            parse_name(alias, what="alias"),
            parse_name(model, what="model"),
            apart=plan.apart,
            progress=progress,
        )

    async def rollout(self, stored: Stored) -> RolloutView:
        """How a rollout stands, with its evidence."""
        return await self.controller.view(stored.rollout.id)

    async def undo(self, alias: str, *, why: str = "") -> Stored:
        """Take back the last promotion of an alias. Raises `UnknownRollout`, `Conflict`."""
        return await self.controller.undo(parse_name(alias, what="alias"), who="python", why=why)

    async def feedback(
        self, decision: str, score: float, *, source: str = "person", comment: str | None = None
    ) -> bool:
        """Judge an answer: 0 is bad, 1 is good. Durable when it returns; False if it was known.

        Raises `UnknownDecision`, `InvalidField`.
        """
        changed = await self.outcomes.give(
            Feedback(
                decision=DecisionId(decision),
                score=score,
                source=source,
                comment=comment,
                caller="python",
            )
        )
        await self.controller.judged(DecisionId(decision))
        return changed

    async def record(self, decision: str) -> Record:
        """Everything that is known of a decision. Raises `UnknownDecision`."""
        return await self.outcomes.find(decision)

    async def receipt(self, decision: str) -> Receipt:
        """What an answer cost, each figure with how it was come by. Raises `UnknownDecision`.

        Energy and memory are known a moment after its end; until then `is_complete` is False.
        """
        return await receipt_for(self, decision)

    def hardware(self) -> Snapshot:
        """The machine as it is now. What cannot be read is None, and `unknown` says why."""
        return machine_of(self)

    def knowledge(self) -> str:
        """The digest of every task and rule: no swap changes it."""
        return knowledge_digest(self.tasks.all(), self.rules.all())

    async def export_knowledge(self, path: str | Path) -> None:
        """Write all that was learned to a file that is not there yet. Raises `InvalidField`."""
        await self.carrier.export_to(Path(path))

    async def import_knowledge(self, path: str | Path, *, prefer_theirs: bool = False) -> Merge:
        """Take in what is new in a file of knowledge; what that was.

        prefer_theirs: its tasks and rules replace those of the same name here.
        Raises `KnowledgeFileError`, and then nothing was taken in.
        """
        return await self.carrier.take_in(Path(path), who="python", prefer_theirs=prefer_theirs)

    def ready(self) -> dict[str, object]:
        """What ``/readyz`` tells: ok, while requests are taken and none stands still in a queue."""
        return readiness(self)

    def watched(self) -> Watched:
        """What can be seen of this house now, as ``/metrics`` shows it."""
        return watched_of(self)

    def control(self) -> ControlRooms:
        """The rooms that the control API needs."""
        return controls_of(self)

    def cards(self) -> Sequence[ModelCard]:
        """What can be asked for by name, and ``auto``."""
        return cards_of(self)

    @asynccontextmanager
    async def door(self, *, only: Key | None = None) -> AsyncIterator[Address]:
        """Listen at the address of the settings for as long as the context is open.

        only: the one key that opens it, instead of those of the settings.
        """
        async with listening(self, only=only) as address:
            yield address
