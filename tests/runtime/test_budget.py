"""A large run is told, on the cell and in the status; nothing is left out of it for that."""

from __future__ import annotations

import pytest

from durable_kernel.errors import UsageError
from durable_kernel.runtime import Settings
from durable_kernel.runtime.budget import Budget
from tests.runtime.notebooks import Notebook, Service


def test_a_budget_is_told_at_four_fifths_and_beyond_it_once_each() -> None:
    budget = Budget(1_000)

    told = [budget.news(size_bytes) for size_bytes in (799, 800, 900, 1_000, 1_001, 5_000)]

    assert [bool(each) for each in told] == [False, True, False, False, True, False]
    assert "goes on growing" not in told[1]
    assert "Nothing is left out: it goes on growing." in told[4]


def test_a_budget_that_is_jumped_over_is_told_once() -> None:
    budget = Budget(1_000)

    assert "goes on growing" in budget.news(5_000)
    assert budget.news(5_001) == ""


def test_the_cell_that_makes_a_run_large_says_so_and_the_status_too(
    notebook: Notebook, service: Service
) -> None:
    service.during = lambda _name: bytes(100_000)
    with notebook.session(journal_max_bytes=100_000) as session:
        session.execute("x = 1")
        before = (session.run.take_notices(), session.run.status()["budget"])

        session.execute("x = service.look('large')")

        (told,) = session.run.take_notices()
        session.execute("x = 1")
        assert session.run.take_notices() == []
        assert "GB of its 0.0001 GB" in session.run.status()["budget"]

    assert before == ([], "")
    assert "DURABLE_JOURNAL_MAX_BYTES" in told
    assert notebook.replayed().namespace["x"] == 1


@pytest.mark.parametrize("given", ["ten", "-1", "0", "1.5", "²"])
def test_a_budget_that_is_no_number_of_bytes_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="DURABLE_JOURNAL_MAX_BYTES"):
        Settings.from_environ({"DURABLE_JOURNAL_MAX_BYTES": given})


def test_the_budget_comes_from_the_environment() -> None:
    assert Settings.from_environ({}).journal_max_bytes == 10_000_000_000
    assert Settings.from_environ({"DURABLE_JOURNAL_MAX_BYTES": "5"}).journal_max_bytes == 5
