"""Writes the generated parts of the docs: `make docs`.

Each page is a function from the program to text, so that a test can compare without writing. The
graders stand in the middle of a page that people write; the other pages are generated whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.docs.commands import cli_page
from tests.docs.control import control_page
from tests.docs.error_codes import errors_page
from tests.docs.graders import graders_table
from tests.docs.markdown import REFERENCE
from tests.docs.metrics import metrics_page
from tests.docs.python_api import python_page
from tests.docs.settings import configuration_page

PAGES: Mapping[str, Callable[[], str]] = {
    "metrics.md": metrics_page,
    "cli.md": cli_page,
    "configuration.md": configuration_page,
    "errors.md": errors_page,
    "control-api.md": control_page,
    "python-api.md": python_page,
}

PARTS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "file-formats.md": {"graders": graders_table}
}


def filled(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """A page with its generated parts written anew, between their two marks."""
    for name, make in parts.items():
        begin, end = f"<!-- generated: {name} -->\n", f"<!-- end: {name} -->\n"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"The marks of {name} are missing.")
        text = f"{before}{begin}{make()}{end}{after}"
    return text


def generated() -> Iterator[tuple[Path, str]]:
    """Every file with generated parts, and what it should hold."""
    for name, make in PAGES.items():
        yield REFERENCE / name, make()
    for name, parts in PARTS.items():
        path = REFERENCE / name
        yield path, filled(path.read_text(encoding="utf-8"), parts)


def main() -> None:
    """Write them all."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for path, text in generated():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
