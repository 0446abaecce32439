"""`durable show` of a cell that was cut while it computed: what a restart takes, and what not."""

from __future__ import annotations

import pytest

from tests.cli.commands import Durable
from tests.runtime.notebooks import RUN_ID, Notebook, interrupt_main

_CUT = "try:\n    {}; interrupt()\nexcept KeyboardInterrupt: pass"


@pytest.fixture
def cut(notebook: Notebook) -> Notebook:
    notebook.names["interrupt"] = interrupt_main
    notebook.lived("old = 1", _CUT.format("del old; x = y = 2; pages = (n for n in 'ab')"))
    return notebook


def test_show_json_has_what_was_kept_of_a_cut_cell(durable: Durable, cut: Notebook) -> None:
    whole, found = durable("show", RUN_ID, "--json").document["cells"]

    assert whole["kept"] is None
    assert found["kept"] == {
        "names": ["interrupt", "x", "y"],
        "gone": ["old"],
        "refused": [{"name": "pages", "why": "cannot pickle 'generator' object"}],
    }


def test_show_tells_people_what_was_kept_and_what_not(durable: Durable, cut: Notebook) -> None:
    rows = [" ".join(line.split()) for line in durable("show", RUN_ID).out.splitlines()]

    assert "keeps interrupt, x, y" in rows
    assert "deleted old" in rows
    assert any(row.startswith("not kept pages: cannot pickle") for row in rows)


def test_taking_a_part_and_executing_again_exclude_each_other(durable: Durable) -> None:
    refused = durable("run", "n.ipynb", "--redo", "--partly")

    assert refused.code == 2
    assert "--redo and --partly exclude each other" in refused.err
