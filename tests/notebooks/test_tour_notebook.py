"""The notebook of the README's tour is there, is ordinary, and shows what the tour is about."""

from __future__ import annotations

import re
from pathlib import Path

import nbclient
import nbformat
import pytest

from notebooks.demo_stage import steady_kernels

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "tour.ipynb"


def test_every_notebook_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"notebooks/\w+\.ipynb", (ROOT / "README.md").read_text()))

    assert named == {"notebooks/tour.ipynb"}
    assert all((ROOT / name).exists() for name in named)


def test_the_tour_is_committed_without_outputs_and_knows_nothing_of_us() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)

    assert notebook.metadata.kernelspec.name == "python3"
    assert not any(cell.get("outputs") for cell in notebook.cells)
    assert "durable" not in NOTEBOOK.read_text().lower()


@pytest.mark.slow
def test_the_stock_kernel_runs_the_tour_and_each_second_has_its_line() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    parameters.source = "seconds = 2"

    with steady_kernels() as config:
        nbclient.NotebookClient(
            notebook, kernel_name="python3", timeout=120, config=config
        ).execute()

    printed = "".join(output.text for cell in notebook.cells for output in cell.get("outputs", []))
    assert len(re.findall(r"^second \d+ at [\d:]+ draw \d$", printed, re.MULTILINE)) == 2
    assert re.search(r"^sample: \[(\d+, ){4}\d+\]$", printed, re.MULTILINE)
