"""An act in doubt where nobody can be asked: in match mode, from a client that takes no input."""

from __future__ import annotations

from typing import Any

import pytest

from durable_kernel.replay import InDoubtPolicy
from durable_kernel.runtime import Resume
from tests.runtime.notebooks import Notebook, Service

PAYS = "x = service.ask('pay'); y = service.ask('thank')"


@pytest.fixture(autouse=True)
def _dies_in_the_payment(notebook: Notebook) -> None:
    notebook.die_during("pay")


@pytest.mark.parametrize("source", [PAYS, "try: x = service.ask('pay')\nfinally: x = 1"])
def test_a_cell_fails_in_match_mode_where_nobody_can_be_asked(
    notebook: Notebook, service: Service, source: str
) -> None:
    """Nothing is decided, nothing is journaled; the next job asks again."""
    notebook.died(source)

    with notebook.session(resume=Resume.MATCH) as session:
        session.run.attend(can_ask=False)
        status = session.match(source)

    assert (status, notebook.left) == ("stopped", [])
    assert "`durable resolve notebook 0.0 --retry`" in str(session.run.latch)
    assert service.requests == ["pay"]
    assert session.run.read_outline().status == "in doubt"

    notebook.decide("0.0", "answer", b"7")
    with notebook.session(resume=Resume.MATCH) as session:
        session.run.attend(can_ask=False)
        assert session.match(source) == "ok"
    assert service.requests.count("pay") == 1


@pytest.mark.parametrize(
    ("can_ask", "settings"),
    [
        pytest.param(True, {"resume": Resume.MATCH}, id="a person sends the cells"),
        pytest.param(False, {"resume": Resume.EAGER}, id="nobody sent the cell that is restored"),
        pytest.param(
            False, {"resume": Resume.MATCH, "in_doubt": InDoubtPolicy.ASK}, id="the user says so"
        ),
    ],
)
def test_a_call_waits_where_somebody_can_be_asked(
    notebook: Notebook, service: Service, *, can_ask: bool, settings: dict[str, Any]
) -> None:
    notebook.died(PAYS)

    with notebook.session(**settings) as session:
        session.run.attend(can_ask=can_ask)
        session.when_parked(lambda: session.run.resolve("0.0", "retry", None))
        status = session.match(PAYS)

    assert status == "ok"
    assert service.requests == ["pay", "pay", "thank"]
