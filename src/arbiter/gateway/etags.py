"""States of what people change, as tags: so that nobody undoes unseen what somebody else just did.

A tag stands for what a person decided or sees as the state, and changes with it. Whoever sends it
back in ``If-Match`` changes that state or nothing; whoever sends none means it in any case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Header

from arbiter.errors import Stale
from arbiter.knowledge.rules import Rule
from arbiter.knowledge.tasks import Task
from arbiter.refs import digest
from arbiter.registry.registry import Name
from arbiter.swap.rollout import Rollout

_DIGITS: Final = 16


def alias_tag(name: Name) -> str:
    """The state of a name: what it points at."""
    return _tag("alias", {"name": name.name, "version": name.version})


def task_tag(task: Task) -> str:
    """The state of a task: what people decided about it, its thresholds and its cases included."""
    return _tag("task", {"digest": task.digest})


def rule_tag(rule: Rule) -> str:
    """The state of a rule."""
    return _tag("rule", {"digest": rule.digest})


def rollout_tag(rollout: Rollout) -> str:
    """The state of a rollout: its phase and its step. Evidence that comes in does not change it."""
    return _tag("rollout", {"id": rollout.id, "phase": rollout.phase.value, "step": rollout.index})


def _tag(kind: str, state: dict[str, object]) -> str:
    return f'"{digest(f"arbiter.tag.{kind}.v1", state).partition(":")[2][:_DIGITS]}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Precondition:
    """What must be so for a request to change anything. None: nothing.

    if_match: tags of which one is the state's, or ``*`` for whatever is there. if_none_match: tags
    of which none is; ``*``: nothing may be there yet.
    """

    if_match: str | None = None
    if_none_match: str | None = None

    def check(self, tag: str | None) -> None:
        """tag: of the state now; None: there is nothing. Raises `Stale` when it is another.

        >>> Precondition(if_match='"a", "b"').check('"b"')
        >>> Precondition(if_none_match="*").check('"b"')
        Traceback (most recent call last):
        arbiter.errors.Stale: It was changed ... Its tag is "b" now; read it again, and decide anew.
        """
        wanted, unwanted = _tags(self.if_match), _tags(self.if_none_match)
        is_met = wanted is None or (tag is not None and bool({tag, "*"} & wanted))
        is_kept_from = unwanted is not None and tag is not None and bool({tag, "*"} & unwanted)
        if is_met and not is_kept_from:
            return
        hint = "It is not there." if tag is None else f"Its tag is {tag} now"
        raise Stale(hint=f"{hint.rstrip('.')}; read it again, and decide anew.")


def _tags(header: str | None) -> set[str] | None:
    """The tags of a header. A weak one says as much as a strong one here: tags are of states."""
    if header is None:
        return None
    return {one.strip().removeprefix("W/") for one in header.split(",")}


def _precondition(
    if_match: Annotated[
        str | None, Header(max_length=1000, description="Change this state or nothing.")
    ] = None,
    if_none_match: Annotated[
        str | None, Header(max_length=1000, description="`*`: only if nothing is there.")
    ] = None,
) -> Precondition:
    return Precondition(if_match=if_match, if_none_match=if_none_match)


If = Annotated[Precondition, Depends(_precondition)]
"""What a request demands of the state that it changes."""
