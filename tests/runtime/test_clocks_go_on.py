"""Monotonic clocks go on from the last recorded reading, in every opener (H15)."""

from __future__ import annotations

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
