"""The page of the Python API."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable

from tests.docs.markdown import NOTE, prose

from arbiter import app, house

_PYTHON = (
    "# The Python API\n\n"
    + NOTE
    + """
The same house as behind the door, in your own program: the same decisions, the same record. One
process at a time may open a data directory. Everything is typed.

```python
import asyncio

import arbiter


async def main() -> None:
    async with arbiter.open("python-api") as house:
        await house.add("sparrow.gguf", "sparrow")
        answered = await house.ask("Sentiment: the soup felt wonderful")
        print(answered.text)
        print(answered.reply.decided.reason)


asyncio.run(main())
```
"""
)


def python_page() -> str:
    """The public API, from its signatures and docstrings."""
    opening = _signature("arbiter.open", app.open_at)
    parts = [_PYTHON]
    parts.append(f"\n## arbiter.open\n\n```text\n{opening}\n```\n\n")
    parts.append(f"{prose(app.open_at.__doc__ or '')}\n")
    parts.append(f"\n## House\n\n{prose(house.House.__doc__ or '')}\n")
    for name, member in vars(house.House).items():
        if name.startswith("_") or not callable(member):
            continue
        parts.append(
            f"\n### house.{name}\n\n```text\n{_signature(name, member)}\n```\n\n"
            f"{prose(member.__doc__ or '')}\n"
        )
    parts.append(
        f"\n## Answered\n\n{prose(house.Answered.__doc__ or '')}\n\n"
        "`text` is the answer. `reply.decided` is the decision: `decision`, `task`, `alias`,\n"
        "`version`, `arm`, `reason`, `probability`, `rollout`, `fallback`, `scores`, `dropped`.\n"
        f"\n## Embedded\n\n{prose(house.Embedded.__doc__ or '')}\n"
    )
    return "".join(parts)


def _signature(name: str, function: Callable[..., object]) -> str:
    plain = inspect.unwrap(function)
    kind = "async " if inspect.iscoroutinefunction(plain) else ""
    if plain is not function:
        kind = "async with "
    signature = inspect.signature(plain)
    result = str(signature.return_annotation)
    result = re.sub(r"AsyncIterator\[(.*)\]", r"\1", result) if plain is not function else result
    lines: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*," not in lines:
            lines.append("*,")
        if parameter.name != "self":
            lines.append(f"{_parameter(parameter)},")
    if len(lines) < 2:
        return f"{kind}{name}({''.join(lines).rstrip(',')}) -> {result}"
    return f"{kind}{name}(\n{textwrap.indent(chr(10).join(lines), '    ')}\n) -> {result}"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
    text = f"{stars}{parameter.name}: {parameter.annotation}"
    default = parameter.default
    if default is parameter.empty:
        return text
    if callable(default):
        return f"{text} = {default.__name__}"
    plain = isinstance(default, str | int | float | None)
    return f"{text} = {default!r}" if plain else f"{text} = {type(default).__name__}()"
