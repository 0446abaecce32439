"""Handlers that a cell sets: time-outs by SIGALRM, its own SIGINT; killed and resumed (H5, H16)."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from durable_kernel.errors import CutPositionError
from tests.runtime.notebooks import Notebook, Service

SETS = """
import signal
class Late(Exception): pass
def ring(number, frame): raise Late('too late')
signal.signal(signal.SIGALRM, ring)
"""
CUT = """
turns = 0
try:
    ring_now()
    while turns < 10**9: turns += 1
except Late as error: how = repr(error)
"""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Put the handlers back that the cells of a test have set."""
    before = {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


SERVICES: list[Service] = []


def _ask(name: str) -> object:
    """Make a request. A function of a module: what it refers to is not the notebook's."""
    return SERVICES[-1].ask(name)


def _ring(_name: str = "") -> str:
    signal.raise_signal(signal.SIGALRM)
    return "too late"


def test_a_time_out_in_the_middle_of_computing_is_restored_and_not_run_again(
    notebook: Notebook,
) -> None:
    """H16: the same for user SIGALRM time-outs."""
    notebook.names["ring_now"] = _ring
    live = notebook.lived(SETS, CUT, "print(turns, how)")

    again = notebook.replayed()

    assert again.text(2) == live.text(2) == "0 Late('too late')\n"
    assert again.run.latch is None


def test_a_time_out_inside_a_waiting_call_is_its_outcome(
    notebook: Notebook, service: Service
) -> None:
    """The handler does nothing but raise, so the cell is exact, and is executed again."""
    service.during = _ring
    sets = SETS.replace("raise Late", "raise TimeoutError")
    cell = "try: service.ask('slow')\nexcept TimeoutError as error: print(repr(error))"
    live = notebook.lived(sets, cell)

    again = notebook.replayed()

    assert again.shown == live.shown
    assert live.text(1) == "TimeoutError('too late')\n"
    assert service.requests == ["slow"]
    assert again.run.outline.positions[1].kept is None


def test_a_handler_that_changes_something_makes_the_cell_inexact_wherever_it_ran(
    notebook: Notebook, service: Service
) -> None:
    """Replay does not run it: what it changed comes from what was kept."""
    service.during = _ring
    SERVICES.append(service)
    notebook.names["ask"] = _ask
    notebook.lived(
        "import signal\nrung = []\ndef ring(number, frame): rung.append(number)\n"
        "signal.signal(signal.SIGALRM, ring)",
        "ask('slow')",
        "print(len(rung))",
    )

    again = notebook.replayed()

    assert again.text(2) == "1\n"
    assert again.run.outline.positions[1].kept is not None


def test_a_handler_during_port_code_waits_for_its_end(notebook: Notebook, service: Service) -> None:
    """H5: raised in the middle of a write it would tear what waits."""
    notebook.names["seen"] = []
    with notebook.session() as session:
        journal = session.run._journal
        append = journal.append

        def rung_append(*args: object, **kwargs: object) -> int:
            if kwargs.get("sync") and not notebook.names["seen"]:
                _ring()
                notebook.names["seen"].append("written all the same")
            return append(*args, **kwargs)  # type: ignore[arg-type]

        session.namespace.update(notebook.names)
        session.execute(SETS)
        notebook.names["seen"].clear()
        journal.append = rung_append  # type: ignore[method-assign]
        session.execute("try: service.ask('a')\nexcept Late: seen.append('then raised')")

    assert notebook.names["seen"][:2] == ["written all the same", "then raised"]
    assert service.requests == []


def test_a_cell_sees_its_own_handlers(notebook: Notebook) -> None:
    session = notebook.lived(
        SETS,
        "was = signal.signal(signal.SIGALRM, signal.SIG_IGN)\nprint(was is ring)\n"
        "signal.signal(signal.SIGALRM, ring); print(signal.getsignal(signal.SIGALRM) is ring)",
    )

    assert session.text() == "True\nTrue\n"


def test_a_handler_of_its_own_for_ctrl_c_is_restored_by_what_was_kept(notebook: Notebook) -> None:
    notebook.names["interrupt"] = lambda: signal.raise_signal(signal.SIGINT)
    live = notebook.lived(
        "import signal\nstop = False\ndef on(number, frame):\n    global stop; stop = True",
        "was = signal.signal(signal.SIGINT, on); turns = 0\n"
        "while not stop:\n    turns += 1\n    if turns == 3: interrupt()\n"
        "signal.signal(signal.SIGINT, was); del was",
        "print(turns, stop)",
    )

    again = notebook.replayed()

    assert again.text(2) == live.text(2) == "3 True\n"


def test_a_cell_that_was_cut_and_killed_before_its_end_is_not_finished_by_itself(
    notebook: Notebook, service: Service
) -> None:
    """H16: what it sent after the signal rests on where that came. Recovery asks, and says why."""
    notebook.names["ring_now"] = _ring
    notebook.died(SETS, CUT + "service.ask(f'with {how}')\ndie()")

    with notebook.session() as session, pytest.raises(CutPositionError, match="died before"):
        session.recover()

    assert service.requests == ["with Late('too late')"]


def test_a_cell_that_was_cut_and_killed_is_finished_where_nothing_left_it_since(
    notebook: Notebook, service: Service
) -> None:
    """Nobody saw the signal: the cell goes on as if it had not come."""
    rings = [True]
    notebook.names["ring_now"] = lambda: _ring() if rings.pop() else None
    notebook.died(SETS, CUT.replace("10**9", "7") + "die()\nservice.ask(f'turns {turns}')")
    rings[:] = [False]

    notebook.replayed()

    assert service.requests == ["turns 7"]
