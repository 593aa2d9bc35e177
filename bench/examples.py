"""The examples in a module's docstrings as tests of their own, for `bench.mutation`.

pytest finds none in a module that mutmut changed: there every function is wrapped by one of another
module. So they are read from the text that nobody changed, and run with the changed module's names.
"""

from __future__ import annotations

import ast
from doctest import DocTestParser, DocTestRunner
from importlib import import_module

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def documented(source: str) -> dict[str, str]:
    r"""Every docstring with an example, by the name of what it explains.

    >>> documented('def double(n):\n    "It is >>> double(2)"\ndef half(n):\n    "A half."')
    {'double': 'It is >>> double(2)'}
    """
    found: dict[str, str] = {}
    for number, node in enumerate(ast.walk(ast.parse(source))):
        if isinstance(node, _DOCUMENTED):
            text = ast.get_docstring(node)
            if text is not None and ">>>" in text:
                name = getattr(node, "name", "module")
                found[name if name not in found else f"{name} {number}"] = text
    return found


def failures(module: str, name: str, text: str) -> int:
    r"""How many lines of an example say something else than the docstring.

    >>> failures("math", "pi", ">>> floor(pi)\n3")
    0
    """
    names = dict(vars(import_module(module)))
    example = DocTestParser().get_doctest(text, names, name, None, None)
    return DocTestRunner(verbose=False).run(example).failed


def written(module: str, source: str) -> str | None:
    """A file of tests that runs the examples of a module; None where it has none."""
    examples = documented(source)
    if not examples:
        return None
    return _FILE.format(module=module, examples=examples)


_FILE = '''"""What the docstrings of {module} show."""

import pytest

from bench.examples import failures

EXAMPLES = {examples!r}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_shows_what_comes_out(name):
    assert failures({module!r}, name, EXAMPLES[name]) == 0
'''
