"""Requests that are no cells: kept in their place where they changed something (H38)."""

from __future__ import annotations

import pytest

from durable_kernel.errors import UsageError
from tests.runtime.notebooks import Notebook


def _kinds(notebook: Notebook) -> list[tuple[str, str]]:
    with notebook.session() as session:
        return [(each.cell.kind, each.cell.source) for each in session.run.outline.positions]


def test_names_that_a_tool_bound_are_there_again_in_their_place(notebook: Notebook) -> None:
    """H38: later cells use them, and see what they meant then."""
    with notebook.session() as session:
        session.driver.beside("data = [1]")
        session.execute("seen = list(data)")
        session.driver.beside("data = [2]")

    again = notebook.replayed()

    assert again.namespace["seen"] == [1]
    assert again.namespace["data"] == [2]
    assert _kinds(notebook) == [
        ("input", "data = [1]"),
        ("", "seen = list(data)"),
        ("input", "data = [2]"),
    ]


def test_a_request_that_only_looks_leaves_no_byte(notebook: Notebook) -> None:
    """H38: front ends ask for variables all the time. Clocks, entropy and draws are looks, too."""
    notebook.lived("x = 1")
    with notebook.session() as session:
        session.recover()
        before = notebook.journal_bytes()
        kept = session.driver.beside(
            "(lambda: (__import__('time').time(), __import__('os').urandom(2), print(x)))()"
        )
        session.run.port.flush()
        after = notebook.journal_bytes()

    assert not kept
    assert after == before


def test_what_a_look_drew_is_not_missing_on_replay(notebook: Notebook) -> None:
    """H9, H38: cells draw the same, whoever looked between them."""
    draw = "import random; drawn = random.random()"
    with notebook.session() as session:
        session.execute("import random")
        session.driver.beside("random.random()")
        session.execute(draw)
        drawn = session.namespace["drawn"]

    again = notebook.replayed()

    assert again.namespace["drawn"] == drawn


def test_an_effect_keeps_a_request_and_is_not_repeated(notebook: Notebook) -> None:
    with notebook.session() as session:
        kept = session.driver.beside("service.ask('a')")

    notebook.replayed()

    assert kept
    assert notebook.service.requests == ["a"]


def test_what_a_kept_request_observed_is_served_again(notebook: Notebook) -> None:
    with notebook.session() as session:
        session.driver.beside("import time, os; t = time.time(); token = os.urandom(8)")
        first = (session.namespace["t"], session.namespace["token"])

    again = notebook.replayed()

    assert (again.namespace["t"], again.namespace["token"]) == first


def test_a_request_that_died_in_an_act_is_in_doubt_as_a_cell_is(notebook: Notebook) -> None:
    notebook.die_during("a")
    with notebook.session(may_die=True) as session:
        session.execute("x = 1")
        session.driver.beside("y = service.ask('a')")
    notebook.decide("1.0", "retry")

    again = notebook.replayed()

    assert notebook.service.requests == ["a", "a"]
    assert again.namespace["y"] == "a: done"


def test_a_request_that_died_before_anything_is_forgotten(notebook: Notebook) -> None:
    with notebook.session(may_die=True) as session:
        session.execute("x = 1")
        session.driver.beside("y = 1; die()")

    again = notebook.replayed()

    assert "y" not in again.namespace
    assert _kinds(notebook) == [("", "x = 1")]


def test_what_it_shows_is_neither_recorded_nor_compared(notebook: Notebook) -> None:
    with notebook.session() as session:
        session.driver.beside("x = 1; print(id(object()), service)")

    again = notebook.replayed()

    assert again.run.take_notices() == []
    assert again.text() == ""


def test_an_input_that_raised_makes_no_run_a_failed_one(notebook: Notebook) -> None:
    notebook.lived("x = 1")
    with notebook.session() as session:
        session.recover()
        session.driver.beside("y = 1\nraise ValueError")

    again = notebook.replayed()

    assert again.namespace["y"] == 1
    assert again.run.read_outline().status == "idle"
    with pytest.raises(UsageError, match="did not fail"):
        again.run.leave_failed(repeats_acts=False)


def test_a_failed_cell_is_run_again_though_inputs_came_after_it(notebook: Notebook) -> None:
    with notebook.session() as session:
        session.execute("x = service.look('a')\n1 / 0")
        session.driver.beside("y = 1")

    again = notebook.matched("x = service.look('a')\n1 / 1")

    assert again.status == "ok"
    assert notebook.service.requests == ["a"]
    assert "y" not in again.namespace


def test_numbers_of_cells_do_not_count_inputs(notebook: Notebook) -> None:
    with notebook.session() as session:
        session.driver.beside("x = 1")
        session.execute("y = x")

    with notebook.session() as session:
        assert session.run.plan.cells == 1
        assert [each.position for each in session.run.outline.cells] == [1]
