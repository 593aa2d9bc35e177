"""What rules do to a pick, in words and in deeds. Pure, but for what `Preferences` keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from arbiter.errors import NothingCapable, NothingThere
from arbiter.inference import Dropped
from arbiter.knowledge.rules import Rule, Rules, Ruling
from arbiter.knowledge.tasks import Task, Tasks
from arbiter.refs import GENERAL, ModelName, TaskName, VersionId
from arbiter.registry.registry import Registry
from arbiter.selection.contender import RETRY_AFTER_S, Contender, Preference, nothing_left


def preference_of(
    ruling: Ruling | None, task: TaskName, pointed: Mapping[ModelName, VersionId]
) -> Preference | None:
    """What the rules say to a task, of the versions that there are now.

    pointed: what every name points at. To ban a name that is not there bans nobody.
    """
    if ruling is None:
        return None
    never: dict[VersionId, str] = {}
    for alias, rule in ruling.never.items():
        if alias in pointed:
            reason = f"{_whose(rule, task)}: never {alias}{_why(rule)}"
            never.setdefault(pointed[alias], reason)
    takes = ruling.takes
    version = None if takes is None or takes.takes is None else pointed.get(takes.takes)
    return Preference(rule=takes, version=version, never=never)


class Preferences:
    """What the rules say to each task, worked out once until a rule, a task or a name changes."""

    def __init__(self, rules: Rules, tasks: Tasks, registry: Registry) -> None:
        self._rules = rules
        self._tasks = tasks
        self._registry = registry
        self._revision: tuple[int, int, int] | None = None
        self._pointed: Mapping[ModelName, VersionId] = {}
        self._known: dict[TaskName, Preference | None] = {}

    def get(self, task: TaskName) -> Preference | None:
        """What they say to a task; None when none says anything."""
        revision = (self._rules.revision, self._tasks.revision, self._registry.revision)
        if revision != self._revision:
            self._revision = revision
            self._pointed = {one.name: one.version for one in self._registry.names()}
            self._known = {}
        if task not in self._known:
            ruling = self._rules.ruling(self._tasks.line(task))
            self._known[task] = preference_of(ruling, task, self._pointed)
        return self._known[task]


def ruled_out(contender: Contender, task: TaskName, preference: Preference | None) -> str | None:
    """Why the rules leave this contender out, or None when they do not."""
    if preference is None:
        return None
    reason = preference.never.get(contender.version)
    rule = preference.rule
    if reason is None and rule is not None and rule.only is not None:
        return None if contender.version == preference.version else ruled_reason(rule, task)
    return reason


def ruled_reason(rule: Rule, task: TaskName) -> str:
    """Which rule decided, and how.

    >>> from arbiter.refs import TaskName, ModelName
    >>> sums = TaskName("sums")
    >>> ruled_reason(Rule(task=sums, prefer=ModelName("fast"), why="it is quick"), sums)
    'rule: sums prefers fast (it is quick)'
    >>> ruled_reason(Rule(task=GENERAL, only=ModelName("fast")), sums)
    'rule for all tasks: only fast answers sums'
    """
    what = (
        f"{task} prefers {rule.prefer}" if rule.only is None else f"only {rule.only} answers {task}"
    )
    return f"{_whose(rule, task)}: {what}{_why(rule)}"


def what_would_change_it(rule: Rule) -> str:
    """What would have another one picked, where a rule decided.

    >>> from arbiter.refs import TaskName, ModelName
    >>> what_would_change_it(Rule(task=TaskName("sums"), prefer=ModelName("fast")))
    'no answers would, as long as fast can serve: the rule decides (arbiter rules remove sums)'
    """
    return (
        f"no answers would, as long as {rule.takes} can serve: the rule decides "
        f"(arbiter rules remove {rule.task})"
    )


def nobody_left(
    task: Task, dropped: Sequence[Dropped], preference: Preference | None
) -> NothingCapable | NothingThere:
    """The error when nobody can serve. dropped: everybody, each with the reason."""
    if preference is None:
        return nothing_left(task, dropped)
    rule = preference.rule
    if rule is None or rule.only is None:
        return nothing_left(task, dropped, is_ruled=bool(preference.never))
    return _pin_failed(rule, task, preference.version, dropped)


def _pin_failed(
    rule: Rule, task: Task, version: VersionId | None, dropped: Sequence[Dropped]
) -> NothingCapable | NothingThere:
    """The error when the only one who may answer cannot: it tells of that one alone."""
    who, change = rule.only, f"change the rule: arbiter rules remove {rule.task}."
    begin = f"No model can serve task {task.name}. {_capital(ruled_reason(rule, task.name))}"
    one = next((drop for drop in dropped if drop.version == version), None)
    if version is None:
        return NothingCapable(
            f"{begin}, and no model or alias is called {who} here.",
            hint=f"Set it: arbiter alias set {who} MODEL; or {change}",
        )
    if one is None:
        return NothingCapable(
            f"{begin}, and what {who} points at is not in use now.",
            hint=f"Point it at another model: arbiter alias set {who} MODEL; or {change}",
        )
    if one.is_absent:
        return NothingThere(
            f"{begin}, which is not there now. {one.reason.rstrip('.')}.",
            hint=f"The house goes on looking; try again shortly, or {change}",
            retry_after_s=RETRY_AFTER_S,
        )
    return NothingCapable(
        f"{begin}, which cannot: {one.reason}.",
        hint=f"Loosen the task's or the request's limits, or {change}",
    )


def _whose(rule: Rule, task: TaskName) -> str:
    if rule.task == task:
        return "rule"
    return "rule for all tasks" if rule.task == GENERAL else f"rule for {rule.task}"


def _why(rule: Rule) -> str:
    return f" ({rule.why})" if rule.why else ""


def not_followed(preference: Preference | None) -> str:
    """What a reason ends with when the one who is preferred was not picked."""
    if preference is None or preference.rule is None:
        return ""
    return f"; the rule prefers {preference.rule.takes}, which cannot serve it now"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
