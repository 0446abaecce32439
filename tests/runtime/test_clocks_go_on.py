"""Monotonic clocks go on from the last recorded reading, in every opener (H15)."""

from __future__ import annotations

import time

import pytest

from tests.runtime.notebooks import Notebook

READ_ASK_READ = """\
import time
first = time.{clock}()
time.sleep(0.03)
second = time.{clock}()
service.ask("order")
third = time.{clock}()"""


@pytest.mark.parametrize("clock", ["monotonic", "monotonic_ns", "perf_counter", "process_time"])
def test_a_clock_read_behind_the_switch_is_not_before_one_read_again(
    notebook: Notebook, clock: str
) -> None:
    """H15: what the interrupted cell had read counts, not only the last commit and opener."""
    notebook.die_before("order")
    notebook.died(READ_ASK_READ.format(clock=clock))
    notebook.decide("0.0", "retry")

    resumed = notebook.replayed()

    names = resumed.namespace
    assert names["first"] <= names["second"] <= names["third"]


def test_a_wall_clock_that_went_back_is_told(notebook: Notebook) -> None:
    """H15: wall time is never shifted, and never goes back in silence."""
    in_an_hour = time.time_ns() + 3_600 * 10**9
    with notebook.session(wall_ns=lambda: in_an_hour) as session:
        session.driver.run_all(["x = 1"])

    with notebook.session() as again:
        notices = again.run.take_notices()

    assert [each for each in notices if "behind what the run recorded" in each] != []


def test_a_wall_clock_that_goes_on_is_not_worth_a_word(notebook: Notebook) -> None:
    notebook.lived("x = 1")

    with notebook.session() as again:
        assert again.run.take_notices() == []
