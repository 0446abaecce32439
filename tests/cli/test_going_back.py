"""`rewind`, `restore`, `retry`, `fresh`, `plan`: with no kernel running, and never beside one."""

from __future__ import annotations

import pytest

from durable_kernel.store import Store
from tests.cli.commands import Durable
from tests.runtime.notebooks import RUN_ID, Notebook

LOOKS = ("a = service.look('a')", "b = service.look('b')", "c = service.look('c')")


@pytest.fixture
def failed(notebook: Notebook) -> Notebook:
    """A run whose last cell made a request and then raised."""
    notebook.lived("x = 1")
    with notebook.session() as session:
        session.recover()
        session.execute("y = service.ask('pay'); 1 / 0")
    return notebook


def test_rewind_gives_the_next_kernel_the_state_before_a_cell(
    durable: Durable, notebook: Notebook
) -> None:
    notebook.lived(*LOOKS)

    said = durable("rewind", RUN_ID, "1")

    assert said.code == 0
    assert "2 cells are left behind, and nothing of them is deleted" in said.out
    names = notebook.replayed().namespace
    assert "a" in names
    assert "b" not in names


def test_what_is_run_again_behind_a_rewind_repeats_no_call(
    durable: Durable, notebook: Notebook
) -> None:
    notebook.lived(*LOOKS)
    durable("rewind", RUN_ID, "1")

    with notebook.session() as session:
        session.recover()
        session.execute(*LOOKS[1:])

    assert notebook.service.requests == ["a", "b", "c"]


def test_rewind_refuses_to_leave_acts_behind_and_lists_them(
    durable: Durable, notebook: Notebook
) -> None:
    """H14: what was done outside stays done."""
    notebook.lived("x = 1", "y = service.ask('pay')")
    before = notebook.journal_bytes()

    said = durable("rewind", RUN_ID, "1")

    assert said.code == 4
    assert "ask pay" in said.err
    assert "--repeat-acts" in said.err
    assert notebook.journal_bytes() == before
    assert durable("rewind", RUN_ID, "1", "--repeat-acts").code == 0


def test_restore_to_a_cell_is_a_rewind_to_the_one_behind_it(
    durable: Durable, notebook: Notebook
) -> None:
    notebook.lived(*LOOKS)

    document = durable("restore", RUN_ID, "--to", "1", "--json").document

    assert document == {"run_id": RUN_ID, "position": 2, "left_behind": [2]}


@pytest.mark.parametrize("position", ["3", "9"])
def test_a_cell_that_is_not_there_is_a_usage_error(
    durable: Durable, notebook: Notebook, position: str
) -> None:
    notebook.lived(*LOOKS)

    said = durable("rewind", RUN_ID, position)

    assert said.code == 2
    assert f"no cell {position}" in said.err


def test_retry_leaves_the_failed_cell_behind_with_its_calls(
    durable: Durable, failed: Notebook
) -> None:
    document = durable("retry", RUN_ID, "--json").document

    assert document == {"run_id": RUN_ID, "position": 1, "calls": 1, "acts": ["ask pay"]}
    with failed.session() as session:
        session.recover()
        session.execute("y = service.ask('pay')")
    assert failed.service.requests == ["pay"]


def test_retry_says_what_is_not_done_again(durable: Durable, failed: Notebook) -> None:
    said = durable("retry", RUN_ID)

    assert "cell 1 is left behind" in said.out
    assert "What it did is not done again: ask pay." in said.out


def test_where_nothing_failed_there_is_nothing_to_retry(
    durable: Durable, notebook: Notebook
) -> None:
    notebook.lived("x = 1")

    assert durable("retry", RUN_ID).code == 2


def test_fresh_archives_and_undo_brings_back(durable: Durable, notebook: Notebook) -> None:
    notebook.lived("x = 1")
    store = Store(notebook.home)

    assert "is archived" in durable("fresh", RUN_ID).out
    assert store.place(RUN_ID).meta.archived_ns is not None
    assert durable("fresh", RUN_ID).code == 2
    assert durable("fresh", RUN_ID, "--undo", "--json").document == {
        "run_id": RUN_ID,
        "archived": None,
    }
    assert store.place(RUN_ID).meta.archived_ns is None


def test_plan_says_what_a_recovery_means(durable: Durable, doubtful: Notebook) -> None:
    said = durable("plan", RUN_ID)

    assert "1 cell" in said.out
    assert "1 act in doubt (ask pay [now])" in said.out
    assert durable("plan", RUN_ID, "--json").document["acts_in_doubt"] == ["ask pay [now]"]


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (["rewind", RUN_ID, "0"], "%durable rewind 0"),
        (["restore", RUN_ID, "--to", "0"], "%durable restore --to 0"),
        (["retry", RUN_ID], "%durable retry"),
        (["fresh", RUN_ID], "%durable fresh"),
        (["fresh", RUN_ID, "--undo"], "%durable fresh --undo"),
    ],
)
def test_beside_a_kernel_nothing_is_changed_and_the_line_for_it_is_named(
    durable: Durable, notebook: Notebook, command: list[str], line: str
) -> None:
    with notebook.session() as session:
        session.execute("x = 1")
        before = notebook.journal_bytes()

        said = durable(*command)

        assert said.code == 5
        assert f"or say `{line}` in its notebook" in said.err
        assert notebook.journal_bytes() == before
