"""The memory that a control group of Linux leaves to its processes, as in a container.

A group may have less than the machine, and who takes more is killed. The limit of each group above
counts too (cgroup v2: ``memory.max``, ``memory.current``, ``memory.stat``). Files that are mapped
or cached count as taken there and can be given up, so they are available, as for the system itself.
"""

from __future__ import annotations

from pathlib import Path

from arbiter.cost import Level

PROC = Path("/proc")
GROUPS = Path("/sys/fs/cgroup")


def tightest(proc: Path = PROC, groups: Path = GROUPS) -> Level | None:
    """The group of this process or above it that leaves least; None: none has a limit."""
    found = [level for folder in _folders(proc, groups) if (level := _level(folder)) is not None]
    return min(found, key=lambda level: level.available, default=None)


def _folders(proc: Path, groups: Path) -> list[Path]:
    """The folders of the group that this process is in and of all above it."""
    try:
        text = (proc / "self" / "cgroup").read_text(encoding="utf-8")
    except OSError:
        return []
    own = [line.removeprefix("0::/") for line in text.splitlines() if line.startswith("0::/")]
    if not own or ".." in Path(own[0]).parts:
        return [groups]
    folder = groups / own[0]
    return [folder, *[one for one in folder.parents if one == groups or groups in one.parents]]


def _level(folder: Path) -> Level | None:
    most, taken = _number(folder / "memory.max"), _number(folder / "memory.current")
    if most is None or taken is None:
        return None
    files = sum(_stat(folder).get(key, 0) for key in ("inactive_file", "active_file"))
    return Level(total=most, available=max(0, most - max(0, taken - files)))


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _stat(folder: Path) -> dict[str, int]:
    try:
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines)
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
