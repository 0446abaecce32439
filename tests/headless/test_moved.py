"""A notebook that is moved, renamed or copied between two commands, and who names its run."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest

from durable_kernel.headless import Exit, RunRequest, run_notebook
from durable_kernel.headless.choosing import Chosen, choose_run
from durable_kernel.headless.notebook import marks_of, name_run, read_notebook, write_notebook
from durable_kernel.history import Outline
from durable_kernel.runtime import Settings, open_run, prepare
from durable_kernel.store import Store
from durable_kernel.testing.driver import Driver

SOURCES = ("rows = [1, 2, 3]", "total = sum(rows)", "print(total)")


class _Silent:
    def say(self, sentence: str) -> None: ...

    def start(self, cells: int) -> None: ...

    def cell(self, done: int, outline: Outline) -> None: ...


def _write(path: Path, *sources: str) -> Path:
    new: Any = nbformat.v4
    cells = [new.new_code_cell(each, id=f"c{index}") for index, each in enumerate(sources)]
    path.parent.mkdir(exist_ok=True)
    path.write_text(nbformat.writes(new.new_notebook(cells=cells)))
    return path


def _choose(store: Store, notebook: Path) -> Chosen:
    return choose_run(
        store,
        notebook,
        {},
        name=None,
        fresh=False,
        now_ns=time.time_ns(),
        resume_within_s=None,
        marks=marks_of(read_notebook(notebook)),
    )


def _interrupted(store: Store, notebook: Path, *, is_named: bool) -> str:
    """Let a run of this notebook have two of its cells; `is_named`: the file says so."""
    chosen = _choose(store, notebook)
    run = open_run(Settings(run=chosen.place.run_id, home=store.home), surroundings=prepare())
    try:
        Driver(run).run_all(SOURCES[:2])
    finally:
        run.close()
    if is_named:
        content = read_notebook(notebook)
        name_run(content, run.run_id)
        write_notebook(content, notebook)
    return run.run_id


def _named_in(path: Path) -> Any:
    return json.loads(path.read_text())["metadata"].get("durable", {}).get("run_id")


@pytest.mark.parametrize(
    ("to", "is_named"),
    [("b.ipynb", False), ("sub/a.ipynb", False), ("b.ipynb", True), ("sub/b.ipynb", True)],
    ids=["renamed", "moved", "renamed and named", "moved, renamed and named"],
)
def test_a_moved_notebook_goes_on_in_its_run(tmp_path: Path, to: str, *, is_named: bool) -> None:
    store = Store(tmp_path / "home")
    old = _write(tmp_path / "a.ipynb", *SOURCES)
    run_id = _interrupted(store, old, is_named=is_named)
    new = tmp_path / to
    new.parent.mkdir(exist_ok=True)
    old.rename(new)

    chosen = _choose(store, new)

    assert chosen.place.run_id == run_id
    assert chosen.sentence.startswith(f"run {run_id} knew this notebook as {old}")
    assert _choose(store, new).sentence.startswith(f"run {run_id} goes on")


def test_a_copied_notebook_starts_its_own_run_and_the_first_one_keeps_its(tmp_path: Path) -> None:
    store = Store(tmp_path / "home")
    old = _write(tmp_path / "a.ipynb", *SOURCES)
    run_id = _interrupted(store, old, is_named=True)
    copy = Path(shutil.copy(old, tmp_path / "b.ipynb"))

    chosen = _choose(store, copy)

    assert chosen.outline is None
    assert chosen.place.run_id != run_id
    assert _choose(store, old).place.run_id == run_id


def test_a_foreign_notebook_that_names_a_run_does_not_get_it(tmp_path: Path) -> None:
    """The metadata is anybody's text: the cells have to agree."""
    store = Store(tmp_path / "home")
    old = _write(tmp_path / "a.ipynb", *SOURCES)
    run_id = _interrupted(store, old, is_named=False)
    old.unlink()
    foreign = _write(tmp_path / "sub" / "b.ipynb", "import os", "os.getcwd()")
    content = read_notebook(foreign)
    name_run(content, run_id)
    write_notebook(content, foreign)

    assert _choose(store, foreign).place.run_id != run_id


def test_naming_the_run_keeps_what_else_is_in_the_metadata(tmp_path: Path) -> None:
    notebook = read_notebook(_write(tmp_path / "a.ipynb", "1"))
    notebook.metadata["durable"] = {"note": "mine", "run_id": "of the notebook it was copied from"}

    name_run(notebook, "r1")

    assert notebook.metadata["durable"] == {"note": "mine", "run_id": "r1"}


@pytest.mark.slow
def test_the_output_names_the_run_and_the_input_is_left_alone(tmp_path: Path) -> None:
    notebook, output = _write(tmp_path / "a.ipynb", "1"), tmp_path / "out.ipynb"
    before = notebook.read_bytes()
    request = RunRequest(notebook, output=output, name="nightly", home=tmp_path / "home")

    code = run_notebook(request, _Silent())

    assert code is Exit.DONE
    assert _named_in(output) == "nightly"
    assert notebook.read_bytes() == before


@pytest.mark.slow
def test_a_notebook_that_is_its_own_output_is_found_after_it_was_moved(tmp_path: Path) -> None:
    """Its state goes on where it is: nothing that was done is done again."""
    acts = "open('acted', 'x').close()"
    step = f"import durable_kernel as durable\n@durable.step\ndef act():\n    {acts}\nact()"
    notebook = _write(tmp_path / "a.ipynb", step, "x = 1", "1 / 0")
    failed = run_notebook(RunRequest(notebook, home=tmp_path / "home"), _Silent())
    (tmp_path / "sub").mkdir()
    moved = notebook.rename(tmp_path / "sub" / "b.ipynb")
    text = moved.read_text()
    moved.write_text(text.replace("1 / 0", "1 / 1"))

    code = run_notebook(RunRequest(moved, home=tmp_path / "home"), _Silent())

    assert (failed, code) == (Exit.CELL_RAISED, Exit.DONE)
    assert _named_in(moved) is not None
    assert not (moved.parent / "acted").exists()
