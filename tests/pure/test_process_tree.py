"""The CPU time of a tree of processes, on tables and clocks that a test writes."""

from __future__ import annotations

import pytest

from arbiter.metering.tree import Member, ProcessTree, Table

MS = 1_000_000


def member(pid: int, parent: int, *, waited_ms: int = 0, started: int = 10) -> Member:
    return Member(pid=pid, parent=parent, started=started, waited_ns=waited_ms * MS)


def table(*members: Member) -> Table:
    return Table(members)


@pytest.fixture(name="clocks")
def fixture_clocks() -> dict[int, int]:
    return {1: 100 * MS}


@pytest.fixture(name="tree")
def fixture_tree(clocks: dict[int, int]) -> ProcessTree:
    return ProcessTree(1, read_cpu=clocks.get)


def test_a_process_alone_is_its_own_clock(tree: ProcessTree, clocks: dict[int, int]) -> None:
    assert tree.cpu_ns() == 100 * MS
    tree.look(table(member(1, 0)))
    clocks[1] = 130 * MS
    assert (tree.cpu_ns(), tree.pids) == (130 * MS, (1,))


def test_a_child_that_works_counts(tree: ProcessTree, clocks: dict[int, int]) -> None:
    tree.look(table(member(1, 0)))
    before = tree.cpu_ns()
    clocks[2] = 40 * MS
    tree.look(table(member(1, 0), member(2, 1), member(9, 8)))
    assert tree.cpu_ns() == (before or 0) + 40 * MS
    assert tree.pids == (1, 2)


def test_what_was_used_before_the_first_look_is_no_growth(
    tree: ProcessTree, clocks: dict[int, int]
) -> None:
    before = tree.cpu_ns()
    clocks[2] = 5_000 * MS
    tree.look(table(member(1, 0, waited_ms=700), member(2, 1, waited_ms=90)))
    assert tree.cpu_ns() == before
    clocks[2] += 3 * MS
    assert tree.cpu_ns() == (before or 0) + 3 * MS


def test_a_child_whose_time_its_parent_keeps_is_counted_once(
    tree: ProcessTree, clocks: dict[int, int]
) -> None:
    tree.look(table(member(1, 0)))
    clocks[2] = 40 * MS
    tree.look(table(member(1, 0), member(2, 1)))
    tree.cpu_ns()
    del clocks[2]
    tree.look(table(member(1, 0, waited_ms=50)))  # it used 10 ms more before it ended
    assert tree.cpu_ns() == 150 * MS


def test_a_child_that_nobody_asked_after_keeps_its_latest_time(
    tree: ProcessTree, clocks: dict[int, int]
) -> None:
    tree.look(table(member(1, 0)))
    clocks[2] = 40 * MS
    tree.look(table(member(1, 0), member(2, 1)))
    tree.cpu_ns()
    del clocks[2]
    assert tree.cpu_ns() == 140 * MS
    tree.look(table(member(1, 0)))
    assert tree.cpu_ns() == 140 * MS


def test_a_grandchild_that_ended_is_counted_once_when_its_parent_ends_too(
    tree: ProcessTree, clocks: dict[int, int]
) -> None:
    tree.look(table(member(1, 0)))
    clocks.update({2: 10 * MS, 3: 20 * MS})
    tree.look(table(member(1, 0), member(2, 1), member(3, 2)))
    tree.cpu_ns()
    del clocks[3]
    tree.look(table(member(1, 0), member(2, 1, waited_ms=20)))
    assert tree.cpu_ns() == 130 * MS
    del clocks[2]
    tree.look(table(member(1, 0, waited_ms=30)))
    assert tree.cpu_ns() == 130 * MS


def test_two_that_end_at_once_share_what_their_parent_keeps(
    tree: ProcessTree, clocks: dict[int, int]
) -> None:
    tree.look(table(member(1, 0)))
    clocks.update({2: 30 * MS, 3: 30 * MS})
    tree.look(table(member(1, 0), member(2, 1), member(3, 1)))
    tree.cpu_ns()
    del clocks[2], clocks[3]
    tree.look(table(member(1, 0, waited_ms=30)))  # it asked after one of them
    assert tree.cpu_ns() == 160 * MS


def test_an_older_process_with_a_members_number_is_no_child(
    tree: ProcessTree, clocks: dict[int, int]
) -> None:
    clocks[2] = 40 * MS
    tree.look(table(member(1, 0, started=10), member(2, 1, started=5)))
    assert tree.pids == (1,)


def test_a_number_that_another_program_got_begins_anew(
    tree: ProcessTree, clocks: dict[int, int]
) -> None:
    tree.look(table(member(1, 0, started=10)))
    tree.cpu_ns()
    clocks[1] = 7 * MS
    tree.look(table(member(1, 0, started=99)))
    assert tree.cpu_ns() == 7 * MS


def test_a_root_that_is_gone_has_no_time(tree: ProcessTree, clocks: dict[int, int]) -> None:
    clocks.clear()
    tree.look(table(member(5, 4)))
    assert tree.cpu_ns() is None
