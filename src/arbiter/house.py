"""An open house: what a program, the door and the command line do, through the same rooms.

This is the Python API. It builds nothing; `arbiter.app` does.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import assert_never
from urllib.parse import quote

from arbiter.clock import Clock
from arbiter.config import Settings
from arbiter.dispatch.dispatch import Dispatch
from arbiter.errors import InvalidField
from arbiter.events import Announcer
from arbiter.gateway.control import control_app
from arbiter.gateway.control_costs import CostRooms
from arbiter.gateway.control_rooms import ControlRooms
from arbiter.gateway.keyring import Keyring
from arbiter.gateway.rooms import ModelCard, Rooms
from arbiter.gateway.routes import door
from arbiter.gateway.security import LOCAL, Key, Ring, binding, hashed
from arbiter.gateway.serving import Address, Patience, serving
from arbiter.gateway.shelf import HouseShelf
from arbiter.hardware.machine import Snapshot, usable_cores
from arbiter.inference import (
    Ask,
    Auto,
    Chat,
    Completion,
    Embedding,
    Limits,
    Message,
    Named,
    Reply,
    Sampling,
    Target,
    ToolCall,
    Vectors,
    Work,
    calls_of,
    text_of,
    thought_of,
)
from arbiter.knowledge.carrier import Carrier
from arbiter.knowledge.costs import Costs
from arbiter.knowledge.guesser import Guesser
from arbiter.knowledge.learning import Learning
from arbiter.knowledge.merge import Merge
from arbiter.knowledge.outcome import Feedback, Record
from arbiter.knowledge.outcomes import Outcomes
from arbiter.knowledge.profiles import Profiles
from arbiter.knowledge.prompts import Prompts
from arbiter.knowledge.receipt import Receipt, receipt_of
from arbiter.knowledge.rules import Rules, knowledge_digest
from arbiter.knowledge.tasks import Tasks
from arbiter.ledger import Ledger
from arbiter.metering.meter import Meter
from arbiter.pool.keeping import Keeping
from arbiter.pool.pool import Pool
from arbiter.pool.probing import Probing
from arbiter.pool.reloading import Reloading
from arbiter.pool.watch import Watch
from arbiter.refs import GENERAL, DecisionId, parse_name, parse_task
from arbiter.registry.provenance import Claim
from arbiter.registry.registry import Registry, Version
from arbiter.selection.contender import Choice
from arbiter.storage.database import Database
from arbiter.swap.admission import Admission
from arbiter.swap.adoption import Adoption
from arbiter.swap.calibrating import Calibrating
from arbiter.swap.controller import Controller
from arbiter.swap.findings import Compatibility
from arbiter.swap.harvest import Harvesting
from arbiter.swap.intake import Intake
from arbiter.swap.looking import RolloutView
from arbiter.swap.pulling import Pulling
from arbiter.swap.records import Stored
from arbiter.swap.scouting import Scout
from arbiter.swap.shadowing import Shadowing
from arbiter.swap.validation import Progress, no_progress
from arbiter.telemetry import Loaded, Watched


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A whole answer, with the decision that led to it.

    calls: what tools it wants called. thought: what the model thought before it answered.
    """

    text: str
    reply: Reply
    calls: tuple[ToolCall, ...] = ()
    thought: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """A vector for each text, in their order, with the decision that led to them.

    Only vectors of one version can be compared with each other: ``reply.decided.version``.
    """

    vectors: tuple[Sequence[float], ...]
    reply: Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """An open house. `arbiter.open` gives one; everything in it lives as long as its context.

    The doors and the command line do what they do through the same rooms.
    """

    settings: Settings
    clock: Clock
    database: Database
    ledger: Ledger
    keyring: Keyring
    registry: Registry
    tasks: Tasks
    rules: Rules
    profiles: Profiles
    learning: Learning
    outcomes: Outcomes
    costs: Costs
    meter: Meter
    on_battery: Callable[[], bool | None]
    prompts: Prompts
    carrier: Carrier
    guesser: Guesser | None
    pool: Pool
    controller: Controller
    keeping: Keeping
    watch: Watch
    probing: Probing
    reloading: Reloading
    calibrating: Calibrating
    shadowing: Shadowing
    admission: Admission
    intake: Intake
    adoption: Adoption
    scout: Scout
    pulling: Pulling
    harvesting: Harvesting
    dispatch: Dispatch
    announcer: Announcer

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
        work = _work(prompt)
        target: Target = Auto() if model == "auto" else Named(name=parse_name(model, what="model"))
        ask = Ask(
            target=target,
            work=work,
            sampling=sampling,
            stream=not whole,
            task=None if task is None else parse_task(task),
            limits=limits,
            conversation=conversation or "\0".join(_texts(work)),
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
        record = await self.outcomes.find(decision)
        id_ = record.decided.decision
        return receipt_of(
            record,
            await self.costs.find(id_),
            tries=await self.costs.tries(id_),
            threads=usable_cores(),
            is_complete=record.outcome is not None and not self.costs.is_expected(id_),
        )

    def hardware(self) -> Snapshot:
        """The machine as it is now. What cannot be read is None, and `unknown` says why."""
        return self.meter.hardware.snapshot(self.on_battery)

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
        return {
            "ok": self.dispatch.is_open and self.watch.is_well,
            "models": len(self.registry.names()),
        }

    def watched(self) -> Watched:
        """What can be seen of this house now, as ``/metrics`` shows it."""
        return Watched(
            requests=self.outcomes.tally,
            events=dict(self.announcer.counts),
            swaps=dict(self.announcer.swaps),
            instances=tuple(
                Loaded(
                    version=one.version,
                    number=one.number,
                    engine=one.engine,
                    state=one.state.value,
                    in_flight=one.leases,
                    waiting=one.waiting,
                    loads=one.loads,
                    reloads_avoided=one.reloads_avoided,
                    predicted_bytes=one.predicted_bytes,
                    measured_bytes=one.measured_bytes,
                    probes=one.probes,
                    is_slow=one.slow is not None,
                )
                for one in self.pool.views()
            ),
            rollouts=self.controller.going(),
            retried=self.pool.again.allowance().retried,
            retries_refused=self.pool.again.allowance().refused,
        )

    def control(self) -> ControlRooms:
        """The rooms that the control API needs."""
        return ControlRooms(
            ledger=self.ledger,
            keyring=self.keyring,
            registry=self.registry,
            tasks=self.tasks,
            rules=self.rules,
            profiles=self.profiles,
            learning=self.learning,
            outcomes=self.outcomes,
            carrier=self.carrier,
            folder=self.settings.data_dir,
            pool=self.pool,
            reload=self.reloading.reload,
            clock=self.clock,
            controller=self.controller,
            admission=self.admission,
            adoption=self.adoption,
            scout=self.scout,
            pulling=self.pulling,
            calibrating=self.calibrating,
            prompts=self.prompts,
            harvesting=self.harvesting,
            choose=self.dispatch.choose,
            announcer=self.announcer,
            database=self.database,
            rollout=self.settings.rollout,
            status=self._status,
            costs=CostRooms(
                costs=self.costs,
                registry=self.registry,
                clock=self.clock,
                record=self.record,
                receipt=self.receipt,
                hardware=self.hardware,
                energy=self.meter.sums,
                engines=self.pool.engines,
                settings=lambda: self.pool.settings,
            ),
        )

    def _status(self) -> dict[str, object]:
        return {
            "ok": True,
            "pid": os.getpid(),
            "data_dir": str(self.settings.data_dir),
            "versions": len(self.registry.versions()),
            "tasks": len(self.tasks.all()),
            "rollouts": sorted(self.controller.aliases()),
            "retries": asdict(self.pool.again.allowance()),
            "stuck": [{"version": one.version, "reason": one.reason} for one in self.watch.stuck],
        }

    def cards(self) -> Sequence[ModelCard]:
        """What can be asked for by name, and ``auto``."""
        cards = [ModelCard(id="auto", created=0, owned_by="arbiter", version="")]
        for name in self.registry.names():
            version = self.registry.version(name.version)
            cards.append(
                ModelCard(
                    id=name.name,
                    created=_seconds(version),
                    owned_by=version.artifact.format,
                    version=version.version,
                    context_length=version.artifact.context_length,
                    capabilities=tuple(sorted(self.dispatch.capabilities(version))),
                )
            )
        return cards

    @asynccontextmanager
    async def door(self, *, only: Key | None = None) -> AsyncIterator[Address]:
        """Listen at the address of the settings for as long as the context is open.

        only: the one key that opens it, instead of those of the settings.
        """
        settings = self.settings.door
        secret = secrets.token_urlsafe(32)
        ring = self.keyring.ring if only is None else Ring((only,))
        if only is None:
            # whoever may read the data directory runs the house, whatever keys its door has
            ring.owner = Key(id=LOCAL.id, digest=hashed(secret), access=LOCAL.access)
        policy = replace(
            binding(settings.host, names=settings.allowed_hosts, ring=ring),
            max_body_bytes=int(settings.max_body_mb * 1024 * 1024),
        )
        rooms = Rooms(
            answer=self.dispatch,
            models=self.cards,
            healthy=lambda: {"ok": True},
            ready=self.ready,
            watched=self.watched,
            clock=self.clock,
            shelf=HouseShelf(
                registry=self.registry,
                pool=self.pool,
                pulling=self.pulling,
                admission=self.admission,
                capabilities=self.dispatch.capabilities,
            ),
            tell_after_s=settings.tell_after_s,
            reads_traces=self.dispatch.is_traced,
            control=control_app(self.control()),
        )
        async with serving(
            door(rooms, policy),
            settings.host,
            settings.port,
            patience=Patience(drain_s=settings.drain_s),
        ) as address:
            with _announced(self.settings.data_dir, address, secret):
                yield address


def _work(prompt: str | Sequence[Message] | Work) -> Work:
    if isinstance(prompt, Chat | Completion | Embedding):
        return prompt
    if isinstance(prompt, str):
        return Chat(messages=(Message(role="user", content=prompt),))
    return Chat(messages=tuple(prompt))


def _texts(work: Work) -> tuple[str, ...]:
    match work:
        case Chat(messages=messages):
            return tuple([message.content for message in messages])
        case Completion(prompt=prompt):
            return (prompt,)
        case Embedding(inputs=inputs):
            return inputs
        case _:
            assert_never(work)


def _seconds(version: Version) -> int:
    return int(datetime.fromisoformat(version.registered_at).timestamp())


def own_addresses(host: str, port: int) -> frozenset[str]:
    """The addresses at which a door of these settings is reached from this machine.

    >>> sorted(own_addresses("127.0.0.1", 8017))
    ['http://127.0.0.1:8017', 'http://localhost:8017']
    """
    hosts = {"localhost", "127.0.0.1"}
    return frozenset(
        {f"http://{one}:{port}" for one in hosts} | {reachable(Address(host=host, port=port))}
    )


def reachable(address: Address) -> str:
    """The URL at which this machine reaches a door, also one that listens everywhere.

    >>> reachable(Address(host="0.0.0.0", port=8017))
    'http://127.0.0.1:8017'
    """
    host = f"[{address.host}]" if ":" in address.host else address.host
    everywhere = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  # compared with
    return f"http://{quote(everywhere.get(host, host), safe='[]:')}:{address.port}"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextmanager
def _announced(data_dir: Path, address: Address, key: str) -> Iterator[None]:
    """Leave word in the data directory of where the running house listens, and its owner's key."""
    note = data_dir / "house.json"
    text = json.dumps({"pid": os.getpid(), "url": reachable(address), "key": key})
    note.unlink(missing_ok=True)
    with open(note, "x", encoding="utf-8", opener=_private) as file:  # its mode
        file.write(text)
    try:
        yield
    finally:
        note.unlink(missing_ok=True)
