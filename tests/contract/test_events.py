"""What whoever listens is told, and what it costs the house: nothing."""

from __future__ import annotations

from arbiter.clock import ManualClock
from arbiter.events import Announcer, Event, Listener


def event(kind: str) -> Event:
    return Event(kind=kind, at=ManualClock().now(), detail={"alias": "primary", "weight": 0.1})


async def heard(listener: Listener, count: int) -> list[str]:
    stream = listener.stream()
    return [(await anext(stream)).kind for _ in range(count)]


async def test_a_listener_hears_everything_in_order() -> None:
    announcer = Announcer()
    with announcer.listening() as listener:
        announcer.announce(event("rollout.step"))
        announcer.announce(event("alias.moved"))
        assert await heard(listener, 2) == ["rollout.step", "alias.moved"]


async def test_every_listener_hears_it() -> None:
    announcer = Announcer()
    with announcer.listening() as one, announcer.listening() as other:
        announcer.announce(event("alias.moved"))
        assert await heard(one, 1) == await heard(other, 1) == ["alias.moved"]


async def test_an_event_arrives_whole() -> None:
    announcer = Announcer()
    with announcer.listening() as listener:
        announcer.announce(event("alias.moved"))
        assert await anext(listener.stream()) == event("alias.moved")


async def test_a_slow_listener_loses_the_newest_and_is_told_how_many() -> None:
    announcer = Announcer()
    with announcer.listening(capacity=2) as slow:
        for kind in ("first", "second", "third", "fourth"):
            announcer.announce(event(kind))
        assert slow.lost == 2
        assert await heard(slow, 2) == ["first", "second"]


async def test_a_slow_listener_takes_nothing_from_the_others() -> None:
    announcer = Announcer()
    with announcer.listening(capacity=1), announcer.listening() as quick:
        for kind in ("first", "second"):
            announcer.announce(event(kind))
        assert await heard(quick, 2) == ["first", "second"]


async def test_whoever_stopped_listening_is_told_no_more() -> None:
    announcer = Announcer()
    with announcer.listening(capacity=1) as listener:
        announcer.announce(event("first"))
    announcer.announce(event("second"))
    assert listener.lost == 0


def test_an_announcement_to_nobody_is_no_mistake() -> None:
    Announcer().announce(event("rollout.step"))
