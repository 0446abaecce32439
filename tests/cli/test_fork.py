"""`durable fork`: what it makes, what it says, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

from durable_kernel.store import Store
from tests.cli.commands import Durable
from tests.runtime.notebooks import RUN_ID, Notebook

CELLS = ("x = service.look('rates')", "y = service.ask('pay')")


def test_a_fork_says_how_to_go_on_with_it(durable: Durable, notebook: Notebook) -> None:
    notebook.lived(*CELLS)

    said = durable("fork", RUN_ID, "--at", "1")

    (fork,) = [each for each in Store(notebook.home).all() if each.run_id != RUN_ID]
    assert said.code == 0
    assert f"run {fork.run_id} is forked from {RUN_ID}, before cell 1." in said.out
    assert f"DURABLE_RUN={fork.run_id} goes on with it" in said.out
    assert "the parent has done 1 act behind this place (ask pay)" in said.out


def test_a_fork_has_a_notebook_of_its_own(
    durable: Durable, notebook: Notebook, tmp_path: Path
) -> None:
    notebook.lived(*CELLS)
    out = tmp_path / "other.ipynb"

    document = durable("fork", RUN_ID, "--notebook", str(out), "--json").document

    assert document["parent"] == RUN_ID
    assert document["position"] == document["cells"] == 2
    assert document["in_doubt"] == []
    metadata = json.loads(out.read_text())["metadata"]["durable"]
    assert metadata == {"run_id": document["run_id"], "forked_from": RUN_ID, "forked_at": 2}
    assert durable("show", str(out), "--json").document["forked_from"] == RUN_ID


def test_what_cannot_be_forked_is_refused_and_nothing_is_made(
    durable: Durable, notebook: Notebook
) -> None:
    notebook.lived(*CELLS)

    said = durable("fork", RUN_ID, "--at", "7")

    assert said.code == 2
    assert "there is no place 7: the run has the cells 0 to 1." in said.err
    assert [each.run_id for each in Store(notebook.home).all()] == [RUN_ID]
