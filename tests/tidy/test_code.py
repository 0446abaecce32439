"""What every Python file keeps to. Each rule is also shown a text that breaks it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tidy import checks, tree

pytestmark = pytest.mark.needs_tool("git")

ROOMS = {path.stem for path in tree.PACKAGE.iterdir() if not path.name.startswith("__")}


def findings(pattern: str, rule: Callable[[str], list[str]]) -> list[str]:
    return [
        f"{tree.name(path)}: {finding}"
        for path in tree.files(pattern)
        for finding in rule(path.read_text())
    ]


def test_no_function_is_longer_than_sixty_lines() -> None:
    assert findings("*.py", checks.long_functions) == []


def test_a_function_of_sixty_one_lines_is_found() -> None:
    lines = ["def whole():", *["    print()"] * 60]

    assert checks.long_functions("\n".join(lines[:60])) == []
    assert checks.long_functions("\n".join(lines)) == ["whole, line 1: 61 lines"]


def test_no_file_is_longer_than_five_hundred_lines() -> None:
    assert [tree.name(p) for p in tree.files("*.py") if checks.is_long_file(p.read_text())] == []


def test_a_file_of_five_hundred_and_one_lines_is_found() -> None:
    assert not checks.is_long_file("\n" * 500)
    assert checks.is_long_file("\n" * 501)


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert [tree.name(p) for p in tree.files("*.py") if checks.says_nothing(p.stem)] == []


@pytest.mark.parametrize("stem", ["utils", "_util", "cell_helpers", "run_manager", "misc"])
def test_a_name_that_says_nothing_is_found(stem: str) -> None:
    assert checks.says_nothing(stem)


def test_every_module_opens_with_its_law() -> None:
    lawless = [
        tree.name(path)
        for path in tree.files("*.py")
        if path.read_text().strip() and not checks.opens_with_its_law(path.read_text())
    ]

    assert lawless == []


def test_a_module_without_a_sentence_at_its_top_is_found() -> None:
    assert checks.opens_with_its_law('"""Owns the bytes."""\n')
    assert not checks.opens_with_its_law('"""bytes"""\n')
    assert not checks.opens_with_its_law("import os\n")


def test_every_lint_exception_on_a_line_has_a_reason() -> None:
    assert findings("*.py", checks.unexplained_exceptions) == []


@pytest.mark.parametrize(
    ("comment", "is_found"),
    [
        ("noqa", True),
        ("noqa: BLE001", True),
        ("noqa: BLE001, S110", True),
        ("noqa: BLE001 - the loop must outlive a callback", False),
        ("noqa: BLE001, S110 - as above", False),
    ],
)
def test_a_lint_exception_without_a_reason_is_found(comment: str, *, is_found: bool) -> None:
    assert bool(checks.unexplained_exceptions(f"x = 1  # {comment}")) is is_found


def exporting_modules() -> list[str]:
    """Name the modules of the package that state an __all__; __main__ would start the kernel."""
    return [
        ".".join(path.relative_to(tree.ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted(tree.PACKAGE.rglob("*.py"))
        if path.name != "__main__.py" and "__all__" in path.read_text()
    ]


@pytest.mark.parametrize("module_name", exporting_modules())
def test_every_exported_name_exists(module_name: str) -> None:
    module = importlib.import_module(module_name)

    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_no_fake_is_a_mock() -> None:
    """Fakes implement a port and ship in durable_kernel.testing; ruff's ban has room exceptions."""
    assert findings("*.py", checks.mocks) == []


@pytest.mark.parametrize(
    "line", ["import unittest.mock", "from unittest import mock", "from unittest.mock import patch"]
)
def test_a_mock_is_found_however_it_is_imported(line: str) -> None:
    assert checks.mocks(line) != []


def test_no_room_imports_the_public_names_of_the_root() -> None:
    """The root stands outside the layers: through it any room could reach any other."""
    inner = [path for path in tree.files("durable_kernel/*.py") if path.name != "__main__.py"]
    root = tree.PACKAGE / "__init__.py"

    found = {
        tree.name(path): checks.root_imports(path.read_text(), ROOMS)
        for path in inner
        if path != root
    }

    assert {name: lines for name, lines in found.items() if lines} == {}


def test_an_import_from_the_root_is_found() -> None:
    assert checks.root_imports("from durable_kernel import errors", {"errors"}) == []
    assert checks.root_imports("from durable_kernel import step", {"errors"}) != []
    assert checks.root_imports("import durable_kernel as durable", {"errors"}) != []


def test_every_test_states_its_rule() -> None:
    """In a name of three words or more, or in a docstring."""
    assert findings("tests/*test_*.py", checks.nameless_tests) == []


def test_a_test_that_states_no_rule_is_found() -> None:
    assert checks.nameless_tests("def test_reader(): ...") == ["test_reader, line 1"]
    assert checks.nameless_tests("def test_a_torn_tail_is_cut(): ...") == []
    assert checks.nameless_tests('def test_reader():\n    """A torn tail is cut."""') == []


def test_test_folders_of_rooms_have_no_package_file() -> None:
    """With one, two rooms could not both have a test_errors.py."""
    package_files = {path.parent for path in tree.files("tests/*__init__.py")}

    assert package_files <= {Path(tree.ROOT / "tests")}
