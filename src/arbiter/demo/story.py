"""The demo: the whole main job, on real models, through the real door.

Nothing here has a threshold, a rule or a number of its own: every verdict is the house's, with
its ordinary settings. Only the soak (the least time on each step of a rollout) is shortened, by
the setting that anybody may use.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from random import Random

import aiohttp

from arbiter.app import open_house
from arbiter.config import Settings, load_settings
from arbiter.demo.lessons import TASKS, Item, draw_many
from arbiter.demo.traffic import Clients, Tally, live_items
from arbiter.errors import EngineUnavailable, InvalidField
from arbiter.house import House
from arbiter.inference import Limits
from arbiter.knowledge.rules import Rule
from arbiter.knowledge.tasks import Grading, Task, parse_cases
from arbiter.refs import parse_name, parse_task, short
from arbiter.swap.looking import RolloutView
from arbiter.swap.rollout import Phase

SEED = 20_261_123
SOAK_S = 1.0
SAMPLE = 25
"""Items a task for the quality before and after."""

AUTO = 12
"""Items a task that are asked with the choice left to the house."""

MOST_REQUESTS = 6_000
"""A rollout that has no verdict after so many is told as one without a verdict."""

GRADERS: Mapping[str, Grading] = {
    "sentiment": Grading(kind="choice", options={"labels": ["positive", "negative", "neutral"]}),
    "topic": Grading(
        kind="choice", options={"labels": ["billing", "delivery", "account", "technical"]}
    ),
    "sum": Grading(kind="number"),
    "extract": Grading(kind="json-fields"),
    "reverse": Grading(kind="exact"),
    "code": Grading(kind="exact"),
}

ROLES = {"heron-1": "primary", "sparrow": "fast", "owl": "quality", "parrot": "alternative"}
MODELS = (*ROLES, "heron-2", "heron-3", "heron-4")
"""Every model that ships: those with a role from the start, then those that want `primary`."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """How the demo went: the document that ``--json`` prints."""

    requests: int
    lost: int
    promoted: bool
    blocked: bool
    rolled_back: bool
    rules: int
    rules_retained: int
    knowledge_kept: bool
    quality_before: Mapping[str, float]
    quality_after: Mapping[str, float]
    tasks: Mapping[str, Mapping[str, object]]
    cpu_s: float | None
    tokens: int

    @property
    def went_as_told(self) -> bool:
        """Whether everything came about that the demo is there to show."""
        return (
            self.promoted
            and self.blocked
            and self.rolled_back
            and self.knowledge_kept
            and self.lost == 0
            and self.rules_retained == self.rules
        )

    def to_plain(self) -> dict[str, object]:
        """As JSON."""
        return {
            "requests": self.requests,
            "lost": self.lost,
            "promoted": self.promoted,
            "blocked": self.blocked,
            "rolled_back": self.rolled_back,
            "rules": self.rules,
            "rules_retained": self.rules_retained,
            "quality_before": dict(self.quality_before),
            "quality_after": dict(self.quality_after),
            "tasks": {task: dict(row) for task, row in self.tasks.items()},
            "cost": {
                "worker_cpu_s": self.cpu_s,
                "method": "process CPU clock, shared equally among the requests in flight",
                "tokens": self.tokens,
            },
        }

    def table(self) -> str:
        """For people."""
        head = f"{'task':<11}{'auto picks':<14}{'quality':>8}{'samples':>9}"
        lines = ["", f"{head}{'primary before':>17}{'after':>8}"]
        for task, row in self.tasks.items():
            lines.append(
                f"{task:<11}{row['pick']!s:<14}{_two(row['quality']):>8}{row['samples']!s:>9}"
                f"{_two(self.quality_before.get(task)):>17}"
                f"{_two(self.quality_after.get(task)):>8}"
            )
        cpu = "unknown" if self.cpu_s is None else f"{self.cpu_s:.1f} s of worker CPU"
        kept = f"rules kept {self.rules_retained} of {self.rules}"
        verdicts = (
            f"better successor promoted: {_yes(self.promoted)}",
            f"broken candidate blocked: {_yes(self.blocked)}",
            f"weak candidate rolled back: {_yes(self.rolled_back)}",
        )
        total = f"requests {self.requests}   lost {self.lost}"
        lines += [
            "",
            f"{total}   {kept}   cost {cpu}, {self.tokens} tokens",
            "   ".join(verdicts),
        ]
        return "\n".join(lines)


def _two(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, int | float) else "-"


def _yes(value: bool) -> str:  # a word for a truth
    return "yes" if value else "NO"


def task_of(name: str) -> Task:
    """A task of the demo with its stored cases, as they ship."""
    text = (files("arbiter.demo") / "cases" / f"{name}.jsonl").read_text(encoding="utf-8")
    return Task(
        name=parse_task(name),
        limits=Limits(needs=frozenset({"chat"})),
        grading=GRADERS[name],
        cases=parse_cases(text),
    )


async def add_model(house: House, name: str, say: Say) -> None:
    """Register a model that ships, run its graded cases, and say how it did."""
    with as_file(files("arbiter.demo") / "models" / f"{name}.gguf") as path:
        version = await house.add(path, name)
    profiles = house.profiles.tasks_of(version.version)
    scores = (f"{task} {_two(profiles[parse_task(task)].mean_quality)}" for task in TASKS)
    say(f"  {name:<8} {short(version.version)}  {'  '.join(scores)}")


@asynccontextmanager
async def furnished(
    settings: Settings,
    models: Sequence[str],
    say: Say,
    *,
    reread: Callable[[], Settings] | None = None,
) -> AsyncIterator[House]:
    """A house with the demo's tasks and these models. reread: as of `arbiter.app.open_house`.

    Raises `EngineUnavailable` when llama.cpp is not installed.
    """
    async with open_house(settings, reread=reread) as house:
        reason = house.pool.unavailable("gguf")
        if reason is not None:
            raise EngineUnavailable("The demo needs llama.cpp.", hint=reason)
        for name in TASKS:
            await house.admission.add_task(task_of(name))
        for name in models:
            await add_model(house, name, say)
        yield house


async def tell(*, keep: Path | None, say: Say) -> Told:
    """Do everything, saying what happens.

    keep: where to leave the data directory; it must not hold a house yet. Raises `InvalidField`
    when it does, and what the house raises when it cannot run.
    """
    if keep is not None and await asyncio.to_thread((keep / "arbiter.db").exists):
        raise InvalidField(
            f"{keep} holds a house already.", hint="Name an empty folder.", param="keep"
        )
    with tempfile.TemporaryDirectory(prefix="arbiter-demo-") as folder:
        settings = demo_settings(keep or Path(folder))
        say("Opening a house and registering the models that ship (graded cases of 6 tasks):")
        async with furnished(settings, tuple(ROLES), say) as house:
            for model, role in ROLES.items():
                await house.admission.set_alias(parse_name(role), parse_name(model), who="demo")
            async with house.door() as address, aiohttp.ClientSession() as session:
                clients = Clients(session, address.url)
                return await _Story(house, clients, say).tell()


def demo_settings(data_dir: Path) -> Settings:
    """Ordinary settings: a free port, and a soak of a second instead of an hour."""
    return load_settings(
        environment={},
        overrides={"data_dir": data_dir, "door.port": 0, "rollout.soak_s": SOAK_S},
    )


class _Story:
    def __init__(self, house: House, clients: Clients, say: Say) -> None:
        self._house = house
        self._clients = clients
        self._say = say
        self._live = live_items(Random(SEED))  # noqa: S311  # a reproducible show, no secret

    async def tell(self) -> Told:
        house, say = self._house, self._say
        await house.rules.add(
            Rule(task=parse_task("topic"), prefer=parse_name("fast"), why="tickets need speed")
        )
        before_knowledge = house.knowledge()
        rules = {rule.digest for rule in house.rules.all()}

        say("\nAsking with the choice left to the house:")
        auto = await self._ask_auto()
        sample = self._sample()
        before = await self._measure(sample)

        say("\nprimary: heron-1 -> heron-2, the better successor:")
        promoted = await self._swap("heron-2")
        after = await self._measure(sample)

        say("\nprimary: heron-2 -> heron-3, better on most tasks and broken on one:")
        blocked = await self._swap("heron-3")

        say("\nprimary: heron-2 -> heron-4, weak where no stored case looks:")
        back = await self._swap("heron-4")

        kept = rules & {rule.digest for rule in house.rules.all()}
        await house.database.settle()
        ((_, _, cpu, prompt, completion),) = await house.database.read("count_outcomes")
        return Told(
            requests=self._clients.requests,
            lost=self._clients.lost,
            promoted=promoted is Phase.PROMOTED,
            blocked=blocked is Phase.BLOCKED,
            rolled_back=back is Phase.ROLLED_BACK,
            rules=len(rules),
            rules_retained=len(kept),
            knowledge_kept=before_knowledge == house.knowledge(),
            quality_before=before,
            quality_after=after,
            tasks=auto,
            cpu_s=float(cpu) / 1000 if isinstance(cpu, int | float) else None,
            tokens=int(prompt or 0) + int(completion or 0),
        )

    async def _ask_auto(self) -> dict[str, dict[str, object]]:
        found: dict[str, dict[str, object]] = {}
        dice = Random(SEED + 1)  # noqa: S311  # a reproducible show, no secret
        for task in TASKS:
            choice = self._house.select(task)
            items = iter(draw_many(task, dice, AUTO, split="held_out"))
            tally = Tally()
            await self._clients.send(items, model=f"task:{task}", tally=tally, until=_never)
            found[task] = {
                "pick": choice.alias,
                "quality": tally.quality[task],
                "samples": choice.primary.samples + tally.asked[task],
            }
            self._say(f"  {task:<10} -> {choice.alias:<12} {choice.reason}")
        return found

    def _sample(self) -> tuple[Item, ...]:
        return tuple(next(self._live) for _ in range(SAMPLE * len(TASKS)))

    async def _measure(self, sample: tuple[Item, ...]) -> Mapping[str, float]:
        tally = Tally()
        await self._clients.send(iter(sample), model="primary", tally=tally, until=_never)
        return tally.quality

    async def _swap(self, model: str) -> Phase:
        """Swap primary under live traffic, until the rollout is over."""
        house = self._house
        await add_model(house, model, self._say)
        stored = await house.swap("primary", model)
        rollout = stored.rollout.id
        asked = self._clients.requests

        def over() -> bool:
            active = house.controller.active(stored.rollout.alias)
            return active is None or self._clients.requests - asked >= MOST_REQUESTS

        async def watch() -> None:
            with house.announcer.listening() as listener:
                async for event in listener.stream():
                    if event.kind.startswith("rollout.") and event.detail["rollout"] == rollout:
                        weight = event.detail["weight"]
                        if isinstance(weight, float) and weight > 0:
                            self._say(f"  {weight:4.0%} of conversations: {event.detail['reason']}")

        watching = asyncio.create_task(watch())
        try:
            await self._clients.send(self._live, model="primary", tally=Tally(), until=over)
        finally:
            watching.cancel()
        view = await house.controller.view(rollout)
        self._told(view)
        return view.stored.rollout.phase

    def _told(self, view: RolloutView) -> None:
        rollout = view.stored.rollout
        self._say(f"  {rollout.phase.value.replace('_', ' ')}: {rollout.reason}")


def _never() -> bool:
    return False
