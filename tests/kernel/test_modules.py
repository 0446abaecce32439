"""Project code on a real kernel that is killed: import, %run, %autoreload (H25)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.kernel.conftest import Start
from tests.kernel.live import LiveKernel

pytestmark = pytest.mark.slow


def _write(kernel: LiveKernel, name: str, source: str) -> Path:
    """Write a module and let it be old enough for a cache of its bytecode."""
    path = kernel.folder / name
    path.write_text(source)
    return path


def test_edited_modules_and_scripts_are_restored_as_they_were(start: Start) -> None:
    """H25: the state is that of then; one sentence says what differs, and how to get the new."""
    kernel = start()
    _write(kernel, "helper.py", "def answer(): return 'old'\n")
    _write(kernel, "script.py", "from helper import answer\nran = answer() + ' script'\n")
    kernel.run("import helper; first = helper.answer()")
    kernel.run("%run script.py")
    kernel.kill()
    _write(kernel, "helper.py", "def answer(): return 'new'\n")
    _write(kernel, "script.py", "ran = 'new script'\n")

    kernel.start()
    shown = kernel.run("first, ran, helper.answer()")
    reloaded = kernel.run("import importlib; importlib.reload(helper).answer()")

    assert shown.plain() == "('old', 'old script', 'old')"
    assert "changed since a cell loaded it: helper (cell 0), script.py (cell 1)." in shown.text(
        "stderr"
    )
    assert reloaded.plain() == "'new'"


def test_restore_edited_goes_back_to_before_the_first_cell_that_loaded(start: Start) -> None:
    kernel = start()
    _write(kernel, "helper.py", "def answer(): return 'old'\n")
    kernel.run("x = 1")
    kernel.run("import helper; y = helper.answer()")
    kernel.kill()
    _write(kernel, "helper.py", "def answer(): return 'new'\n")

    kernel.start()
    kernel.run("pass")
    told = kernel.run("%durable restore --edited")
    again = kernel.run("'y' in globals(), x")
    anew = kernel.run("import helper; y = helper.answer(); y")

    assert "the state before cell 1" in told.plain()
    assert again.plain() == "(False, 1)"
    assert "this is the state before cell 1" in again.text("stderr")
    assert anew.plain() == "'new'"


def test_autoreload_reloads_on_replay_where_it_did_and_takes_later_edits_live(
    start: Start,
) -> None:
    """H25: it compares times of files, which are others by now."""
    kernel = start()
    path = _write(kernel, "helper.py", "def answer(): return 'one'\n")
    kernel.run("%load_ext autoreload\n%autoreload 2")
    kernel.run("import helper; seen = [helper.answer()]")
    kernel.run("seen.append(helper.answer())")
    path.write_text("def answer(): return 'two'\n")
    os.utime(path, (2_000_000_000, 2_000_000_000))
    kernel.run("seen.append(helper.answer())")
    kernel.run("seen.append(helper.answer())")
    before = kernel.run("seen").plain()
    kernel.kill()

    kernel.start()
    same = kernel.run("seen").plain()
    path.write_text("def answer(): return 'three'\n")
    os.utime(path, (2_000_000_100, 2_000_000_100))
    kernel.run("seen.append(helper.answer())")
    kernel.kill()
    path.write_text("def answer(): return 'four'\n")
    os.utime(path, (2_000_000_200, 2_000_000_200))
    kernel.start()
    later = kernel.run("seen").plain()
    live = kernel.run("helper.answer()").plain()

    assert before == same == "['one', 'one', 'two', 'two']"
    assert later == "['one', 'one', 'two', 'two', 'three']"
    assert live == "'four'"


def test_run_all_after_an_edit_of_a_module_begins_anew_at_the_cell_that_loaded_it(
    start: Start,
) -> None:
    """H13, H25: an answer of then would be one of other code."""
    cells = ("x = 1; print('x')", "import helper; y = helper.answer(); y", "y, x")
    kernel = start()
    _write(kernel, "helper.py", "def answer(): return 'old'\n")
    for cell in cells:
        kernel.run(cell)
    kernel.shut_down(restart=True)
    _write(kernel, "helper.py", "def answer(): return 'new'\n")
    kernel.start()

    asked = [kernel.ask(cell) for cell in cells]
    shown = [kernel.wait(each) for each in asked]

    assert shown[0].text() == "x\n"
    assert [each.plain() for each in shown[1:]] == ["'new'", "('new', 1)"]
    assert [each.reply["execution_count"] for each in shown] == [1, 2, 3]
