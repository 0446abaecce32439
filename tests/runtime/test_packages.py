"""Installed packages: their versions are kept with the commits, and drift is told (H25)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.runtime.notebooks import Notebook

Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Install]:
    """Install the package pkg_e in a version, as a new process finds it."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    sys.path.insert(0, str(folder))

    def begin(version: str) -> None:
        sys.modules.pop("pkg_e", None)
        (folder / "pkg_e.py").write_text(f"__version__ = '{version}'\n")
        for each in folder.rglob("*.pyc"):
            each.unlink()
        importlib.invalidate_caches()

    yield begin
    sys.modules.pop("pkg_e", None)
    sys.path.remove(str(folder))


def test_a_package_of_another_version_is_told_once(notebook: Notebook, install: Install) -> None:
    install("1.0")
    notebook.lived("x = 1", "import pkg_e")
    install("2.0")

    again = notebook.replayed()
    notices = again.run.take_notices()

    assert len(notices) == 1
    assert notices[0].startswith("recorded with pkg_e 1.0 (now 2.0)")
    assert again.run.take_notices() == []


def test_the_same_version_is_not_mentioned(notebook: Notebook, install: Install) -> None:
    install("1.0")
    notebook.lived("import pkg_e")
    install("1.0")

    again = notebook.replayed()

    assert again.run.take_notices() == []


def test_a_commit_names_what_its_cell_imported_first(notebook: Notebook, install: Install) -> None:
    install("1.0")

    session = notebook.lived("x = 1", "import pkg_e", "import pkg_e, sys")

    commits = [each.committed for each in session.run.read_outline().positions]
    packages = [dict(each.packages) for each in commits if each is not None]
    assert list(packages[0]) == ["Python"]
    assert packages[1:] == [{"pkg_e": "1.0"}, {}]
