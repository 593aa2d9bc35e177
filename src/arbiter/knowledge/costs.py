"""What requests cost beside their time: energy, memory, accelerators; joined by decision id.

It is known a moment after a request has ended, so it has a row of its own, written when it comes
and only where something could be read. Tries that gave no answer have rows of their own, each of
them. The latest are kept in memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

import msgspec
from msgspec import structs

from arbiter.cost import JOULES_IN_A_MWH, MEMORY_ERROR_PCT, Cost, Figure, Method, unknown
from arbiter.inference import Timings, Usage
from arbiter.knowledge.cost_sums import Spent
from arbiter.knowledge.energies import Energies, Spender
from arbiter.knowledge.speed import timing
from arbiter.knowledge.tries import CANCELLED, Then, Try, Vain
from arbiter.refs import DecisionId, TaskName, VersionId
from arbiter.storage.database import Database, Row, Statement
from arbiter.telemetry import Key, Series, Tally

RECENT = 1_024
"""Costs kept in memory."""

MOST_ROWS = 100_000
"""Requests that are added up at most, the latest."""

PENDING = "its counters have not moved since it ended; ask again in a second"
NOTHING_READ = "nothing of it could be read"


class Costs:
    """The costs of requests. The only writer of them."""

    def __init__(self, database: Database, tally: Tally | None = None) -> None:
        self._database = database
        self._tally = tally or Tally()
        self._recent: OrderedDict[DecisionId, Cost] = OrderedDict()
        self._tries: dict[DecisionId, list[Try]] = {}
        self._expected: dict[DecisionId, int] = {}
        self.energies = Energies()
        """What an answer of each version takes."""

    async def load(self) -> None:
        """Add up what answers took."""
        self.energies.take(await self._database.read("sum_energy"))

    def expect(
        self,
        decision: DecisionId,
        then: Then,
        *,
        of: Spender | None = None,
        who: Key | None = None,
    ) -> None:
        """A request has ended; then: what is to be told whom to give its cost.

        of: whose energy it is; None where it is not to be learned from. who: where it is added up,
        for whoever watches the house.
        """
        self._expect(decision, 1)
        then(partial(self._spent_by, decision, of, who))

    def _spent_by(
        self, decision: DecisionId, spender: Spender | None, who: Key | None, cost: Cost
    ) -> None:
        if spender is not None:
            self.energies.add(spender, cost)
        self.add(decision, cost, who=who)

    def expect_tries(
        self, decision: DecisionId, failed: Sequence[Vain], *, task: TaskName, answered: Try | None
    ) -> None:
        """The same of its tries that gave no answer. answered: the one that did after them."""
        self._tries[decision] = [one.tried for one in failed]
        if answered is not None:
            self._tries[decision].append(answered)
            self._database.enqueue(_try_statement(decision, len(failed), answered))
        if len(self._tries) > RECENT:
            del self._tries[next(iter(self._tries))]
        self._expect(decision, len(failed))
        for position, one in enumerate(failed):
            one.then(partial(self._add_try, decision, position, one.tried, task=task))

    def _add_try(
        self, decision: DecisionId, position: int, tried: Try, cost: Cost, *, task: TaskName
    ) -> None:
        self._came(decision)
        if tried.error != CANCELLED:
            who = Spender(version=tried.version, task=task, answered=False)
            self.energies.add(who, cost)
        tried = structs.replace(tried, cost=cost)
        known = self._tries.get(decision)
        if known is not None:
            known[position] = tried
        self._database.enqueue(_try_statement(decision, position, tried))

    def _expect(self, decision: DecisionId, more: int) -> None:
        self._expected[decision] = self._expected.get(decision, 0) + more

    def _came(self, decision: DecisionId) -> None:
        """One less is expected."""
        left = self._expected.pop(decision, 0) - 1
        if left > 0:
            self._expected[decision] = left

    def add(self, decision: DecisionId, cost: Cost, *, who: Key | None = None) -> None:
        """Remember a cost, and store it soon if there is anything to store."""
        self._came(decision)
        if who is not None:
            _count_cost(self._tally.of(who), cost)
        self._recent[decision] = cost
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        if is_worth_a_row(cost):
            self._database.enqueue(_statement(decision, cost))

    async def find(self, decision: DecisionId) -> Cost | None:
        """What a request cost; None when nothing of it could be read."""
        recent = self._recent.get(decision)
        if recent is not None:
            return recent
        rows = await self._database.read("get_cost", (decision,))
        return _cost(rows[0]) if rows else None

    async def spent(self, *, since: str = "", most: int = MOST_ROWS) -> Sequence[Spent]:
        """What the latest requests cost, one value each, and one for each try in vain.

        since: RFC 3339, or a beginning of it.
        """
        await self._database.settle()
        rows = await self._database.read("list_costs", (since, most))
        if len(rows) == most:
            since = str(rows[-1][5])
        tries = await self._database.read("list_tries", (since,))
        return [*map(_spent, rows), *map(_in_vain, tries)]

    async def tries(self, decision: DecisionId) -> Sequence[Try]:
        """The tries of a request that was tried more than once, or in vain, in their order."""
        recent = self._tries.get(decision)
        if recent is not None:
            return tuple(recent)
        return [_try(row) for row in await self._database.read("get_tries", (decision,))]

    def is_expected(self, decision: DecisionId) -> bool:
        """Whether a cost is still to come."""
        return decision in self._expected


def _count_cost(series: Series, cost: Cost) -> None:
    energy, gpu = cost.energy_mwh, cost.gpu_ms
    series.gpu_ms += gpu.value or 0.0
    if energy.value is not None:
        method = energy.method.value
        joules = energy.value * JOULES_IN_A_MWH
        series.joules[method] = series.joules.get(method, 0.0) + joules


def is_worth_a_row(cost: Cost) -> bool:
    """Whether anything of it is known that does not stand beside the outcome anyway."""
    energy, gpu, peak, device = cost.energy_mwh, cost.gpu_ms, cost.peak_bytes, cost.device_bytes
    return not (energy.value is gpu.value is peak.value is device.value is None)


def _statement(decision: DecisionId, cost: Cost) -> Statement:
    energy, gpu, peak, device = cost.energy_mwh, cost.gpu_ms, cost.peak_bytes, cost.device_bytes
    return Statement(
        query="add_cost",
        parameters=(
            decision,
            energy.value,
            energy.method.value,
            energy.error_pct,
            energy.note,
            msgspec.json.encode(cost.energy_by).decode(),
            gpu.value,
            gpu.method.value,
            gpu.note,
            _whole(peak.value),
            _whole(cost.mean_bytes.value),
            peak.method.value,
            peak.note,
            _whole(device.value),
            device.method.value,
            device.note,
        ),
    )


def _cost(row: Row) -> Cost:
    energy, method, error_pct, note, parts, gpu, gpu_method, gpu_note = row[:8]
    peak, mean, memory_method, memory_note, device, device_method, device_note = row[8:]
    is_sampled = memory_method == Method.MEASURED.value
    memory = (memory_method, memory_note, MEMORY_ERROR_PCT if is_sampled else None)
    return Cost(
        cpu_ms=unknown("it stands beside the outcome"),
        gpu_ms=_figure(gpu, gpu_method, gpu_note),
        energy_mwh=_figure(energy, method, note, error_pct),
        peak_bytes=_figure(peak, *memory),
        mean_bytes=_figure(mean, *memory) if mean is not None else unknown(str(memory_note)),
        device_bytes=_figure(device, device_method, device_note),
        energy_by=msgspec.json.decode(str(parts), type=dict[str, float]),
    )


def _spent(row: Row) -> Spent:
    _, task, alias, version, caller, at, status, latency, wait, ttft = row[:10]
    prompt, completion, cached, prefill, decode, cpu, grade, energy, method = row[10:19]
    gpu, peak, load, concurrency = row[19:]
    waited = _real(wait)
    told = timing(
        latency_ms=_real(latency),
        wait_ms=_real(wait),
        ttft_ms=_real(ttft),
        usage=Usage(
            prompt_tokens=_count(prompt),
            completion_tokens=_count(completion),
            cached_tokens=_count(cached),
        ),
        timings=Timings(prefill_ms=_real(prefill), decode_ms=_real(decode)),
        prompt_chars=None,
    )
    return Spent(
        version=str(version),
        task=str(task),
        alias=str(alias),
        caller=str(caller),
        day=str(at)[:10],
        is_success=status == "success",
        served_ms=told.latency_ms,
        wait_ms=waited,
        tokens_in=_count(prompt),
        tokens_out=_count(completion),
        tokens_cached=_count(cached),
        tokens_per_s=told.tokens_per_s,
        cpu_ms=_real(cpu),
        gpu_ms=_real(gpu),
        energy_mwh=_real(energy),
        energy_method=None if method is None else str(method),
        peak_bytes=_count(peak),
        grade=_real(grade),
        slot_wait_ms=None if waited is None else max(0.0, waited - (_real(load) or 0.0)),
        concurrency=_real(concurrency),
    )


def _try_statement(decision: DecisionId, position: int, tried: Try) -> Statement:
    cost = tried.cost
    return Statement(
        query="add_try",
        parameters=(
            decision,
            position,
            tried.version,
            tried.place,
            tried.error,
            tried.took_ms,
            cost.cpu_ms.value,
            cost.gpu_ms.value,
            cost.energy_mwh.value,
            cost.energy_mwh.method.value,
            _whole(cost.peak_bytes.value),
            msgspec.json.encode(cost).decode(),
        ),
    )


def _try(row: Row) -> Try:
    version, place, error, took, cost = row
    return Try(
        version=VersionId(str(version)),
        place=None if place is None else str(place),
        error=None if error is None else str(error),
        took_ms=_real(took) or 0.0,
        cost=msgspec.json.decode(str(cost), type=Cost),
    )


def _in_vain(row: Row) -> Spent:
    """What a try used: of a request that was graded, it solved nothing of it."""
    task, alias, version, caller, at, cpu, gpu, energy, method, peak, grade = row
    return Spent(
        version=str(version),
        task=str(task),
        alias=str(alias),
        caller=str(caller),
        day=str(at)[:10],
        is_success=False,
        is_try=True,
        tokens_out=0,
        cpu_ms=_real(cpu),
        gpu_ms=_real(gpu),
        energy_mwh=_real(energy),
        energy_method=str(method),
        peak_bytes=_count(peak),
        grade=None if grade is None else 0.0,
    )


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _count(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def _figure(value: object, method: object, note: object, error_pct: object = None) -> Figure:
    return Figure(
        value=float(value) if isinstance(value, int | float) else None,
        method=Method(str(method)),
        note=None if note is None else str(note),
        error_pct=float(error_pct) if isinstance(error_pct, int | float) else None,
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
