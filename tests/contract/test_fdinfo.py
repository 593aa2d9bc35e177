"""Who has a card open: found without reading what every process of a desktop has open."""

from __future__ import annotations

from pathlib import Path

from arbiter.hardware.fdinfo import OFTEN, SELDOM, Clients

CARD = "0000:00:02.0"
MINE, OTHER = 42, 77


def opens(proc: Path, pid: int, *, number: int, client: int, used_ns: int, at: str | None) -> None:
    """A process opens a file. at: what the kernel says it is open on; None: it does not say."""
    folder = proc / str(pid)
    for name in ("fd", "fdinfo"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    said = f"drm-driver:\ti915\ndrm-client-id:\t{client}\ndrm-pdev:\t{CARD}\n"
    (folder / "fdinfo" / str(number)).write_text(f"{said}drm-engine-render:\t{used_ns} ns\n")
    link = folder / "fd" / str(number)
    if at is not None and not link.is_symlink():
        link.symlink_to(at)


def used(clients: Clients, *mine: int) -> dict[int, int | None]:
    return {pid: by_card[CARD].engine_ns for pid, by_card in clients.used(mine).items()}


def test_only_what_is_open_on_a_card_is_read_and_a_client_counts_once(tmp_path: Path) -> None:
    render = "/dev/dri/renderD128"
    opens(tmp_path, MINE, number=3, client=1, used_ns=100, at=render)
    opens(tmp_path, MINE, number=4, client=1, used_ns=100, at=render)
    opens(tmp_path, MINE, number=5, client=2, used_ns=10, at=None)
    opens(tmp_path, MINE, number=6, client=3, used_ns=5_000, at="/tmp/no-card")  # a name
    clients = Clients(tmp_path)
    assert used(clients, MINE) == {MINE: 110}
    (everybody,) = clients.everybody().values()
    assert everybody[CARD].engine_ns == 110


def test_what_is_known_is_read_each_time_and_who_comes_is_found(tmp_path: Path) -> None:
    clients = Clients(tmp_path)
    assert used(clients, MINE) == {}
    for pid in (MINE, OTHER):
        opens(tmp_path, pid, number=3, client=pid, used_ns=1, at="/dev/dri/card0")
    seen = [used(clients, MINE) for _ in range(SELDOM)]
    first = next(n for n, one in enumerate(seen) if MINE in one)
    assert first < OFTEN
    assert seen[-2] == {MINE: 1}
    assert seen[-1] == {MINE: 1, OTHER: 1}
    opens(tmp_path, OTHER, number=3, client=OTHER, used_ns=9, at=None)
    assert used(clients, MINE) == {MINE: 1, OTHER: 9}


def test_a_process_that_matters_from_now_on_is_looked_at_at_once(tmp_path: Path) -> None:
    clients = Clients(tmp_path)
    used(clients)
    opens(tmp_path, MINE, number=3, client=1, used_ns=7, at="/dev/dri/card0")
    assert used(clients, MINE) == {MINE: 7}


def test_who_has_ended_is_told_no_more(tmp_path: Path) -> None:
    opens(tmp_path, MINE, number=3, client=1, used_ns=7, at="/dev/dri/card0")
    clients = Clients(tmp_path)
    assert used(clients, MINE) == {MINE: 7}
    (tmp_path / str(MINE) / "fdinfo" / "3").unlink()
    assert used(clients, MINE) == {}
