"""Options that every command shares, and how a command is run."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine
from math import inf
from pathlib import Path
from typing import Annotated, Any

import typer

from arbiter.cli.client import Client, Json, reach
from arbiter.cli.output import ERR, text
from arbiter.config import Settings, load_settings
from arbiter.errors import ArbiterError, InvalidField
from arbiter.gateway.serving import new_event_loop

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Where everything is kept.",
        envvar="ARBITER_DATA_DIR",
        show_default=False,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="A TOML file.", envvar="ARBITER_CONFIG", show_default=False),
]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?\Z")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, None: 1.0}


def seconds(span: str | None) -> float | None:
    """A duration in seconds.

    >>> seconds("90"), seconds("1.5h"), seconds(None)
    (90.0, 5400.0, None)

    Raises `InvalidField`.
    """
    if span is None:
        return None
    found = _DURATION.match(span.strip())
    if found is None:
        raise InvalidField(f"{span!r} is not a duration.", hint="Write it as 30s, 10m, 1h or 7d.")
    return float(found[1]) * _SECONDS[found[2]]


def share(given: str | None, option: str) -> float | None:
    """A share from 0 to 1, of an option that is given as one: ``.05`` or ``5%``.

    >>> share(".05", "shadow"), share("5%", "shadow"), share("1", "shadow"), share(None, "shadow")
    (0.05, 0.05, 1.0, None)

    Raises `InvalidField`: also for 5, because 1 is all of it, and not a hundredth.
    """
    if given is None:
        return None
    number, has_sign = _number(given, option)
    if has_sign:
        return number / 100.0
    if number > 1.0:
        raise InvalidField(
            f"--{option} is a share from 0 to 1, not {given}.",
            hint=f"Write {number:g}% or {number / 100.0:g}.",
            param=option,
        )
    return number


def percent(given: str | None, option: str, *, least: float = 0.0) -> float | None:
    """A share from 0 to 1, of an option that is given in percent: ``5`` or ``5%``.

    least: the smallest share that is allowed. What is below it as a percentage is a share itself:
    with the smallest step of a thousandth, ``.05`` can only be 5 %.

    >>> percent("5", "steps"), percent("5%", "steps"), percent(".05", "steps", least=0.001)
    (0.05, 0.05, 0.05)

    Raises `InvalidField`: also for a fraction that may be meant either way.
    """
    if given is None:
        return None
    number, has_sign = _number(given, option)
    if has_sign or number >= 1.0 or not number:
        return number / 100.0
    if number / 100.0 < least:
        return number
    raise InvalidField(
        f"--{option} {given} may be a share or a percentage.",
        hint=f"Write {number * 100.0:g}% or {number:g}%.",
        param=option,
    )


def _number(given: str, option: str) -> tuple[float, bool]:
    """A number that is 0 or more, and whether it has a percent sign."""
    words = given.strip()
    try:
        number = float(words.removesuffix("%"))
    except ValueError:
        number = -1.0
    if not 0.0 <= number < inf:
        raise InvalidField(
            f"--{option} {given!r:.40} is no share.", hint="Write it as 5% or 50%.", param=option
        )
    return number, words.endswith("%")


def read_file(path: Path) -> str:
    """The text of a file that the user named. Raises `InvalidField`."""
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidField(f"{path} cannot be read: {why}.") from error


def settings_from(data_dir: Path | None, config: Path | None, **overrides: object) -> Settings:
    """The settings of this command."""
    return load_settings(
        config=config,
        overrides={"data_dir": data_dir and data_dir.expanduser(), **overrides},
    )


def fail(error: ArbiterError) -> typer.Exit:
    """Say what is wrong, on stderr, and end with 1."""
    ERR.print(f"error: {error.sentence}", style="red", markup=False)
    return typer.Exit(1)


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a command to its end, errors told as sentences."""
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(work())
    except ArbiterError as error:
        raise fail(error) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def with_house(
    data_dir: Path | None, config: Path | None, work: Callable[[Client], Awaitable[None]]
) -> None:
    """Run a command that speaks to the house."""

    async def reached() -> None:
        async with reach(settings_from(data_dir, config)) as client:
            await work(client)

    run(reached)


async def followed(
    client: Client, method: str, path: str, body: Json, *, quiet: bool, still: str | None = None
) -> Json:
    """The result of something that takes long, its progress shown on stderr meanwhile.

    still: as in `Client.lines`.
    """
    result: Json = {}
    async for told in client.lines(method, path, body, still=still):
        progress, found = told.get("progress"), told.get("result")
        if isinstance(found, dict):
            result = found
        if isinstance(progress, dict) and not quiet:
            _show_progress(progress)
    return result


def _show_progress(progress: Json) -> None:
    """How it goes: a sentence, or so many of so many, which a terminal writes over."""
    if "told" in progress:
        ERR.print(f"  {text(progress['told'])}", markup=False)
        return
    done, total = progress.get("done"), progress.get("total")
    line = f"  {progress.get('task')}: {done}/{total} cases"
    if "file" in progress:
        line = f"  {done}/{total} files: {progress['file']}"
    if done == total:
        ERR.print(f"\r{line}" if ERR.is_terminal else line, markup=False)
    elif ERR.is_terminal:
        ERR.print(f"\r{line}", end="", markup=False)
