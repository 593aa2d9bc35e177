"""Which tests a module is measured with."""

from __future__ import annotations

from pathlib import Path

from bench.nearest_tests import nearest_tests


def written(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_those_that_import_it_are_nearer_than_those_that_import_its_user(tmp_path: Path) -> None:
    root = written(
        tmp_path,
        src__arbiter__deep="",
        src__arbiter__user="from arbiter import deep",
        tests__pure__test_deep="from arbiter.deep import thing",
        tests__pure__test_user="import arbiter.user",
    )
    assert nearest_tests(root, "arbiter.deep") == ("tests/pure/test_deep.py",)


def test_one_that_no_test_imports_is_reached_through_its_user_or_a_helper(tmp_path: Path) -> None:
    root = written(
        tmp_path,
        src__arbiter__deep="",
        tests__pure__records="from arbiter.deep import thing",
        tests__pure__test_a="from tests.pure.records import made",
    )
    assert nearest_tests(root, "arbiter.deep") == ("tests/pure/test_a.py",)


def test_one_that_nothing_imports_has_none(tmp_path: Path) -> None:
    root = written(tmp_path, src__arbiter__alone="", tests__pure__test_a="import json")
    assert nearest_tests(root, "arbiter.alone") == ()


def test_one_that_a_package_offers_is_reached_through_the_package(tmp_path: Path) -> None:
    root = written(
        tmp_path,
        src__arbiter__room__deep="",
        tests__pure__test_a="from arbiter.room import thing",
    )
    package = root / "src" / "arbiter" / "room" / "__init__.py"
    package.write_text("from arbiter.room.deep import thing", encoding="utf-8")
    assert nearest_tests(root, "arbiter.room.deep") == ("tests/pure/test_a.py",)
