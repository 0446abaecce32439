"""The plan: what a recovery means, from the commits alone."""

from __future__ import annotations

from durable_kernel.runtime import Plan
from tests.runtime.notebooks import Notebook, interrupt_main

CUT = "try:\n    {}; interrupt()\nexcept KeyboardInterrupt: pass"


def _plan(notebook: Notebook) -> Plan:
    with notebook.session() as session:
        return session.run.plan


def test_a_cell_that_is_brought_back_is_no_computing_and_no_reason_to_stop(
    notebook: Notebook,
) -> None:
    """H16: nothing of it is executed."""
    notebook.names["interrupt"] = interrupt_main
    notebook.lived("x = 1", CUT.format("n = sum(range(20_000_000))"), "y = 2")

    plan = _plan(notebook)

    assert plan.brought_back == (1,)
    assert plan.cut == plan.tainted == ()
    assert plan.computing_s < 0.1
    assert "1 interrupted cell brought back without executing it" in str(plan)


def test_a_cell_that_could_not_be_kept_is_where_it_stops_and_asks(notebook: Notebook) -> None:
    notebook.names["interrupt"] = interrupt_main
    notebook.lived("x = 1", CUT.format("n = (c for c in 'ab')"), CUT.format("m = iter(n)"))

    plan = _plan(notebook)

    assert plan.cut == (1, 2)
    assert str(plan).endswith(
        "stops before cell 1, which was interrupted while it computed, and could not be kept "
        "whole, and asks (then before 2)"
    )
