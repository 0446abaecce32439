"""A run whose failed cell was run again: what `ls`, `show` and `log` tell of it."""

from __future__ import annotations

import re

import pytest

from tests.cli.commands import Durable
from tests.runtime.notebooks import RUN_ID, Notebook

CELL = "for n in range(3): service.look(f'page {n}')\n"


@pytest.fixture
def retried(notebook: Notebook) -> Notebook:
    """A run that failed behind three calls, was mended, and made a fourth."""
    notebook.matched("x = 1", CELL + "1 / 0")
    notebook.matched("x = 1", CELL + "service.look('more')")
    return notebook


@pytest.mark.usefixtures("retried")
def test_ls_tells_how_many_calls_were_reused(durable: Durable) -> None:
    (row,) = durable("ls", "--json").document

    assert (row["calls"], row["reused"], row["status"]) == (4, 3, "idle")
    assert "4 (3 reused)" in re.sub(r"\s+", " ", durable("ls").out)


@pytest.mark.usefixtures("retried")
def test_show_tells_it_of_the_cell(durable: Durable) -> None:
    document = durable("show", RUN_ID, "--json").document

    assert [each["reused"] for each in document["cells"]] == [0, 3]
    assert document["branches"] == 1
    assert "(3 reused)" in durable("show", RUN_ID).out


@pytest.mark.usefixtures("retried")
def test_log_tells_it_of_each_call(durable: Durable) -> None:
    rows = durable("log", RUN_ID, "--json").document

    assert [each["is_reused"] for each in rows] == [True, True, True, False]
    assert durable("log", RUN_ID).out.count("(reused)") == 3


def test_a_failed_run_is_listed_as_failed(durable: Durable, notebook: Notebook) -> None:
    notebook.matched("x = 1", CELL + "1 / 0")

    (row,) = durable("ls", "--json").document

    assert row["status"] == "failed"
