"""A kernel that learns after its start which notebook it stands for, and one that never does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from durable_kernel.store import Store
from tests.kernel.conftest import Start
from tests.kernel.live import printed
from tests.kernel.vscode import VsCode

pytestmark = pytest.mark.slow


@pytest.fixture
def window(tmp_path: Path) -> Iterator[VsCode]:
    notebook = tmp_path / "a.ipynb"
    notebook.write_text('{"cells": [], "metadata": {}, "nbformat": 4}')
    opened = VsCode(tmp_path, notebook)
    yield opened
    opened.close()


def _runs(tmp_path: Path) -> list[str | None]:
    return [each.meta.notebook for each in Store(tmp_path / "home").all()]


def test_vs_code_s_kernel_binds_late_and_restores_before_its_first_cell(
    window: VsCode, tmp_path: Path
) -> None:
    window.launch()
    before = window.run("%durable status").plain()
    without_a_cell = _runs(tmp_path)
    window.run("x = [7]")
    window.run("x.append(len(x))")

    window.restart()
    shown = window.run("x")

    assert "its run begins with the first cell" in before
    assert without_a_cell == []
    assert shown.plain() == "[7, 1]"
    assert shown.reply["execution_count"] == 3
    assert _runs(tmp_path) == [str(window.notebook)]


def test_a_cell_that_was_interrupted_under_vs_code_is_finished_before_the_next(
    window: VsCode,
) -> None:
    window.launch()
    cell = window.kernel.ask("import time; print('begun', flush=True); time.sleep(1); y = 'done'")
    window.kernel.watch(cell, printed("begun"))

    window.restart()

    assert window.run("y").plain() == "'done'"


def test_two_notebooks_of_vs_code_have_runs_of_their_own(window: VsCode, tmp_path: Path) -> None:
    window.launch()
    window.run("x = 1")
    other = tmp_path / "b.ipynb"
    other.write_text("{}")
    window.notebook = other

    window.restart()

    assert window.run("'x' in globals()").plain() == "False"


def test_an_untitled_notebook_has_an_anonymous_run(window: VsCode, tmp_path: Path) -> None:
    window.notebook = Path("Untitled-1.ipynb")
    window.launch()

    assert window.run("1 + 1").plain() == "2"
    assert _runs(tmp_path) == [None]


def test_a_home_that_cannot_be_written_is_said_and_no_cell_runs_without_its_journal(
    start: Start, tmp_path: Path
) -> None:
    """Rule 7: never silently non-durable."""
    (tmp_path / "file").touch()

    kernel = start(DURABLE_HOME=str(tmp_path / "file" / "home"))
    refused = kernel.run("x = 1")
    status = kernel.run("%durable status").plain()

    assert refused.status == "error"
    assert str(tmp_path / "file") in refused.reply["evalue"]
    assert "stopped" in status
    assert kernel.run("x").status == "error"
